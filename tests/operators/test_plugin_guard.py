"""An operator of a user's own may do anything; what comes of it is an error of ours that names it."""

from types import SimpleNamespace

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError, NonFiniteError, OutOfMemoryError, SceneError, ShapeError, UnknownNameError
from lift3d.operators.plugin_guard import GuardedOperator
from lift3d.operators.protocol import OperatorSpec

SIZE = ImageSize(4, 6)
IMAGE = torch.full((3, 4, 6), 0.5)
MAP = FeatureMap(torch.zeros(1, 4, 6), FeatureGrid(4, 6, 1.0, 1.0))
VALID = torch.ones(4, 6, dtype=torch.bool)


def scalar(values: torch.Tensor, is_valid: torch.Tensor = VALID) -> Prediction:
    return Prediction("scalar", values, is_valid)


class Own:
    """Gives or raises what it was made with."""

    spec = OperatorSpec(name="own", stage_version=1, prediction_kind="scalar")

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    def encode(self, *arguments):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    fit_scene = decode = encode


def guarded(outcome: object) -> GuardedOperator:
    return GuardedOperator(Own(outcome))


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyError("boom"), SystemExit("boom"), AssertionError("boom")])
def test_whatever_it_raises_names_it_and_the_place(error: BaseException) -> None:
    operator = guarded(error)
    for call in (
        lambda: operator.encode(IMAGE),
        lambda: operator.fit_scene({}, SceneViews.of({})),
        lambda: operator.decode((MAP,), EMPTY_STATE, SIZE),
    ):
        with pytest.raises(ContractError, match=r"'own' failed in .*boom.*test_plugin_guard.py, line \d+"):
            call()


@pytest.mark.fault(13, "a plug-in raises what torch raises without memory")
def test_errors_of_ours_stay_and_memory_is_its_own_case() -> None:
    with pytest.raises(SceneError, match="no sky"):
        guarded(SceneError("no sky")).encode(IMAGE)
    with pytest.raises(OutOfMemoryError, match="--image-height"):
        guarded(RuntimeError("CUDA out of memory. Tried to allocate")).encode(IMAGE)


@pytest.mark.fault(30, "a plug-in gives a bare map, a tensor, a list or nothing")
@pytest.mark.parametrize("given", [MAP, (), [MAP], (IMAGE,), None])
def test_features_are_a_tuple_of_feature_maps_and_a_state_is_a_state(given: object) -> None:
    with pytest.raises(ContractError, match="expected a tuple of FeatureMaps"):
        guarded(given).encode(IMAGE)
    with pytest.raises(ContractError, match=f"{type(given).__name__}.* from fit_scene"):
        guarded(given).fit_scene({}, SceneViews.of({}))


@pytest.mark.fault(30, "a plug-in decodes to another kind, another size or NaN")
@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (VALID, ContractError, "gives Tensor from decode"),
        (Prediction("labels", VALID.long(), VALID), ContractError, "of kind 'labels' from decode"),
        (scalar(torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.bool)), ShapeError, "3×3 for an image of 4×6"),
        (scalar(torch.full((4, 6), torch.nan)), NonFiniteError, "is_valid"),
    ],
)
def test_a_prediction_is_of_the_kind_and_size_and_finite(given: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        guarded(given).decode((MAP,), EMPTY_STATE, SIZE)
    # What is marked as unknown may be anything.
    unknown = scalar(torch.full((4, 6), torch.nan), ~VALID)
    assert guarded(unknown).decode((MAP,), EMPTY_STATE, SIZE) is unknown


@pytest.mark.parametrize(
    ("changed", "hint"), [({"prediction_kind": "label"}, "labels"), ({"quantity": "dept"}, "depth")]
)
def test_a_spec_of_what_there_is_not_is_refused(changed, hint):
    # Tests check the types of arguments, too, and would be the first to refuse.
    given = SimpleNamespace(**{"prediction_kind": "image", "quantity": "color"} | changed)
    with pytest.raises(UnknownNameError, match=f"Did you mean '{hint}'"):
        OperatorSpec.__post_init__(given)
