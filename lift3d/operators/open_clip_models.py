"""Any CLIP model of open_clip as dense features: ``open_clip:NAME/PRETRAINED?height=…``.

The features lie in the space shared with text; the global token is the plain model's image embedding. Instead
of a PRETRAINED tag, ``?weights=random`` (with seed) or ``?weights=FILE`` (a checkpoint of the whole model)
may be given.
like: the tag whose normalisation of colours goes with a FILE, where the model's tags have several.
height: resize images to this height first, for finer or coarser cells.
positional_field: keep (default), or subtract: blend without what depends on a cell's place alone.

``encode_text`` gives the embeddings of texts in the same space. Most tokenizers come with open_clip; those of models
whose text tower is one of transformers (SigLIP, Roberta) are files of the hub, asked for at the first text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.domain.keys import parse_json
from lift3d.errors import ConfigError, UnknownNameError
from lift3d.operators.hub import hub_or_cache
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.open_clip_towers import dense_tower
from lift3d.operators.positional_field import OPTION as FIELD_OPTION
from lift3d.operators.positional_field import FieldEncoder
from lift3d.operators.preprocessing import Normalization, Placement
from lift3d.torchvision_guard import ensure_torchvision

ensure_torchvision()
import open_clip  # noqa: E402  (torchvision must be importable first)

_OPTIONS = ("weights", "like", "seed", "height", FIELD_OPTION)
_QUICK_SUFFIX = "-quickgelu"
# What open_clip writes beside weights that it publishes.
_CONFIG_FILE = "open_clip_config.json"


class OpenClipOperator(FieldEncoder):
    """Dense image features of a CLIP model, in the space shared with text."""

    def __init__(self, name: OperatorName, model: Any, licence: str) -> None:
        self._model = model.eval().requires_grad_(False)
        self._model_name = name.argument.partition("/")[0]
        self._tower = dense_tower(model.visual)
        self._normalization = _normalization(name, model)
        # The digest is of both towers: what an image is told by text depends on either.
        super().__init__(name, model, licence, self._tower.lattice, self._tower.channel_count)

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on; texts are few and encoded once, so their tower stays where it is."""
        self._model.visual.to(device)

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the cells' embeddings, with the image's own as global token."""
        return self.encode_batch(image[None])[0]

    def encode_batch(self, images: Float[Tensor, "image 3 height width"]) -> list[tuple[FeatureMap, ...]]:
        """Return the cells' embeddings of each image, with the image's own as global token."""
        size, lattice = ImageSize(*images.shape[-2:]), self._tower.lattice
        resized = size.with_height(self._height) if self._height else size
        placement = Placement.of(size, resized, lattice, round(lattice.stride))
        pixels = self._normalization.apply(placement.apply(images.to(torch.float32)))
        with torch.no_grad():
            pairs = zip(*self._tower.embed(pixels), strict=True)
        return [(placement.to_image(cells, lattice, pooled[None]),) for cells, pooled in pairs]

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "prompt channel"]:
        """Return the embeddings of texts in the space of the cells, not normalised; ConfigError without a tokenizer."""
        try:
            with hub_or_cache(_has_text_of_hub(self._model_name)):
                tokens = open_clip.get_tokenizer(self._model_name)(list(prompts))
        except Exception as error:  # open_clip, transformers, the hub client and transports raise a dozen classes.
            raise ConfigError(
                f"Operator '{self.spec.name}' cannot read texts: {type(error).__name__}: {error} Its tokenizer is a "
                "file of the hub; download it once, or use a model with open_clip's own tokenizer, e.g. ViT-B-32.",
                operator=self.spec.name,
            ) from error
        with torch.no_grad():
            embeddings: Tensor = self._model.encode_text(tokens)
        return embeddings.float()


def build(name: OperatorName) -> OpenClipOperator:
    """Build the operator ``open_clip:NAME/PRETRAINED``."""
    name.check(_OPTIONS, "NAME/PRETRAINED of open_clip, or NAME?weights=random")
    model_name, _, tag = name.argument.partition("/")
    if model_name not in open_clip.list_models():
        raise UnknownNameError.of("open_clip model", model_name, open_clip.list_models())
    pretrained = _pretrained(name, model_name, tag)
    try:
        with seeded(name.integer("seed", 0)), hub_or_cache(bool(tag) or _has_text_of_hub(model_name)):
            model = open_clip.create_model(model_name, pretrained=pretrained, pretrained_text=False)
    except Exception as error:  # open_clip, its hub client and transports raise a dozen classes.
        raise ConfigError(
            f"Operator '{name}' cannot be built: {type(error).__name__}: {error} If the hub could not be "
            "reached, use ?weights=FILE or ?weights=random.",
            operator=str(name),
        ) from error
    return OpenClipOperator(name, model, "MIT" if pretrained is None else "unknown")


def _has_text_of_hub(model_name: str) -> bool:
    """Whether a model's text tower or its tokenizer is one of transformers, whose files are the hub's."""
    return any(key.startswith("hf_") for key in open_clip.get_model_config(model_name).get("text_cfg", {}))


def _pretrained(name: OperatorName, model_name: str, tag: str) -> str | None:
    """Return what open_clip loads: a tag, a file, or None for random weights."""
    weights = name.option("weights", "")
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if bool(tag) == bool(weights):
        raise ConfigError(
            f"Operator '{name}' must name its weights once: '{model_name}/TAG' "
            f"(tags: {', '.join(tags) or 'none'}), ?weights=FILE or ?weights=random."
        )
    if weights == "random":
        return None
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ConfigError(f"Operator '{name}': there is no weights file '{path}'.")
        return str(path)
    _check_activation(name, model_name, tag)
    return tag


def _normalization(name: OperatorName, model: Any) -> Normalization:
    """Return what a model's weights were trained with; ConfigError if nothing tells which of several it is."""
    model_name, _, tag = name.argument.partition("/")
    tag = name.option("like", "") or tag
    beside = Path(name.option("weights", "")).expanduser().parent / _CONFIG_FILE
    configs = [open_clip.get_model_preprocess_cfg(model)]
    if tag:
        configs = [_published(model_name, tag)]
    elif name.option("weights", "random") != "random" and beside.is_file():
        configs = [{**configs[0], **_read_config(name, beside)}]
    elif tags := open_clip.list_pretrained_tags_by_model(model_name):
        configs = [_published(model_name, one) for one in tags]
    found = {Normalization(tuple(one["mean"]), tuple(one["std"])): None for one in configs}
    if len(found) > 1 and name.option("weights", "") != "random":
        raise ConfigError(
            f"Operator '{name}': weights of {model_name} were trained with {len(found)} different normalisations of "
            f"colours, and a file does not say which is its own. Say like=TAG, one of {', '.join(tags)}, or put the "
            f"{_CONFIG_FILE} that belongs to it beside it."
        )
    return next(iter(found))


