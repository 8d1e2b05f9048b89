import pickle

import pytest

from lift3d import errors


def all_errors(root=errors.Lift3dError):
    """Return the package's own, whatever else other tests or a user's plug-ins derive from them."""
    own = [child for child in root.__subclasses__() if child.__module__.startswith("lift3d.")]
    return [root, *(found for child in own for found in all_errors(child))]


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_error_survives_pickling_with_its_ids(error):
    made = error("what, got, expected, remedy", scene="a", view="b", operator="c")
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is error
    assert (str(again), again.scene, again.view, again.operator) == (str(made), "a", "b", "c")


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_error_tells_the_scheduler_what_to_do(error):
    assert error.disposition in {"abort", "skip", "retry"}
    assert error.reason


def test_reasons_are_distinct():
    reasons = [error.reason for error in all_errors()]
    assert len(set(reasons)) == len(reasons)


def test_an_unknown_name_says_what_is_close():
    many = errors.UnknownNameError.of("network", "net_07x", [f"net_{number:03d}" for number in range(200)])
    assert "The nearest of 200: net_" in str(many)
    error = errors.UnknownNameError.of("lifter", "plane_swep", ["plane_sweep", "anchored"])
    assert "Did you mean 'plane_sweep'?" in str(error)
    assert "anchored" in str(error)
    assert "Did you mean 'rgb'?" in str(errors.UnknownNameError.of("operator", "RGB", ["rgb", "hog"]))
    assert "Did you mean 'room-0'?" in str(errors.UnknownNameError.of("scene", "room", ["room-0", "street-0"]))
