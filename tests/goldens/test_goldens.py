"""The demo and two captures give what they gave when the goldens were recorded."""

import pytest

from tests.goldens.recorded import differences


def test_the_demo_is_as_recorded() -> None:
    assert differences("demo") == []


@pytest.mark.real
@pytest.mark.parametrize("capture", ["fox", "kitchen"])
def test_a_capture_is_as_recorded(capture: str) -> None:
    assert differences(capture) == []
