"""Segmentation by words: ``open_vocabulary?prompts=red ball,blue box&of=tiny:clip``.

What is lifted is the inner operator's features; words enter in decode alone. The inner operator is any encoder with
``encode_text`` (tiny:clip, open_clip:…).

prompts: names of what is looked for, as the scene calls its classes, with commas between them; each is told, as "a
PROMPT", from LERF's four negatives.
rule: argmax (default): the prompt of highest relevancy where that exceeds 0.5, else background. relevancy: the map of
relevancy of the only prompt, in [0, 1].
of: the inner operator (see inner_encoder).

Source:
    Kerr et al., LERF: Language Embedded Radiance Fields, ICCV 2023, §3.3.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.lifted import Prediction
from lift3d.errors import ConfigError, ContractError
from lift3d.operators.answers import at_pixels, valid_everywhere
from lift3d.operators.inner_encoder import OPTION, StandsOnInner, build_inner, unit_cells
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator, OperatorSpec

BACKGROUND = "background"
# LERF's canonical phrases, §3.3.
NEGATIVES = ("object", "things", "stuff", "texture")
# LERF's temperature; the decision at 0.5 does not depend on it.
_TEMPERATURE = 10.0
# As near to the prompt as to the nearest negative.
EVEN = 0.5


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder of images that embeds texts in the same space."""

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "prompt channel"]:
        """Return an embedding per text."""
        ...


class OpenVocabularyOperator(StandsOnInner):
    """Which of some named things each pixel shows, by an inner encoder of images and texts."""

    def __init__(self, name: OperatorName, inner: Operator) -> None:
        prompts, is_map = _prompts(name), name.choice("rule", ("argmax", "relevancy")) == "relevancy"
        if is_map and len(prompts) > 1:
            raise ConfigError(
                f"Operator '{name}': rule=relevancy shows the map of one prompt, got {len(prompts)}. "
                "Give one prompt, or rule=argmax."
            )
        if not isinstance(inner, TextEncoder):
            raise ConfigError(
                f"Operator '{name}' needs an encoder that reads texts (encode_text), which '{inner.spec.name}' does "
                "not; use 'tiny:clip' or 'open_clip:…'."
            )
        texts = inner.encode_text([*(f"a {prompt}" for prompt in prompts), *NEGATIVES])
        self._texts = torch.nn.functional.normalize(texts.detach().cpu().float(), dim=1)
        own = OperatorSpec(
            name=str(name),
            stage_version=1,
            prediction_kind="scalar" if is_map else "labels",
            label_names=(BACKGROUND, *prompts),
            threshold_source="" if is_map else f"relevancy > {EVEN:g}",
        )
        super().__init__(inner, own)

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on."""
        super().to(device)
        self._texts = self._texts.to(device)

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the label or the relevancy of each pixel; ContractError if texts have other channels than images."""
        cells = unit_cells(features[0])
        if cells.shape[1] != self._texts.shape[1]:
            raise ContractError(
                f"Operator '{self.spec.name}': '{self._inner.spec.name}' has {cells.shape[1]} channels for images and "
                f"{self._texts.shape[1]} for texts; expected one space for both."
            )
        # Cosines are linear in the unit features, so few of them are read at the pixels instead of all channels.
        cosines = at_pixels((self._texts @ cells.T).reshape(-1, *features[0].grid.shape), features[0].grid, size)
        relevant = relevancy(cosines[: -len(NEGATIVES)], cosines[-len(NEGATIVES) :])
        is_valid = valid_everywhere(size)
        if self.spec.prediction_kind == "scalar":
            return Prediction("scalar", relevant[0], is_valid)
        best, index = relevant.max(0)
        return Prediction("labels", torch.where(best > EVEN, index + 1, 0), is_valid)


def relevancy(
    prompts: Float[Tensor, " prompt *place"], negatives: Float[Tensor, " negative *place"]
) -> Float[Tensor, " prompt *place"]:
    """Return min over negatives of exp(10 p) / (exp(10 p) + exp(10 n)), from cosines p and n, in [0, 1].

    Source:
        Kerr et al., LERF, ICCV 2023, §3.3. The smallest is that of the nearest negative, and the ratio is a sigmoid.
    """
    return torch.sigmoid(_TEMPERATURE * (prompts - negatives.amax(0)))


def build(name: OperatorName) -> OpenVocabularyOperator:
    """Build the operator ``open_vocabulary``."""
    name.check((OPTION, "prompts", "rule"))
    return OpenVocabularyOperator(name, build_inner(name))


def _prompts(name: OperatorName) -> tuple[str, ...]:
    prompts = tuple(prompt.strip() for prompt in name.option("prompts", "").split(","))
    if not all(prompts):
        raise ConfigError(
            f"Operator '{name}': prompts must name things, with one comma between two, e.g. 'prompts=red ball,blue "
            f"box'; got '{name.option('prompts', '')}'."
        )
    if len(set(prompts)) < len(prompts):
        raise ConfigError(f"Operator '{name}': prompts names a thing twice: {', '.join(prompts)}. Name each once.")
    if BACKGROUND in prompts:
        raise ConfigError(f"Operator '{name}': '{BACKGROUND}' is what no prompt is relevant to; leave it away.")
    return prompts
