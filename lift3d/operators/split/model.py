"""Any torch module as an operator, cut anywhere: ``SplitModel(model, cuts=("encoder.layer4", …))``.

Several cuts lift several maps, so skip connections are lifted, too; ``cuts=("input",)`` lifts what the network sees,
``cuts=("output",)`` the answer of a black box. How that is done and proved: docs/inside/any-torch-module.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureMap, SceneState
from lift3d.domain.keys import ViewId, digest
from lift3d.domain.lifted import Prediction, PredictionKind
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError, ContractError, UnknownNameError
from lift3d.operators.answers import Encoder, as_prediction, resized
from lift3d.operators.depth_alignment import fit_depth
from lift3d.operators.instance_association import fit_instances
from lift3d.operators.network_weights import digest_weights
from lift3d.operators.preprocessing import Normalization
from lift3d.operators.protocol import OperatorSpec, Quantity
from lift3d.operators.split.cuts import INPUT, OUTPUT, Call, Cut, capture, replace_in, tensors_equal
from lift3d.operators.split.leaks import uncut_paths
from lift3d.operators.split.probe import probe
from lift3d.operators.split.run import noise

AS_IT_IS = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How a module is fed and read.

    Attributes:
        prediction: What decode gives; an embedding is the (first) cut itself, and the rest of the module never runs.
        quantity: What is blended (lift3d.operators.protocol).
        normalization: Of images in [0, 1]; as they are by default.
        input_size: The only size that the module takes, (height, width); found out if None.
        enlarges: How many times larger the answer is than what the network sees: images are reduced by it first, so
            that the answer has the size of the image. For super-resolution.
        output: Way to the answer in a nested output, e.g. ``logits`` or ``0``.
        finish: From the answer to what its kind wants (images in [0, 1]); as it is by default.
        call: How the module is run on a batch of images; called with it by default.
        allow_leaks: Accept that uncut paths carry something other than lifted features (of a grey image, never the
            target's); they are then named in the spec.
        licence: Of code and weights.
        restores: Whether the answer means to be the true image.
        label_names: Of label ids 0, 1, ….
    """

    prediction: PredictionKind = "embedding"
    quantity: Quantity = "invariant"
    normalization: Normalization = AS_IT_IS
    input_size: tuple[int, int] | None = None
    enlarges: int = 1
    output: str = ""
    finish: Callable[[Tensor], Tensor] | None = None
    call: Call = nn.Module.__call__
    allow_leaks: bool = False
    licence: str = "unknown"
    restores: bool = False
    label_names: tuple[str, ...] = ()


