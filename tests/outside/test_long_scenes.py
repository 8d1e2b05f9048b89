"""Scoring a scene of many views: how much is looked at, that it finds what looking at all would, and says so."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lift3d.config import Execution
from lift3d.domain.scene import Tracks
from lift3d.geometry.projection import project
from lift3d.geometry.rigid import transform
from lift3d.metrics import correspondence
from lift3d.metrics.correspondence import correspond
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.metrics.track_surface import TrackSurface
from lift3d.runs.driver import run_serially
from lift3d.scenes.catalog import read_scene
from lift3d.surface import keyframes
from lift3d.surface.scene_surface import SceneSurface
from tests.fuzz.tally import Tally
from tests.support import captures
from tests.support.runs import tiny_rooms

KIND = "9 operations"
VIEWS, TINY = 60, 24


@pytest.fixture(scope="module")
def surfaces():
    """The same scene as depth maps show it, and as tracks of its points."""
    scene = read_scene(f"procedural:room?seed=0&views={VIEWS}&height={TINY}&width=32")
    frames = [view.load(TINY) for view in scene.views]
    depth, everyone = DepthSurface(frames), torch.arange(VIEWS)
    xyz, seen = zip(*(depth.sights(home, everyone, 64) for home in range(0, VIEWS, 5)), strict=True)
    points = torch.cat(xyz)
    view, point = torch.cat(seen, dim=1).nonzero().T
    cameras = [frame.camera for frame in frames]
    uv = torch.cat(
        [
            project(transform(camera.w2c, points[point[view == number]]), camera.K)[0]
            for number, camera in enumerate(cameras)
        ]
    )
    tracks = Tracks(points, point, view, uv, tuple(view.id for view in scene.views))
    return {"depth": depth, "tracks": TrackSurface(tracks, scene.views, cameras)}


@pytest.mark.outside(kind=KIND, case="scoring a scene of many views", right="work per view is bounded, and told of")
@pytest.mark.parametrize("kind", ["depth", "tracks"])
def test_pairs_are_looked_for_among_likely_neighbours_and_are_those_of_looking_at_all(kind, surfaces, monkeypatch):
    surface, told, asked = surfaces[kind], Counter(), []
    look = type(surface).sights

    def counted(self, a, others, *limit):
        found = look(self, a, others, *limit)
        asked.append(found[1].numel())
        return found

    monkeypatch.setattr(type(surface), "sights", counted)
    found = correspond(surface, report=lambda stage, done, total: told.update([stage]))
    # Of each view a few points in all others, and all points in no more than 48 others.
    assert len(asked) <= 2 * VIEWS
    most = found.observations.view.bincount().max() if kind == "tracks" else 256
    assert sum(asked) < VIEWS * (VIEWS * 32 + 2 * 48 * int(most))
    assert told["look for neighbours"] == told["compare neighbours"] == VIEWS
    assert told["match pairs of views"] <= 4 * VIEWS
    monkeypatch.setattr(correspondence, "LIKELY", VIEWS)
    everything = correspond(surface)
    assert len(everything.matches.keys() & found.matches.keys()) >= 0.97 * len(everything.matches)
    assert torch.equal(everything.observations.uv, found.observations.uv)


@pytest.mark.outside(kind=KIND, case="scoring by metrics of single views", right="no pair of views is looked for")
@pytest.mark.parametrize("metric", ["psnr_2d", "sharpness", "warp_error_short"])
def test_pairs_are_looked_for_only_where_a_metric_compares_views(metric, tmp_path):
    told = Counter()
    recipe = tiny_rooms(1, metrics=[metric])
    run_serially(recipe, Execution(store=str(tmp_path)), report=lambda stage, done, total: told.update([stage]))
    assert ("look for neighbours" in told) == metric.startswith("warp")
    # Told with every view of every lifter at least: a worker that is silent for long is taken for hung.
    assert told["score rgb"] > 2 * told["decode"]


@pytest.mark.outside(
    kind=KIND, case="a view that shows no depth at all", right="it is in no pair; the others are as before"
)
@pytest.mark.parametrize("blind", [0, 3])
def test_a_view_without_depth_costs_no_other(blind):
    frames = [view.load(TINY) for view in read_scene("procedural:room?seed=0&views=6&height=24&width=32").views]
    frames[blind] = replace(frames[blind], z_depth=torch.full_like(frames[blind].z_depth, torch.nan))
    found = correspond(DepthSurface(frames))
    assert found.matches
    assert not any(blind in pair for pair in found.matches)


@pytest.mark.outside(kind="6 small input, huge memory", case="who owns the surface of many views", right="a bit a pair")
def test_keyframes_of_many_views_take_no_numbers_for_all_pairs(monkeypatch):
    views, points = 400, 250
    seen = torch.rand(views * points, views, generator=torch.Generator().manual_seed(0)) < 0.2
    monkeypatch.setattr(keyframes, "_own_points_seen", lambda surface, index: seen[index * points :][:points])
    surface, found = SceneSurface.__new__(SceneSurface), Tally()
    surface.views = [SimpleNamespace(id=f"{index:03}") for index in range(views)]
    found.measure(lambda: f"{len(keyframes.keyframes(surface))} own it")
    assert found.worst_bytes < seen.numel() // 2
    assert found.outcomes == {"18 own it": 1}


READ_AND_PLAN = """
import json, resource, sys, time
from lift3d.runs.plan import scene_size
from lift3d.config import parse_recipe
from lift3d.scenes.catalog import read_scene

recipe = parse_recipe({"scenes": [sys.argv[1]], "operators": ["rgb"], "lifters": ["plane_sweep"], "holdout": 100})
start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = scene_size(read_scene(sys.argv[1]).views, recipe)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([size.view_count, size.target_count, time.monotonic() - start, 1024 * (peak - before)]))
"""


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.fault(29, "a capture of 10,000 views is read and planned; time and peak memory of a process")
def test_ten_thousand_views_are_read_and_planned_in_bounds(tmp_path):
    count = 10_000
    captures.write_images(tmp_path / "images", ["0"])
    for index in range(1, count):
        os.link(tmp_path / "images/0.png", tmp_path / f"images/{index}.png")
    names = [f"images/{index}.png" for index in range(count)]
    captures.write_json(tmp_path / "transforms.json", captures.transforms(captures.capture(count), names))
    command = [sys.executable, "-c", READ_AND_PLAN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    views, targets, seconds, grown = json.loads(done.stdout)
    assert (views, targets) == (count, count // 100)
    assert seconds < 60
    assert grown < 2**27
