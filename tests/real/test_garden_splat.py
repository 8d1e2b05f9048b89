"""A trained scene of 138,766 Gaussians: its file stays as it is, and labels on it come back in order."""

import pytest

from lift3d.bench.systems import splats
from lift3d.bench.systems.parts import Asked

pytestmark = pytest.mark.real


def test_gaussians_keep_their_bytes_and_their_labels(test_data, monkeypatch):
    # A million, which the bench draws as well, takes as long as all else.
    monkeypatch.setattr(splats, "_MILLION", 1)
    (row,) = splats.measure(Asked(str(test_data / "captures" / "garden_splat"), (), (), ""))
    assert row.details["Gaussians"] == 138_766
    assert row.details["bytes changed by a round trip"] == 0
    # Drawn at the three cameras and given back; what is read at centres alone sees through things.
    assert row.figure > 0.8
    assert row.is_above
