"""What float16 would do where the line reads most: nothing that matters to answers, which is no reason to adopt it.

Emulated on the host: values are rounded as they would lie in memory, sums are in float32 as a GPU keeps them.
"""

import torch
import torch.nn.functional as F

from lift3d.domain.proposals import SourceGuide
from lift3d.scenes.catalog import read_scene
from lift3d.surface import matching
from lift3d.surface.catalog import build_geometry
from tests.support.lifting import share
from tests.support.surfaces import errors_of, unasked_tracks


def test_the_sweep_finds_the_same_surface_in_patterns_and_coordinates_of_half_precision(monkeypatch):
    scene = read_scene("procedural:room?views=6&height=96&width=128")
    frames = {view.id: view.load() for view in scene.views}
    known = [SourceGuide(name, one.camera, one.image, one.is_valid, 1.0, one.z_depth) for name, one in frames.items()]
    guides = [SourceGuide(name, one.camera, one.image, one.is_valid) for name, one in frames.items()]
    found, read = [], matching.read_planes
    for reads in (read, lambda values, at, *how: read(values.half().float(), at.half().float(), *how).half().float()):
        monkeypatch.setattr(matching, "read_planes", reads)
        found.append(build_geometry("sweep").estimate(guides, scene.depth_range, unasked_tracks))
    in_full, in_half = (errors_of(one, known).nanmedian() for one in found)
    depths = [torch.cat([view.z_depth.flatten() for view in one.views.values()]) for one in found]
    moved = (depths[1] / depths[0] - 1).abs()
    assert 0 < float(moved.nanmedian()) < 1e-3
    assert float((moved > 0.01).float().mean()) < 0.01
    assert abs(float(in_half / in_full) - 1) < 0.02


def test_blends_of_a_table_in_half_precision_are_off_by_a_step_of_what_is_stored():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(500, 16, generator=generator).half()
    rows = torch.randint(500, (300, 128), generator=generator)
    shares = torch.rand(300, 128, generator=generator) ** 4
    shares /= shares.sum(1, keepdim=True)
    in_full = F.embedding_bag(rows, table.float(), mode="sum", per_sample_weights=shares)
    in_half = F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares.half())
    assert float((in_half.float() - in_full).abs().max()) < 1e-3
    assert share(in_half != in_full.half()) > 0.2
