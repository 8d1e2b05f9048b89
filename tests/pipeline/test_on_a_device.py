"""The whole line on a device that is not the host's: the same answers, and no more transfers than are stated."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.lifters.catalog import LIFTERS
from lift3d.metrics.catalog import METRICS
from lift3d.operators.catalog import build_operator
from lift3d.operators.split.model import SplitModel
from lift3d.pipeline.device import HOST, computing_on
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.surface import scene_surface
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.surface.catalog import METHODS
from tests.support import surfaces
from tests.support.counting_device import DEVICE, counting_device
from tests.support.operators import IdentityOperator, TrueDepth, TrueInstances, TrueNormals
from tests.support.scenes import two_planes_scene
from tests.support.walks import assert_alike, same_but_for_rounding, walked

VIEWS = 2
# Networks of ours and of libraries, and what decides on their features: by words, by a codebook, by statistics.
OPERATORS = (
    *("tiny:colorizer", "tiny:superresolution", "tiny:style", "hog", "felzenszwalb", "felzenszwalb?as=ids"),
    f"strokes:{Path(surfaces.__file__).with_name('strokes.json')}?of=tiny:encoder",
    *("open_vocabulary?prompts=red ball&of=tiny:clip", "timm:test_vit?weights=random&positional_field=subtract"),
)


@pytest.fixture(scope="module")
def room():
    scene = read_scene(f"procedural:room?views={VIEWS}&height=48&width=64")
    return scene, {view.id: view.load() for view in scene.views}


class OnHost(IdentityOperator):
    """A library's: it takes images to the host, and answers there."""

    def encode(self, image):
        return tuple(FeatureMap(one.values.cpu(), one.grid) for one in super().encode(image))

    def decode(self, features, state, size):
        said = super().decode(features, state, size)
        return Prediction(said.kind, said.values.cpu(), said.is_valid.cpu())


def painter():
    """A network that was cut in two: what it makes of the cut is a picture."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 3, padding=1), nn.Sigmoid())
    return SplitModel(layers, ["1"], prediction="image")


# The formulas of near views, on pairs that the small scenes have none of.
OF_FAR_VIEWS = ("warp_error_long", "warp_floor_long", "depth_cross_long", "direction_cross_long")
# What is written, each array once; what a library of the host's is shown; how cameras and depth correspond, per scene.
STORED = ("pipeline/products", "pipeline/surface", "pipeline/fit", "pipeline/tracks", "pipeline/digests")
LIFTING = ("lifters/", "surface/", "geometry/", "domain/", "pipeline/")
SCORING = ("metrics/", "pipeline/score")
# Bounds of waiting: for a target on the surface, which is drawn from all views; per target and operator; per figure.
DRAWN, LIFTED, SCORED = 300, 40, 8
# Downloads per view that find the surface and fit depth.
OF_SCENE = 5


def walked_on_both(scene, operators, lifters, metrics=None):
    """The rows of the host, which are the device's, too, as are the lifted views; transfers are bounded."""
    height = scene.views[0].camera.size.height
    wanted = walked(HOST, scene, operators, lifters, metrics, image_height=height)
    with counting_device() as transfers:
        found = walked(DEVICE, scene, operators, lifters, metrics, image_height=height)
    assert_alike(found, wanted, figures=5e-3, odd=5e-3)
    targets, answers = len(scene.views), len(operators) * len(lifters)
    # One per target and operator beyond what is stored, a few per view for the scene; operators of tests ask, too.
    beyond = transfers.downloads_by(*LIFTING) - transfers.downloads_by(*STORED, "pipeline/encode")
    assert beyond <= targets * answers + OF_SCENE * len(scene.views)
    assert transfers.downloads_by(*SCORING) <= targets**2 + 4 * (answers + len(operators))
    assert transfers.waits_by("surface/") <= DRAWN * targets
    assert transfers.waits_by("lifters/", "geometry/", "pipeline/") <= LIFTED * targets * answers
    assert transfers.waits_by(*SCORING) <= SCORED * len(wanted.rows)
    return wanted.rows.values()


class KnownInstances(TrueInstances):
    """Instances that bear the scene's ids already."""

    def fit_scene(self, maps, views):
        ids = torch.arange(len(self.ids), device="cpu")
        return SceneState({**{f"instance_ids:{name}": ids for name in maps}, "instance_count": ids[-1:] + 1})


class KnownDepth(TrueDepth):
    """Depth in units of the scene."""

    def fit_scene(self, maps, views):
        with torch.device("cpu"):
            pair, bounds = torch.tensor([1.0, 0.0]), torch.tensor([0.1, 100.0])
        return SceneState({"depth_alignment": pair.double(), "depth_alignment_bounds": bounds.double()})