def _published(model_name: str, tag: str) -> dict[str, Any]:
    config: dict[str, Any] = open_clip.get_pretrained_cfg(model_name, tag)
    if not config:
        tags = open_clip.list_pretrained_tags_by_model(model_name)
        raise UnknownNameError.of(f"weights of open_clip's {model_name}", tag, tags)
    return config


def _read_config(name: OperatorName, path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8")).get("preprocess_cfg") or {}
        return {key: [float(one) for one in found[key]] for key in ("mean", "std") if key in found}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"Operator '{name}': '{path}' does not read: {error}.") from error


def _check_activation(name: OperatorName, model_name: str, tag: str) -> None:
    """Refuse weights trained with another activation than the model has; open_clip itself only warns."""
    wants_quick = bool(_published(model_name, tag).get("quick_gelu", False))
    has_quick = bool(open_clip.get_model_config(model_name).get("quick_gelu", False))
    if wants_quick != has_quick:
        plain = model_name.removesuffix(_QUICK_SUFFIX)
        right = plain + _QUICK_SUFFIX if wants_quick else plain
        raise ConfigError(
            f"Operator '{name}': the weights '{tag}' were trained with "
            f"{'Quick' if wants_quick else 'plain '}GELU, which {model_name} has not; "
            f"use 'open_clip:{right}/{tag}'."
        )
