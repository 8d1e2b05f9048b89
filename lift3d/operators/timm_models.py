"""Any network of timm as dense features: ``timm:NAME?weights=…&seed=…&layer=…&height=…&positional_field=…``.

weights: hub (default: the network's published weights), random (with seed), or a file with a state dict.
layer: which of the network's feature stages (negative counts from the last); default the deepest with a
stride of at most 16. height: resize images to this height first, for finer or coarser cells.
positional_field: keep (default), or subtract: blend without what depends on a cell's place alone.

Networks that take images of any size see the padded image. A network that takes one size only sees the image
stretched to that size; its grid then has a stride of its own along each axis.
"""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.errors import ConfigError, ContractError, UnknownNameError
from lift3d.operators.cell_lattice import CellLattice, measure_lattice
from lift3d.operators.hub import hub_or_cache
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import load_weights, seeded
from lift3d.operators.positional_field import OPTION as FIELD_OPTION
from lift3d.operators.positional_field import FieldEncoder
from lift3d.operators.preprocessing import Normalization, Placement
from lift3d.torchvision_guard import ensure_torchvision

ensure_torchvision()
import timm  # noqa: E402  (torchvision must be importable first)

# Coarser features are rarely worth lifting: at 16 pixels per cell a 480-pixel image has 30 rows.
_COARSEST_DEFAULT_STRIDE = 16
# Long enough for networks that crop at every convolution (Inception v3 needs 75 pixels).
_PROBE_LENGTH_PX = 128
# What makes a network take any image size; each is tried until one is known to the network.
_ANY_SIZE: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
_OPTIONS = ("weights", "seed", "layer", "height", FIELD_OPTION)


@dataclass(frozen=True, slots=True)
class _Stage:
    """Which features are taken, and how the network wants its input: its only size, or multiples."""

    index: int
    multiple: int
    has_prefix: bool
    fixed_size: ImageSize | None
    lattice: CellLattice


class TimmOperator(FieldEncoder):
    """Dense features of a timm network, with its class and register tokens if it has any."""

    def __init__(self, name: OperatorName, network: Any, licence: str) -> None:
        network.eval().requires_grad_(False)
        config = timm.data.resolve_model_data_config(network)
        self._normalization = Normalization(tuple(config["mean"]), tuple(config["std"]))
        self._stage, channel_count = _probe(name, network, ImageSize(*config["input_size"][-2:]))
        super().__init__(name, network, licence, self._stage.lattice, channel_count)

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the features of the chosen stage."""
        return self.encode_batch(image[None])[0]

    def encode_batch(self, images: Float[Tensor, "image 3 height width"]) -> list[tuple[FeatureMap, ...]]:
        """Return the features of the chosen stage of each image."""
        stage, placement = self._stage, self.placement(ImageSize(*images.shape[-2:]))
        pixels = self._normalization.apply(placement.apply(images.to(torch.float32)))
        with torch.no_grad():
            values, tokens = _run(self._network, pixels, stage.index, stage.has_prefix)
        pairs = zip(values, [None] * len(values) if tokens is None else tokens, strict=True)
        return [(placement.to_image(one, stage.lattice, prefix),) for one, prefix in pairs]

    def placement(self, size: ImageSize) -> Placement:
        """Return how an image lies in the network's input."""
        stage = self._stage
        if stage.fixed_size is not None:
            return Placement.stretched(size, stage.fixed_size)
        resized = size.with_height(self._height) if self._height else size
        return Placement.of(size, resized, stage.lattice, stage.multiple)

    @property
    def network(self) -> Any:
        """The network of timm, frozen."""
        return self._network

    @property
    def stage(self) -> int:
        """Which of the network's stages is taken, from 0."""
        return self._stage.index

    @property
    def lattice(self) -> CellLattice:
        """Where cells sit in the network's input."""
        return self._stage.lattice


def is_vision_transformer(network: Any) -> bool:
    """Whether a network of timm is a plain vision transformer: a row of blocks that take tokens and nothing else."""
    return isinstance(network, timm.models.vision_transformer.VisionTransformer)


