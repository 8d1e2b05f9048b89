"""Strokes on one view: which cells they mean, what is chosen from them, and what must not matter."""

import json
from dataclasses import replace

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureGrid
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError, ContractError, SceneError
from lift3d.operators.catalog import build_operator
from lift3d.operators.names import OperatorName
from lift3d.operators.positional_field import field_of, fit_field
from lift3d.operators.stroke_file import Stroke, cells_under
from lift3d.operators.strokes import StrokesOperator, far_from_most, object_scores, separating
from tests.support.operators import CheckerOperator

SIZE = ImageSize(48, 64)
ON, OFF = [[22.5, 22.5], [38, 22]], [[4, 40], [60, 42]]
CONTENT = {
    "view": "a",
    "size": [48, 64],
    "object": "red box",
    "strokes": [{"points": ON, "radius": 2}, {"points": OFF, "radius": 2, "positive": False}],
}


def image_of(shift, seed=0):
    """A red box on grey, both grainy, that moves to the right by so many pixels."""
    image = torch.full((3, 48, 64), 0.5)
    image[:, 16:32, 16 + shift : 48 + shift] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    grain = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(seed))
    return (image + 0.05 * (grain - 0.5)).clamp(0, 1)


def truth_of(shift):
    is_object = torch.zeros(48, 64, dtype=torch.bool)
    is_object[16:32, 16 + shift : 48 + shift] = True
    return is_object


def iou(predicted, true):
    return float((predicted & true).sum() / (predicted | true).sum())


@pytest.fixture
def operator_of(tmp_path):
    def build(inner=None, **changes):
        path = tmp_path / "strokes.json"
        path.write_text(json.dumps({**CONTENT, **changes}))
        name = OperatorName("strokes", str(path), (("of", "checker"),))
        return StrokesOperator(name, CheckerOperator(8, stride=4.0) if inner is None else inner)

    return build


def maps_of(operator, shifts=(0, 4, -6)):
    return {
        view: operator.encode(image_of(shift, seed))
        for seed, (view, shift) in enumerate(zip("abc", shifts, strict=True))
    }


def views_of():
    K = torch.tensor([[50.0, 0, SIZE.width / 2], [0, 50.0, SIZE.height / 2], [0, 0, 1]], dtype=torch.float64)
    return SceneViews.of({view: Camera(K, torch.eye(4, dtype=torch.float64), SIZE) for view in "abc"})


def answer(operator, view):
    maps = maps_of(operator)
    return operator.decode(maps[view], operator.fit_scene(maps, views_of()), SIZE).values


def test_the_object_is_found_where_nobody_drew_given_the_state_of_fit_scene(operator_of):
    operator = operator_of()
    for view, shift in (("b", 4), ("c", -6)):
        assert iou(answer(operator, view) == 1, truth_of(shift)) > 0.8
    assert operator.spec.label_names == ("background", "red box")
    assert operator.spec.threshold_source == "reference view"
    with pytest.raises(ContractError, match="state of fit_scene"):
        operator.decode(maps_of(operator)["a"], EMPTY_STATE, SIZE)


def test_one_click_is_enough_where_the_object_stands_out(operator_of):
    operator = operator_of(strokes=[{"points": [[30, 22]]}])
    assert set(operator.fit_scene(maps_of(operator), views_of()).arrays) == {"strokes_positive", "strokes_threshold"}
    assert iou(answer(operator, "b") == 1, truth_of(4)) > 0.8


def test_nothing_but_the_reference_view_moves_the_state(operator_of):
    operator = operator_of()
    maps = maps_of(operator)
    state = operator.fit_scene(maps, views_of()).arrays
    others = [
        {"a": maps["a"]},
        {**maps, "b": operator.encode(1 - image_of(9)), "d": maps["c"]},
        dict(reversed(maps.items())),
    ]
    for changed in others:
        again = operator.fit_scene(changed, views_of()).arrays
        assert again.keys() == state.keys()
        assert all(torch.equal(again[key], state[key]) for key in state)


def test_rotating_the_feature_space_and_stretching_features_changes_nothing(operator_of):
    frame, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
    plain, turned = CheckerOperator(8), CheckerOperator(8)
    turned.projection = 0.3 * frame @ plain.projection
    for strokes in (CONTENT["strokes"], CONTENT["strokes"][:1]):
        assert torch.equal(*(answer(operator_of(inner, strokes=strokes), "c") for inner in (plain, turned)))


def test_swapping_the_signs_swaps_the_answer(operator_of):
    swapped = [{**stroke, "positive": not stroke.get("positive", True)} for stroke in CONTENT["strokes"]]
    assert torch.equal(answer(operator_of(), "b"), 1 - answer(operator_of(strokes=swapped), "b"))


def test_strokes_drawn_on_a_larger_picture_mean_the_same(operator_of):
    double = [
        {**stroke, "points": [[2 * u, 2 * v] for u, v in stroke["points"]], "radius": 2 * stroke["radius"]}
        for stroke in CONTENT["strokes"]
    ]
    small, large = operator_of(), operator_of(size=[96, 128], strokes=double)
    maps = maps_of(small)
    one, other = (operator.fit_scene(maps, views_of()).arrays for operator in (small, large))
    assert all(torch.equal(one[key], other[key]) for key in one)


class Placed(CheckerOperator):
    """An encoder with a positional field of its own."""

    def fit_scene(self, maps, views):
        return fit_field(maps)


