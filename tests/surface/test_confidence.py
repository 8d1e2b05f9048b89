"""How sure a place is: more views that agree make it surer; views that see through it, or lie apart, less sure."""

import pytest
import torch

from lift3d.surface.confidence import DEPTH, FEATURES, LABELS, place_evidence


def evidence(witnesses, opposition=0.0, spread=0.0, confidence=0.8):
    given = (witnesses, confidence * witnesses, opposition, spread)
    return place_evidence(*(torch.tensor([float(one)]) for one in given))


def test_support_makes_a_place_surer_opposition_and_spread_less_and_nothing_is_sure_of_nothing():
    assert float(evidence(0)) == 0
    assert float(evidence(1)) < float(evidence(3)) < float(evidence(30)) < 1
    assert float(evidence(3, confidence=0.4)) < float(evidence(3))
    assert float(evidence(3, opposition=3)) < float(evidence(3))
    assert float(evidence(3, spread=0.03)) < 0.4 * float(evidence(3))


@pytest.mark.parametrize("calibration", [LABELS, FEATURES])
def test_answers_that_agree_are_surer_and_the_more_so_the_surer_their_place(calibration):
    place = torch.tensor([0.2, 0.8])
    little, much = (calibration.of(torch.full((2,), agreement), place) for agreement in (0.6, 0.95))
    assert bool((little < much).all())
    for sure in (little, much):
        assert float(sure[0]) < float(sure[1])
    assert float(DEPTH.of(0.5, torch.tensor([0.0]))) < 0.01
