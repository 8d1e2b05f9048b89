"""Stereo that is completed by a network's depth: where there is no texture, and only by a network that helps."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import SceneGeometry
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError, ContractError, NonFiniteError, UnknownNameError
from lift3d.operators.answers import pixel_map, valid_everywhere
from lift3d.operators.depth_alignment import fit_lines
from lift3d.operators.protocol import OperatorSpec, Quantity
from lift3d.scenes.catalog import read_scene
from lift3d.surface.catalog import PLANAR, SWEEP, build_geometry, parse_geometry
from lift3d.surface.diffusion import diffused
from lift3d.surface.prior import PriorGeometry
from lift3d.surface.priors import completed_spec
from lift3d.surface.sweep import SweepGeometry
from lift3d.surface.texture import texture
from tests.support.surfaces import unasked_tracks

_SCENE = "procedural:room?seed=1&views=8&height=72&width=96&plain=1&spacing=2"


class _Known:
    """An operator that was told what to say of each view."""

    def __init__(self, maps: Mapping[ViewId, Tensor], quantity: Quantity = "disparity") -> None:
        self.spec = OperatorSpec("known", 1, "scalar", quantity=quantity, channel_count=1, is_precomputed=True)
        self._maps = maps

    def read(self, view: ViewId, size: ImageSize) -> tuple[FeatureMap, ...]:
        return (pixel_map(self._maps[view]),)

    def grids(self, size: ImageSize) -> tuple[FeatureGrid, ...]:
        return (FeatureGrid.covering(size, 1.0),)

    def encode(self, image: Tensor) -> tuple[FeatureMap, ...]:
        raise AssertionError("what was said of views is read")

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        return EMPTY_STATE

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        return Prediction("scalar", features[0].values[0], valid_everywhere(size))


class _Found(SweepGeometry):
    """Stereo that was found before."""

    def __init__(self, found: SceneGeometry) -> None:
        super().__init__()
        self._found = found

    def estimate(self, *_: object) -> SceneGeometry:
        return self._found


_Given = tuple[list[SourceGuide], dict[ViewId, Tensor], SceneGeometry]


@pytest.fixture(scope="module")
def room() -> _Given:
    """Views of a room with plain walls, their depth, and stereo."""
    scene = read_scene(_SCENE)
    frames = {view.id: view.load(72) for view in scene.views}
    guides = [SourceGuide(name, one.camera, one.image, one.is_valid) for name, one in frames.items()]
    truth = {name: one.z_depth for name, one in frames.items() if one.z_depth is not None}
    return guides, truth, SweepGeometry().estimate(guides, scene.depth_range, unasked_tracks)


def _completed(room: _Given, operator: _Known) -> SceneGeometry:
    guides, _, stereo = room
    depth_range = read_scene(_SCENE).depth_range
    return PriorGeometry(SWEEP, operator, _Found(stereo)).estimate(guides, depth_range, unasked_tracks)


@pytest.mark.parametrize("quantity", ["depth", "disparity"])
def test_true_depth_up_to_scale_and_shift_fills_plain_walls_and_textured_cells_stay(
    room: _Given, quantity: Quantity
) -> None:
    guides, truth, stereo = room
    said = {name: (3 * (1 / z if quantity == "disparity" else z) - 0.4)[None] for name, z in truth.items()}
    found = _completed(room, _Known(said, quantity))
    assert "fills what has no texture" in found.notes[-1]
    before, after = [], []
    for view in guides:
        was, now, true = stereo.views[view.id], found.views[view.id], truth[view.id]
        is_plain = texture(view.image, was.grid) < 0.002
        before.append(((was.z_depth / true - 1).abs().nan_to_num(1.0))[is_plain])
        after.append(((now.z_depth / true - 1).abs().nan_to_num(1.0))[is_plain])
        is_textured = (texture(view.image, was.grid) > 0.05) & (was.confidence > 0.5)
        assert torch.equal(was.z_depth[is_textured], now.z_depth[is_textured])
        assert torch.equal(was.confidence[is_textured], now.confidence[is_textured])
    assert torch.cat(before).median() > 0.03
    assert torch.cat(after).median() < 0.6 * torch.cat(before).median()


def test_the_order_of_views_changes_nothing(room: _Given) -> None:
    guides, truth, _ = room
    operator = _Known({name: (1 / z)[None] for name, z in truth.items()})
    one, other = (_completed((some, *room[1:]), operator) for some in (guides, guides[::-1]))
    for name in truth:
        assert torch.equal(one.views[name].z_depth.nan_to_num(-1), other.views[name].z_depth.nan_to_num(-1))


@pytest.mark.parametrize("kind", ["constant", "inverted", "noise"])
def test_a_network_that_tells_no_depth_does_no_harm_and_a_note_says_so(room: _Given, kind: str) -> None:
    _, truth, stereo = room
    generator = torch.Generator().manual_seed(0)
    said = {
        "constant": {name: torch.ones(1, *z.shape) for name, z in truth.items()},
        "inverted": {name: z[None] for name, z in truth.items()},
        "noise": {name: torch.rand(1, *z.shape, generator=generator) for name, z in truth.items()},
    }[kind]
    found = _completed(room, _Known(said))
    for name, was in stereo.views.items():
        assert torch.equal(was.z_depth.nan_to_num(-1), found.views[name].z_depth.nan_to_num(-1))
        assert torch.equal(was.confidence, found.views[name].confidence)
    assert "keep stereo alone" in found.notes[0] or "is not used" in found.notes[0]


def test_what_is_no_map_of_depth_is_refused_by_name(room: _Given) -> None:
    _, truth, _ = room
    with pytest.raises(ContractError, match=r"'known' gave 1 map\(s\) of 3 channels for view '0000'"):
        _completed(room, _Known({name: torch.ones(3, *z.shape) for name, z in truth.items()}))
    with pytest.raises(NonFiniteError, match="NaN or infinity for view"):
        _completed(room, _Known({name: torch.full((1, *z.shape), torch.nan) for name, z in truth.items()}))


def test_names_of_operators_need_no_escapes_and_another_prior_is_another_surface() -> None:
    asked = parse_geometry("planar?prior=transformers:some/folder?cuts=output&quantity=depth")
    assert asked[:3] == ("planar", "", "transformers:some/folder?cuts=output&quantity=depth")
    assert parse_geometry("mesh?path=a.ply")[:3] == ("mesh", "a.ply", "")
    for wrong in ("planar?path=a.ply", "planar?prior=", "mesh?prior=tiny:depth"):
        with pytest.raises(ConfigError, match="takes '"):
            parse_geometry(wrong)
    assert completed_spec("tiny:depth").identity != PLANAR.identity
    with pytest.raises(ConfigError, match="'rgb' cannot complete stereo: it gives color, expected depth or disparity"):
        build_geometry("planar?prior=rgb")
    with pytest.raises(UnknownNameError):
        build_geometry("planar?prior=nothing")


def test_between_known_cells_the_answer_is_linear_or_the_shape_that_is_followed() -> None:
    grey, weight, target = np.zeros((3, 1, 9)), np.zeros((1, 9)), np.full((1, 9), np.nan)
    weight[0, [0, 8]], target[0, [0, 8]] = 1e9, (1.0, 5.0)
    bend = np.array([[0.0, 2, 3, 3, 3, 3, 3, 2, 0]])
    straight, bent = diffused(target, weight, [np.zeros((1, 9)), bend], grey)
    assert straight[0] == pytest.approx(np.linspace(1, 5, 9), abs=1e-5)
    assert bent[0] == pytest.approx(np.linspace(1, 5, 9) + bend[0], abs=1e-5)
    # Across an edge of the photograph nothing is carried: either side keeps what is known there.
    grey[:, :, 5:] = 1.0
    (parted,) = diffused(target, weight, [np.zeros((1, 9))], grey)
    assert parted[0] == pytest.approx([1.0] * 5 + [5.0] * 4, abs=0.01)


def test_texture_beside_an_outline_is_that_of_the_plainer_side() -> None:
    image = torch.full((3, 20, 40), 0.5)
    image[:, :, 20:] = torch.tensor([0.2, 0.8]).repeat(10)
    found = texture(image, FeatureGrid.covering(ImageSize(20, 40), 1.0))
    assert found[:, :22].max() < 1e-3
    assert found[:, 23:].min() > 0.1


def test_a_line_is_found_among_wrong_places_and_a_falling_one_is_not_sure() -> None:
    x = torch.linspace(0, 1, 200, dtype=torch.float64)
    y = 2 * x + 0.5
    y[::3] = 3.0
    (scale, shift), is_sure = fit_lines(x, y, "disparity")
    assert is_sure
    assert (scale, shift) == pytest.approx((2.0, 0.5), abs=1e-3)
    assert not fit_lines(x, 3 - 2 * x, "disparity")[1]
    assert not fit_lines(torch.ones_like(x), y, "disparity")[1]
    assert not fit_lines(x[:0], x[:0], "depth")[1]