def test_operators_of_every_kind_on_the_surface(room, tmp_path):
    """Colours, labels, files of masks, a network that was cut, instances, depth, and what stays on the host."""
    scene, frames = room
    for name, frame in frames.items():
        for label, number in (("floor", 0), ("wall", 1)):
            np.save(tmp_path / f"{name}.{label}.npy", (frame.labels == number).float().numpy())
    names = ("rgb", "tiny:segmenter", f"files:{tmp_path}?pattern={{view}}.{{name}}.npy&names=floor,wall")
    own = [painter(), KnownInstances(frames, seed=None), KnownDepth(frames, "depth", seed=None), OnHost()]
    rows = walked_on_both(scene, [*map(build_operator, names), *own], ["anchored"])
    assert {*METRICS} - figures_of(rows) == {*OF_FAR_VIEWS, "direction_cross_short", "embedding_cosine_2d"}


def test_views_are_judged(room):
    """What passes by is found on the device where it is on the host; residuals do not leave it view by view."""
    scene = read_scene("distractors:share=0.3&spare=3:procedural:room?views=6&height=48&width=64")
    operators, judges = [build_operator("rgb")], [build_operator("tiny:encoder")]
    walks = [walked(HOST, scene, operators, ["anchored"], ["coverage"], judges, image_height=48)]
    with counting_device() as transfers:
        walks += [walked(DEVICE, scene, operators, ["anchored"], ["coverage"], judges, image_height=48)]
    believed = walked(HOST, scene, operators, ["anchored"], ["coverage"], image_height=48)
    assert_alike(*walks, figures=5e-3, odd=5e-3)
    seen = [[view.prediction.values for view in walk.views.values()] for walk in (walks[0], believed)]
    assert not all(torch.equal(*pair) for pair in zip(*seen, strict=True))
    # A few places to tell which views are beside, and scores to be grown.
    assert transfers.downloads_by("surface/reliability") <= 2 * len(scene.views)


def figures_of(rows):
    return {row.metric for row in rows if row.outcome == "ok"}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_by_name(room, name):
    operator = build_operator(name)

    def said(device):
        Models((operator,), (), (), device)
        with computing_on(device):
            maps = {name: encode_view(operator, frame.to(device)) for name, frame in room[1].items()}
            # The view that strokes are on.
            maps["a"] = first = next(iter(maps.values()))
            state = operator.fit_scene(maps, SceneViews({}, surfaces.no_tracks))
            answer = operator.decode(first, state, ImageSize(48, 64))
        return [one.cpu() for one in (*(one.values for one in first), answer.values, answer.is_valid)]

    wanted = said(HOST)
    with counting_device():
        found = said(DEVICE)
    for one, other in zip(found, wanted, strict=True):
        same_but_for_rounding(one, other, name)


@pytest.mark.parametrize("lifter", [name for name in LIFTERS if name != "anchored"])
def test_lifters_that_propose(lifter):
    scene = read_scene("procedural:room?views=3&height=32&width=40")
    walked_on_both(scene, [*map(build_operator, ("rgb", "tiny:encoder"))], [lifter], ["coverage"])


def test_directions_and_depth_on_tracks():
    scene = two_planes_scene(view_count=3, has_depth=False)
    frames = {view.id: view.load(48) for view in scene.views}
    normals = torch.tensor([[0.1, 0.2, -1.0], [0.9, -0.3, -0.4]], dtype=torch.float64)
    true = {view.id: view.load(48) for view in two_planes_scene(view_count=3).views}
    operators = [TrueNormals(frames, normals), TrueDepth(true)]
    rows = walked_on_both(scene, operators, ["anchored"])
    assert "tracks" in {row.scoring_geometry for row in rows}
    assert {"direction_cross_short", "embedding_cosine_2d", "depth_cross_short"} <= figures_of(rows)


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_geometry(room, method, tmp_path):
    scene, frames = room
    vertices, triangles = surfaces.mesh_of(frames.values())
    path = tmp_path / ("dense" if method == "colmap" else "file.ply")
    write = {
        "mesh": lambda: surfaces.write_mesh(path, vertices, triangles),
        "points": lambda: surfaces.write_points(path, vertices),
        "splats": lambda: surfaces.write_splats(path, vertices, 0.03),
        "colmap": lambda: surfaces.write_workspace(path, frames),
        "depths": lambda: surfaces.write_depths(path, frames),
    }.get(method)
    wanted = method if write is None else f"{method}?path={write()}"

    def found(device):
        inputs = SceneInputs(scene, open_store(f"memory://{method}-{device.type}", create=True), 48)
        with computing_on(device):
            return scene_surface(inputs, wanted, [*inputs.views], quiet).surface

    host = found(HOST)
    with counting_device():
        on_device = found(DEVICE)
        views = [(view.z_depth.cpu(), view.confidence.cpu()) for view in on_device.views]
    assert on_device.keyframes == host.keyframes
    for view, parts in zip(host.views, views, strict=True):
        for one, part in zip((view.z_depth, view.confidence), parts, strict=True):
            same_but_for_rounding(part, one, view.id)