class SplitModel(Encoder):
    """A torch module, cut in two; from here on in evaluation mode, frozen, and on the host until ``to``.

    ``settings`` are fields of the options. ContractError if the module cannot be cut so; uncut paths are named.
    """

    def __init__(
        self,
        model: nn.Module,
        cuts: Sequence[str],
        *,
        name: str = "",
        options: SplitOptions | None = None,
        **settings: Any,
    ) -> None:
        self._options = given = _options(options, settings)
        self._model = model.eval().requires_grad_(False).cpu()
        self._cuts = _parsed(cuts, model)
        self._answer = Cut.parse(f"{OUTPUT}:{given.output}" if given.output else OUTPUT, model)
        only = None if given.input_size is None else ImageSize(*given.input_size)
        has_answer = given.prediction != "embedding"
        self.geometry = probe(self._model, given.call, self._cuts, only, self._finished if has_answer else None)
        sizes = [(one.channel_count, one.layout.stride[0] * given.enlarges) for one in self.geometry.cuts]
        self.spec = OperatorSpec(
            name=name or type(model).__name__.lower(),
            stage_version=1,
            prediction_kind=given.prediction,
            quantity=given.quantity,
            licence=given.licence,
            weights_digest=digest([digest_weights(model), [cut.text for cut in self._cuts], self._identity()]),
            channel_count=sizes[0][0],
            stride_px=sizes[0][1],
            further_cuts=tuple(sizes[1:]),
            color_cuts=tuple(index for index, cut in enumerate(self._cuts) if cut.module == INPUT),
            leaks=", ".join(self._prove()) if has_answer else "",
            restores=given.restores,
            label_names=given.label_names,
        )

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on."""
        self._model.to(device)

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return what the submodules of the cuts give for an image; ContractError if in other shapes than at first."""
        size = ImageSize(*image.shape[-2:])
        pixels, network = self._pixels(image)
        with torch.no_grad():
            # Nothing behind the last cut need run, unless that is the answer.
            stops = all(cut.module != OUTPUT for cut in self._cuts)
            _, found = capture(self._model, self._options.call, pixels, self._cuts, stops=stops)
        return self._maps(found, size, network)

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return what takes each view's depth, or instances, to the scene's; the empty state for other quantities."""
        if self.spec.quantity in ("depth", "disparity"):
            return fit_depth(maps, views, self.spec.quantity)
        return fit_instances(maps, views) if self.spec.quantity == "instance" else EMPTY_STATE

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return what the rest of the module makes of features at its cuts; it runs on a grey image."""
        if self._options.prediction == "embedding":
            return super().decode(features, state, size)
        pixels, network = self._pixels(features[0].values.new_full((3, size.height, size.width), 0.5))
        answer, layout, finish = self._run(pixels, features), self.geometry.answer, self._options.finish
        if layout is None:
            raise ContractError("A split model without an answer has no form of it; give prediction=.")
        values, _ = layout.to_cells(answer if finish is None else finish(answer), network)
        return as_prediction(self._options.prediction, values, size)

    def _maps(self, found: Mapping[Cut, Tensor], size: ImageSize, network: ImageSize) -> tuple[FeatureMap, ...]:
        """Return tensors at the cuts as maps over an image of a size, of which the network saw another."""
        maps = []
        for cut, geometry in zip(self._cuts, self.geometry.cuts, strict=True):
            cells, tokens = geometry.layout.to_cells(found[cut], network)
            grid = geometry.grid(cells.shape[1], cells.shape[2], size, network)
            own = cells.to(torch.float32).contiguous()
            maps.append(FeatureMap(own, grid, None if tokens is None else tokens.to(torch.float32)))
        return tuple(maps)

    def _run(self, pixels: Float[Tensor, "1 3 row_in col_in"], features: Sequence[FeatureMap]) -> Tensor:
        at_cuts = {
            cut: geometry.layout.to_tensor(one.values, one.global_tokens)
            for cut, geometry, one in zip(self._cuts, self.geometry.cuts, features, strict=True)
        }
        with torch.no_grad():
            if self._answer in at_cuts:
                return at_cuts[self._answer]
            return self._answer.pick(replace_in(self._model, self._options.call, pixels, at_cuts))

    def _finished(self, output: Any) -> Tensor:
        """Return the finished answer, of the module's output."""
        answer, finish = self._answer.pick(output), self._options.finish
        return answer if finish is None else finish(answer)

    def _pixels(self, image: Float[Tensor, "3 height width"]) -> tuple[Float[Tensor, "1 3 row_in col_in"], ImageSize]:
        """Return what the network sees of an image, and its size: the next that it takes."""
        by = self._options.enlarges
        size = ImageSize(-(-image.shape[-2] // by), -(-image.shape[-1] // by))
        network = self.geometry.input_size(size)
        seen = image.to(torch.float32)
        if by > 1 and tuple(seen.shape[-2:]) == (by * network.height, by * network.width):
            seen = functional.avg_pool2d(seen, by)
        return self._options.normalization.apply(resized(seen, network))[None], network

    def _prove(self) -> tuple[str, ...]:
        """Return what passes the cuts; ContractError if that may not be and decode makes another answer of encode."""
        size, call = self.geometry.probed, self._options.call
        image, carriers = noise(size)[0], (noise(size, seed=7)[0], torch.full((3, size.height, size.width), 0.5))
        pixels, *carried = (self._options.normalization.apply(one)[None] for one in (image, *carriers))
        with torch.no_grad():
            output, found = capture(self._model, call, pixels, self._cuts)
            plain = self._answer.pick(output)
            maps = self._maps(found, size, size)
            answers = [self._run(one, maps) for one in carried]
        if all(tensors_equal(answer, plain) for answer in answers):
            return ()
        leaks = uncut_paths(self._model, call, pixels, self._cuts, self._answer)
        if leaks and self._options.allow_leaks:
            return leaks
        own = ", ".join(f'"{cut.text}"' for cut in self._cuts)
        if not leaks:
            raise ContractError(
                f"{type(self._model).__name__} cut at {own}: its own features there do not give its own answer; by "
                "which path is unknown, as its answer has no gradient. Cut elsewhere, e.g. at 'output'."
            )
        named = ", ".join(f'"{name}"' for name in leaks)
        raise ContractError(
            f"{type(self._model).__name__} cut at {own}: its answer also depends on the image by uncut paths: {named}. "
            f"Lift them, too: cuts=({own}, {named}); or accept the loss with allow_leaks=True."
        )

    def _identity(self) -> list[str]:
        """Return what of the options changes numbers."""
        one = self._options
        finish = "" if one.finish is None else getattr(one.finish, "__qualname__", repr(one.finish))
        return [
            str(part) for part in (one.normalization, one.input_size, one.enlarges, one.output, finish, one.allow_leaks)
        ]


def _options(options: SplitOptions | None, settings: Mapping[str, Any]) -> SplitOptions:
    for key, choices in (("prediction", get_args(PredictionKind)), ("quantity", get_args(Quantity))):
        if settings.get(key, choices[0]) not in choices:
            raise UnknownNameError.of(key, str(settings[key]), choices)
    try:
        found = replace(options or SplitOptions(), **settings)
    except TypeError:
        known = ", ".join(SplitOptions.__slots__)
        raise ConfigError(f"A split model has no option {', '.join(settings)}; options: {known}.") from None
    if found.prediction == "embedding" and found.finish is not None:
        raise ConfigError("finish belongs to an answer; an embedding is a cut itself. Give prediction=, too.")
    if found.enlarges < 1:
        raise ConfigError(f"enlarges must be at least 1, got {found.enlarges}.")
    return found


def _parsed(cuts: Sequence[str], model: nn.Module) -> tuple[Cut, ...]:
    texts = (cuts,) if isinstance(cuts, str) else tuple(cuts)
    if not texts:
        raise ConfigError("A split model needs at least one cut: the name of a submodule, 'input' or 'output'.")
    found = tuple(Cut.parse(text, model) for text in texts)
    if len(set(found)) < len(found):
        raise ConfigError(f"Cuts {', '.join(texts)} name one place twice; name each once.")
    return found
