"""The tracks of the bench of systems: the surface is above chained flow, and what is computed alone has a truth."""

import numpy as np
import pytest
import torch

from lift3d.bench.systems import tracks
from lift3d.bench.systems.parts import PARTS, Asked
from lift3d.errors import SceneError


def test_a_room_is_followed_above_its_floors(tmp_path, monkeypatch):
    monkeypatch.setattr(tracks, "IMAGE_HEIGHT", 48)
    scene = "procedural:room?seed=1&views=7&height=48&width=64&spacing=2"
    rows = {row.metric: row for row in tracks.measure(Asked(scene, (), (), str(tmp_path / "store")))}
    assert list(rows) == [
        "3D-AJ, sensor depth",
        "occlusion accuracy, sensor depth",
        "pixel error, median, sensor depth",
    ]
    assert all(row.is_above for row in rows.values())
    assert rows["3D-AJ, sensor depth"].figure > 0.75
    assert rows["3D-AJ, sensor depth"].floors.keys() == {"optical flow", "never hidden"}
    assert "tracks" in PARTS


def test_flow_that_returns_is_followed_and_flow_that_does_not_is_hidden():
    there = torch.zeros(2, 20, 20)
    there[0] = 3.0
    uv, back = np.array([[5.0, 5.0], [18.5, 5.0]]), -there
    to, is_back = tracks._step(uv, there, back)
    assert to.tolist() == [[8.0, 5.0], [21.5, 5.0]]
    # The second one leaves the image.
    assert is_back.tolist() == [True, False]
    assert not tracks._step(uv, there, there)[1].any()


def test_captures_have_no_truth_of_what_is_hidden(tmp_path):
    for scene in ("rain:seed=0:procedural:room?seed=1&views=4", "procedural:room?seed=1&movers=0.5"):
        with pytest.raises(SceneError, match="no computed scene"):
            tracks.measure(Asked(scene, (), (), str(tmp_path / "store")))
