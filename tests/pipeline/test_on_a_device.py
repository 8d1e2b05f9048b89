"""The whole line on a device that is not the host's: the same answers, and no more transfers than are stated."""

import numpy as np
import pytest
import torch
from torch import nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.scene_views import SceneViews
from lift3d.lifters.catalog import LIFTERS, build_lifter
from lift3d.metrics.catalog import build_metrics
from lift3d.operators.catalog import build_operator
from lift3d.operators.split.model import SplitModel
from lift3d.pipeline.device import HOST, computing_on
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.scene import run_scene
from lift3d.pipeline.stored_views import read_lifted
from lift3d.pipeline.surface import scene_surface
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product
from lift3d.surface.catalog import METHODS
from tests.support import surfaces
from tests.support.counting_device import DEVICE, counting_device
from tests.support.operators import TrueDepth, TrueInstances, TrueNormals
from tests.support.runs import small_recipe
from tests.support.scenes import two_planes_scene

VIEWS = 3
# Networks of ours and of libraries, and what decides on their features: by words, by a codebook, by statistics.
OPERATORS = (
    *("tiny:colorizer", "tiny:superresolution", "tiny:style", "felzenszwalb", "felzenszwalb?as=ids"),
    *("open_vocabulary?prompts=red ball&of=tiny:clip", "timm:test_vit?weights=random&positional_field=subtract"),
)


@pytest.fixture(scope="module")
def room():
    scene = read_scene(f"procedural:room?views={VIEWS}&height=32&width=40")
    return scene, {view.id: view.load() for view in scene.views}


def painter():
    """A network that was cut in two: what it makes of the cut is a picture."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 3, padding=1), nn.Sigmoid())
    return SplitModel(layers, ["1"], prediction="image")


def walked(device, scene, folder, operators, lifters, metrics):
    """The rows and lifted views of a scene that was walked on a device, read on the host."""
    recipe = small_recipe(operators=[one.spec.name for one in operators], lifters=lifters)
    store = open_store(str(folder / device.type), create=True)
    models = Models(tuple(operators), tuple(map(build_lifter, lifters)), build_metrics(metrics), device)
    record, rows = run_scene(SceneInputs(scene, store, recipe.image_height), recipe, models)
    views = {
        (product.operator, product.lifter, view.target): view
        for product in record.lifted
        for path in product.parts
        for view in read_lifted(open_product(store, path))
    }
    return {(row.target, row.other, row.operator, row.lifter, row.metric, row.protocol): row for row in rows}, views


def walked_on_both(scene, folder, operators, lifters, metrics=None):
    """What was transferred by the device, whose rows and lifted views are the host's."""
    wanted, views = walked(HOST, scene, folder, operators, lifters, metrics)
    with counting_device() as transfers:
        found, views_found = walked(DEVICE, scene, folder, operators, lifters, metrics)
    assert found.keys() == wanted.keys()
    assert views_found.keys() == views.keys()
    for key, row in wanted.items():
        other = found[key]
        figures = (other.value, other.weight, other.coverage)
        assert figures == pytest.approx((row.value, row.weight, row.coverage), rel=1e-3, abs=1e-4, nan_ok=True), row
        assert (other.outcome, other.reason) == (row.outcome, row.reason)
    for key, view in views.items():
        for one, other in zip(arrays_of(view), arrays_of(views_found[key]), strict=True):
            same_but_for_rounding(other, one, key)
    return wanted.values(), transfers


def arrays_of(view):
    lifted = [part for one in view.lifted for part in (one.features.values, one.coverage, one.z_depth, one.confidence)]
    return [part for part in (*lifted, view.prediction.values, view.prediction.is_valid) if part is not None]


def same_but_for_rounding(found, wanted, what):
    """Equal up to the order of sums, and labels but for one in a thousand; stored features have eleven bits."""
    if wanted.is_floating_point():
        torch.testing.assert_close(
            found, wanted, rtol=2e-3, atol=2e-4, equal_nan=True, msg=lambda said: f"{what} {said}"
        )
    else:
        assert float((found != wanted).float().mean()) < 1e-3, what


def test_operators_of_every_kind_on_the_surface(room, tmp_path):
    """Colours, features, labels, a library of the host's, a network that was cut, instances, and files."""
    scene, frames = room
    for name, frame in frames.items():
        np.save(tmp_path / f"{name}.npy", frame.image.mean(0).numpy())
    names = ("rgb", "hog", "tiny:segmenter", f"files:{tmp_path}?pattern={{view}}.npy")
    operators = [*map(build_operator, names), painter(), TrueInstances(frames)]
    walked_on_both(scene, tmp_path, operators, ["anchored"])


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_by_name(room, name):
    operator = build_operator(name)

    def said(device):
        Models((operator,), (), (), device)
        with computing_on(device):
            maps = {name: encode_view(operator, frame.to(device)) for name, frame in room[1].items()}
            state = operator.fit_scene(maps, SceneViews({}, surfaces.no_tracks))
            first = next(iter(maps.values()))
            answer = operator.decode(first, state, ImageSize(32, 40))
        return [one.cpu() for one in (*(one.values for one in first), answer.values, answer.is_valid)]

    wanted = said(HOST)
    with counting_device():
        found = said(DEVICE)
    for one, other in zip(found, wanted, strict=True):
        same_but_for_rounding(one, other, name)


@pytest.mark.parametrize("lifter", [name for name in LIFTERS if name != "anchored"])
def test_lifters_that_propose(room, lifter, tmp_path):
    operators = [
        *map(build_operator, ("rgb", "tiny:encoder")),
    ]
    walked_on_both(room[0], tmp_path, operators, [lifter])


def test_directions_and_depth_on_tracks(tmp_path):
    scene = two_planes_scene(view_count=3, has_depth=False)
    frames = {view.id: view.load(48) for view in scene.views}
    normals = torch.tensor([[0.1, 0.2, -1.0], [0.9, -0.3, -0.4]], dtype=torch.float64)
    true = {view.id: view.load(48) for view in two_planes_scene(view_count=3).views}
    operators = [TrueNormals(frames, normals), TrueDepth(true)]
    rows, _ = walked_on_both(scene, tmp_path, operators, ["anchored"])
    assert "tracks" in {row.scoring_geometry for row in rows}


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
    }.get(method)
    wanted = method if write is None else f"{method}?path={write()}"

    def found(device):
        inputs = SceneInputs(scene, open_store(str(tmp_path / device.type), create=True), 32)
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
