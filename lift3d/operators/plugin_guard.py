"""Where a user's own operator comes in: what it raises or gives wrongly becomes an error of ours that names it."""

import traceback
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError, Lift3dError, NonFiniteError, OutOfMemoryError, ShapeError
from lift3d.operators.protocol import Operator, OperatorSpec

_OF_SOME = ("encode_text", "read", "grids")


class GuardedOperator:
    """An operator that is not ours, held to its promises at every call."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        # Of the first image; later ones are held to it.
        self._channel_counts: tuple[int, ...] = ()

    @property
    def spec(self) -> OperatorSpec:
        """The operator's own."""
        return self._operator.spec

    def __getattr__(self, name: str) -> Any:
        """Return what only some operators have: texts in the space of images, answers from files."""
        if name in _OF_SOME:
            return getattr(self._operator, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the features of an image: FeatureMaps of float32, with as many channels as the spec promises."""
        maps = self._called("encode", image)
        is_tuple = isinstance(maps, tuple) and len(maps) > 0
        if not is_tuple or not all(isinstance(one, FeatureMap) and isinstance(one.values, Tensor) for one in maps):
            raise self._broken("encode", maps, "a tuple of FeatureMaps of float32 tensors, one per cut")
        self._check_maps(maps)
        return tuple(maps)

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return what the operator needs to know of all views: a SceneState."""
        state = self._called("fit_scene", maps, views)
        if not isinstance(state, SceneState):
            raise self._broken("fit_scene", state, "a SceneState (EMPTY_STATE of lift3d.domain.features for most)")
        return state

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the operator's prediction: of the kind that its spec names, and finite where it says that it is valid.

        It has the image's size; embeddings may stay on their grid.
        """
        found = self._called("decode", features, state, size)
        kind = self.spec.prediction_kind
        if not isinstance(found, Prediction) or found.kind != kind:
            raise self._broken("decode", found, f"a Prediction of the kind '{kind}' that its spec names")
        shape = tuple(found.is_valid.shape)
        if kind != "embedding" and shape != (size.height, size.width):
            decodes = f"decodes to {shape[0]}×{shape[1]} for an image of {size.height}×{size.width}"
            raise self._error(ShapeError, f"{decodes}. Decode at the size that is asked for.")
        if found.values.is_floating_point() and not bool(torch.isfinite(found.values[..., found.is_valid]).all()):
            decodes = "decodes to NaN or infinity where its is_valid is True; expected finite values"
            raise self._error(NonFiniteError, f"{decodes}. Mark what is unknown as not valid.")
        return found

    def _check_maps(self, maps: tuple[FeatureMap, ...]) -> None:
        spec = self.spec
        kinds = [str(one.values.dtype).removeprefix("torch.") for one in maps]
        if set(kinds) != {"float32"}:
            gives = f"gives features of {', '.join(kinds)} from encode; expected float32"
            raise self._error(ContractError, f"{gives}. Convert them with .float().")
        if spec.quantity == "instance":
            return  # as many masks as there are things in the view
        counts = tuple(one.channel_count for one in maps)
        self._channel_counts = self._channel_counts or counts
        # Of 0 channels a spec says that they are known only after the first image.
        if counts != self._channel_counts or spec.channel_count not in (0, counts[0]):
            expected = spec.channel_count or self._channel_counts[0]
            raise self._error(
                ShapeError,
                f"gives {list(counts)} channels from encode; expected are {expected}, as its spec or its first image "
                "promised. Correct the spec, or give as many for every image.",
            )

    def _called(self, method: str, *arguments: object) -> Any:
        try:
            return getattr(self._operator, method)(*arguments)
        except ContractError as error:
            # Raised by a type of ours that the operator made of what does not fit: it does not know who made it.
            if error.operator is not None:
                raise
            raise self._error(type(error), f"broke its promise in {method}: {error}") from error
        except Lift3dError:
            raise
        except (Exception, SystemExit) as error:
            raise self._failed(method, error) from error

    def _failed(self, method: str, error: BaseException) -> Lift3dError:
        said = f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            remedy = "Lower --image-height or --sources, or use fewer --workers."
            return self._error(OutOfMemoryError, f"does not fit: {said}. {remedy}")
        # The first frame is this file's, the second the line of the operator that failed.
        frames = traceback.extract_tb(error.__traceback__)[1:2]
        where = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in frames)
        remedy = "Mend the operator; nothing that is committed is lost."
        return self._error(ContractError, f"failed in {method} with {said}{where}. {remedy}")

    def _broken(self, method: str, got: object, expected: str) -> Lift3dError:
        shown = type(got).__name__
        if isinstance(got, Prediction):
            shown += f" of kind '{got.kind}'"
        elif isinstance(got, tuple):
            shown += f" of ({', '.join(_type_of(one) for one in got)})"
        return self._error(ContractError, f"gives {shown} from {method}; expected {expected}.")

    def _error(self, kind: type[Lift3dError], said: str) -> Lift3dError:
        return kind(f"Operator '{self.spec.name}' {said}", operator=self.spec.name)


def _type_of(part: object) -> str:
    inside = f" of {type(part.values).__name__}" if isinstance(part, FeatureMap) else ""
    return type(part).__name__ + inside