@pytest.mark.parametrize("inner", [Placed(8), build_operator("hog")], ids=["with a field", "hog"])
def test_any_encoder_may_be_within_and_holes_filled_with_nothing_are_finite(operator_of, inner):
    operator = operator_of(inner)
    maps = maps_of(operator)
    state = operator.fit_scene(maps, views_of())
    assert (field_of(state, 0) is not None) == isinstance(inner, Placed)
    labels = operator.decode(maps["a"], state, SIZE).values
    # A person sees on the reference view at once that the strokes are understood.
    assert labels[22, 30] == 1
    assert labels[42, 32] == 0
    (features,) = maps["b"]
    nothing = replace(features, values=torch.zeros_like(features.values))
    assert torch.isfinite(operator.decode((nothing,), state, SIZE).values.double()).all()


def test_the_file_is_part_of_the_identity_and_the_inner_operator_of_the_name(operator_of, tmp_path):
    first, second = operator_of().spec, operator_of(strokes=CONTENT["strokes"][:1]).spec
    assert first.identity != second.identity
    assert build_operator(f"strokes:{tmp_path}/strokes.json?of=hog").spec.name.endswith("?of=hog")
    assert build_operator(f"strokes:{tmp_path}/strokes.json?of=hog?cell=6").spec.channel_count == 36


GRID = FeatureGrid(12, 16, 4.0, 4.0)


@pytest.mark.parametrize(
    ("points", "radius", "size", "grid", "cells"),
    [
        # A click marks the cell that it lies in, and a line each that it crosses.
        ([(9.0, 6.0)], 0.0, SIZE, GRID, [[1, 2]]),
        ([(2.0, 2.0), (62.0, 2.0)], 0.0, SIZE, GRID, [[0, col] for col in range(16)]),
        ([(0.5, 0.5), (47.5, 47.5)], 0.0, SIZE, GRID, [[index, index] for index in range(12)]),
        # A radius reaches the cells whose centres it covers; the same on a picture of twice the size.
        ([(10.0, 10.0)], 3.9, SIZE, GRID, [[2, 2]]),
        ([(10.0, 10.0)], 4.1, SIZE, GRID, [[1, 2], [2, 1], [2, 2], [2, 3], [3, 2]]),
        ([(20.0, 20.0)], 8.2, ImageSize(96, 128), GRID, [[1, 2], [2, 1], [2, 2], [2, 3], [3, 2]]),
        # Beyond the last cell it marks the border.
        ([(63.5, 47.5)], 0.0, SIZE, FeatureGrid(11, 15, 4.0, 4.0), [[10, 14]]),
    ],
)
def test_a_stroke_marks_the_cells_under_it(points, radius, size, grid, cells):
    assert torch.nonzero(cells_under(Stroke(points=points, radius=radius), size, SIZE, grid)).tolist() == cells


def test_a_cell_like_both_kinds_is_halfway_and_the_threshold_in_the_middle_of_what_tells_them_apart():
    entries, others = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    cells = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5**0.5, 0.5**0.5]])
    assert object_scores(cells, entries, others).tolist() == pytest.approx([1, -1, 0], abs=1e-6)
    assert object_scores(entries, entries, entries).tolist() == [0]
    assert separating(torch.tensor([0.9, 0.5]), torch.tensor([-0.1, -0.7])) == pytest.approx(0.2)
    # One of each is on the wrong side whatever the threshold.
    mixed = separating(torch.tensor([0.9, 0.8, -0.95]), torch.tensor([0.85, -0.6, -0.8, -0.9]))
    assert -0.6 < mixed < 0.8
    assert separating(torch.tensor([0.3]), torch.tensor([0.3])) == pytest.approx(0.3)


def test_without_negatives_the_few_near_cells_are_told_from_the_many_far_ones():
    near, far = torch.linspace(0.01, 0.05, 30), torch.linspace(0.4, 1.4, 400)
    assert -far_from_most(-torch.cat([near, far])) == pytest.approx((0.05 + 0.4) / 2)
    assert far_from_most(torch.full((5,), -0.2)) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json", "Invalid JSON"),
        ({**CONTENT, "mask": []}, "mask: Extra inputs"),
        ({key: value for key, value in CONTENT.items() if key != "view"}, "view: Field required"),
        ({**CONTENT, "strokes": []}, "none is positive"),
        ({**CONTENT, "strokes": CONTENT["strokes"][1:]}, "1 strokes and none is positive"),
        ({**CONTENT, "strokes": [{"points": []}]}, "strokes.0.points: .*at least 1"),
        ({**CONTENT, "strokes": [{"points": [[1, 2]], "radius": -1}]}, "radius: .*greater than or equal to 0"),
        ({**CONTENT, "strokes": [{"points": [[64.5, 2]]}]}, r"point \(64.5, 2\), outside of the image of 64×48"),
    ],
)
def test_files_that_hold_no_strokes_are_refused(tmp_path, content, said):
    path = tmp_path / "strokes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError, match=said):
        build_operator(f"strokes:{path}?of=hog")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"view": "0007"}, r"view '0007'.*none of the 3 views.*held out"),
        ({"size": [64, 64]}, "64×64 pixels, but view 'a' has 64×48"),
        (
            {"strokes": [{"points": ON, "radius": 1}, {"points": ON, "radius": 6, "positive": False}]},
            "under a negative one as well",
        ),
    ],
)
def test_strokes_that_do_not_fit_the_views_are_refused(operator_of, changes, said):
    operator = operator_of(**changes)
    with pytest.raises(SceneError, match=said) as caught:
        operator.fit_scene(maps_of(operator), views_of())
    assert caught.value.view == changes.get("view", "a")
