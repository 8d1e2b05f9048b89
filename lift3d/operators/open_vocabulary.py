"""Segmentation by words: ``open_vocabulary?prompts=red ball,blue box&of=tiny:clip``.

What is lifted is the inner operator's features; words enter in decode alone. The inner operator is any encoder with
``encode_text`` (tiny:clip, open_clip:…).

prompts: names of what is looked for, as the scene calls its classes, with commas between them.
negatives: what each prompt must be nearer than; LERF's four words if not given.
template: the text that a prompt is put into at {}; default "a {}". Negatives stand alone, as in LERF.
rule: argmax (default): the prompt of highest relevancy where that exceeds 0.5, else background. relevancy: the map of
relevancy of the only prompt, in [0, 1].
of: the inner operator (see inner_encoder).

Source:
    Kerr et al., LERF: Language Embedded Radiance Fields, ICCV 2023, §3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
_EVEN = 0.5
_RULES = ("argmax", "relevancy")


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder of images that embeds texts in the same space."""

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "prompt channel"]:
        """Return an embedding per text."""
        ...


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of an operator's name, see the module."""

    prompts: tuple[str, ...]
    negatives: tuple[str, ...]
    template: str
    rule: str

    @classmethod
    def parse(cls, name: OperatorName) -> "Vocabulary":
        """Read the options of a name; ConfigError if they are not as the module says."""
        prompts = _listed(name, "prompts", "")
        template, rule = name.option("template", "a {}"), name.option("rule", _RULES[0])
        if BACKGROUND in prompts:
            raise ConfigError(f"Operator '{name}': '{BACKGROUND}' is what no prompt is relevant to; leave it away.")
        if "{}" not in template:
            raise ConfigError(f"Operator '{name}': template must have {{}} where a prompt goes, got '{template}'.")
        if rule not in _RULES:
            raise ConfigError(f"Operator '{name}': rule must be {' or '.join(_RULES)}, got '{rule}'.")
        if rule == "relevancy" and len(prompts) > 1:
            raise ConfigError(
                f"Operator '{name}': rule=relevancy shows the map of one prompt, got {len(prompts)}. "
                "Give one prompt, or rule=argmax."
            )
        return cls(prompts, _listed(name, "negatives", ",".join(NEGATIVES)), template, rule)

    @property
    def texts(self) -> tuple[str, ...]:
        """What is embedded: prompts in their template, then negatives."""
        return (*(self.template.replace("{}", prompt) for prompt in self.prompts), *self.negatives)


class OpenVocabularyOperator(StandsOnInner):
    """Which of some named things each pixel shows, by an inner encoder of images and texts."""

    def __init__(self, name: OperatorName, inner: Operator) -> None:
        self._vocabulary = Vocabulary.parse(name)
        self._texts = _embedded(name, inner, self._vocabulary.texts)
        is_map = self._vocabulary.rule == "relevancy"
        own = OperatorSpec(
            name=str(name),
            stage_version=1,
            prediction_kind="scalar" if is_map else "labels",
            label_names=(BACKGROUND, *self._vocabulary.prompts),
            threshold_source="" if is_map else f"relevancy > {_EVEN:g}",
        )
        super().__init__(inner, own)

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
        count = len(self._vocabulary.prompts)
        relevant = relevancy(cosines[:count], cosines[count:])
        is_valid = valid_everywhere(size)
        if self._vocabulary.rule == "relevancy":
            return Prediction("scalar", relevant[0], is_valid)
        best, index = relevant.max(0)
        return Prediction("labels", torch.where(best > _EVEN, index + 1, 0), is_valid)


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
    name.check((OPTION, "prompts", "negatives", "template", "rule"))
    Vocabulary.parse(name)
    return OpenVocabularyOperator(name, build_inner(name))


def _listed(name: OperatorName, key: str, default: str) -> tuple[str, ...]:
    entries = tuple(entry.strip() for entry in name.option(key, default).split(","))
    if not all(entries):
        raise ConfigError(
            f"Operator '{name}': {key} must name things, with one comma between two, e.g. '{key}=red ball,blue box'; "
            f"got '{name.option(key, default)}'."
        )
    if len(set(entries)) < len(entries):
        raise ConfigError(f"Operator '{name}': {key} names a thing twice: {', '.join(entries)}. Name each once.")
    return entries


def _embedded(name: OperatorName, inner: Operator, texts: Sequence[str]) -> Float[Tensor, "text channel"]:
    if not isinstance(inner, TextEncoder):
        raise ConfigError(
            f"Operator '{name}' needs an encoder that reads texts (encode_text), which '{inner.spec.name}' does not; "
            "use 'tiny:clip' or 'open_clip:…'."
        )
    return torch.nn.functional.normalize(inner.encode_text(texts).detach().cpu().float(), dim=1)
