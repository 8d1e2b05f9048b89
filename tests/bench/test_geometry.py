"""The table of geometry: what is not claimed is a miss, sensors are hidden, and the page says what was measured."""

import pytest
import torch

from lift3d.bench import geometry, geometry_page
from lift3d.bench.patchmatchnet import PatchmatchNet
from lift3d.domain.features import FeatureGrid
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import ConfigError
from lift3d.surface.protocol import GeometrySpec

SCENE = "procedural:room?views=4&height=48&width=64"


class Told:
    """A method that knows the scene's depth but for its upper half, which it does not claim, off by a share."""

    def __init__(self, off, needs_depth):
        self.off, self.spec = off, GeometrySpec("told", 1, "", needs_depth=needs_depth)

    def estimate(self, views, depth_range, find_tracks):
        assert (views[0].z_depth is not None) == self.spec.needs_depth
        found = {}
        for view in views:
            grid = FeatureGrid.covering(view.camera.size, 1.0)
            z = torch.full(grid.shape, 1.0) if view.z_depth is None else view.z_depth * (1 + self.off)
            z[: grid.rows // 2] = torch.nan
            found[view.id] = ViewGeometry(view.camera, grid, z, torch.isfinite(z).float())
        return SceneGeometry("told", found)


def test_errors_are_shares_of_the_true_depth_and_unclaimed_cells_are_misses():
    (row,) = geometry.measure(SCENE, [Told(0.02, needs_depth=True)], 48, None)
    assert row.claimed == pytest.approx(0.5)
    assert row.within == pytest.approx((0.0, 0.5, 0.5))
    assert row.groups[-1] == pytest.approx((1.0, 0.02), rel=1e-3)
    assert row.reference == "depth"


def test_sensors_depth_is_hidden_from_methods_that_do_not_need_it():
    (row,) = geometry.measure(SCENE, [Told(0.0, needs_depth=False)], 48, 2)
    assert row.views == 2
    assert row.claimed == pytest.approx(0.5)


def test_the_page_has_the_command_and_a_line_per_scene_and_part(monkeypatch):
    parts = dict(list(geometry_page._PARTS_LEFT_OUT.items())[:2])
    monkeypatch.setattr(geometry_page, "_PARTS_LEFT_OUT", parts)
    text = geometry_page.page([SCENE], geometry_page.measured([SCENE], ["sweep"], 48, 4), 48)
    assert f"lift3d bench geometry '{SCENE}' --image-height 48" in text
    assert text.count("| sweep") == 4
    assert "no fusion" in text


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_a_file_that_holds_no_network_is_named(tmp_path, content):
    path = tmp_path / "weights.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"weights\.ckpt' holds no weights of PatchmatchNet"):
        PatchmatchNet.load(path)