def build(name: OperatorName) -> TimmOperator:
    """Build the operator ``timm:NAME``."""
    name.check(_OPTIONS, "a timm network")
    plain = name.argument.partition(".")[0]
    if ":" not in plain and not timm.is_model(plain):
        raise UnknownNameError.of("timm network", plain, timm.list_models())
    weights = name.option("weights", "hub")
    with seeded(name.integer("seed", 0)):
        network = _create(name, is_pretrained=weights == "hub")
    if weights not in ("hub", "random"):
        classifier = network.pretrained_cfg.get("classifier") or ()
        names = (classifier,) if isinstance(classifier, str) else classifier
        load_weights(network, Path(weights).expanduser(), tuple(f"{one}." for one in names))
    licence = "Apache-2.0" if weights == "random" else network.pretrained_cfg.get("license") or "unknown"
    return TimmOperator(name, network, licence)


def _create(name: OperatorName, is_pretrained: bool) -> Any:
    options = _options_for_any_size(name.argument)
    try:
        with hub_or_cache(is_pretrained):
            return timm.create_model(name.argument, pretrained=is_pretrained, num_classes=0, **options)
    except Exception as error:  # timm, its hub client and their transports raise a dozen unrelated classes.
        remedy = (
            "The hub could not be reached or has no such weights: use weights=FILE or weights=random."
            if is_pretrained
            else "See timm.list_models(pretrained=True) for names and tags."
        )
        raise ConfigError(
            f"Operator '{name}' cannot be built: {type(error).__name__}: {error} {remedy}", operator=str(name)
        ) from error


def _options_for_any_size(network: str) -> dict[str, bool]:
    """Return the keyword, if the network has one, that lets it take images of any size."""
    for options in _ANY_SIZE:
        try:
            # On the meta device nothing is allocated or drawn.
            with torch.device("meta"):
                timm.create_model(network, pretrained=False, num_classes=0, **options)
        except TypeError:
            continue
        except Exception:  # Reported by the real construction that follows.
            break
        return dict(options)
    return {}


def _probe(name: OperatorName, network: Any, native: ImageSize) -> tuple[_Stage, int]:
    """Choose the stage and find out, by running the network, which input it takes and where its cells are.

    Tried in turn: an odd multiple of the stage's stride; a multiple of the coarsest stage's (networks that
    fuse resolutions); the one size that the network was made for.
    """
    stages = getattr(network.feature_info, "info", network.feature_info)
    strides = [int(stage["reduction"]) for stage in stages]
    index = _stage_index(name, strides)
    has_prefix = "return_prefix_tokens" in inspect.signature(network.forward_intermediates).parameters
    has_prefix = has_prefix and int(getattr(network, "num_prefix_tokens", 0) or 0) > 0
    free = [(multiple, _probe_size(multiple), None) for multiple in (strides[index], max(strides))]
    failure: Exception | None = None
    for multiple, size, fixed_size in (*free, (max(strides), native, native)):
        pixels = torch.zeros(1, 3, size.height, size.width)
        try:
            lattice, channel_count = measure_lattice(
                network, lambda pixels: _run(network, pixels, index, has_prefix)[0], pixels
            )
        except (AssertionError, RuntimeError, ValueError, ContractError) as error:  # How networks refuse a size.
            failure = error
            continue
        if fixed_size is None and lattice.stride != round(lattice.stride):
            failure = ContractError(f"its cells are {lattice.stride:.4g} pixels apart at {size}: it resizes inside")
            continue
        if fixed_size is not None and name.option("height", ""):
            raise ConfigError(f"Operator '{name}': the network takes {native} only; leave height away.")
        return _Stage(index, multiple, has_prefix, fixed_size, lattice), channel_count
    raise ConfigError(f"Operator '{name}' gives no dense features: {failure}") from failure


def _probe_size(multiple: int) -> ImageSize:
    odd = -(-_PROBE_LENGTH_PX // multiple) | 1
    return ImageSize(odd * multiple, (odd + 2) * multiple)


def _stage_index(name: OperatorName, strides: list[int]) -> int:
    limit = max(_COARSEST_DEFAULT_STRIDE, min(strides))
    default = max(index for index, stride in enumerate(strides) if stride <= limit)
    index = name.integer("layer", default)
    if not -len(strides) <= index < len(strides):
        raise ConfigError(f"Operator '{name}': the network has layers 0 to {len(strides) - 1}, got {index}.")
    return index % len(strides)


def _run(network: Any, pixels: Tensor, index: int, has_prefix: bool) -> tuple[Tensor, Tensor | None]:
    """Return the features "image channel row col" of one stage and the prefix tokens."""
    options: dict[str, Any] = {"return_prefix_tokens": True} if has_prefix else {}
    options.update(norm=True, stop_early=True, output_fmt="NCHW", intermediates_only=True)
    (features,) = network.forward_intermediates(pixels, indices=[index], **options)
    return features if has_prefix else (features, None)
