"""The questions of the bench of systems: answers are held against the world as it was built, wrong ones are wrong."""

import numpy as np
import pytest

import lift3d
from lift3d.bench.systems import questions
from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.true_things import TrueThings
from lift3d.results.questions.asking import Question
from lift3d.synthetic.families import build_world

SCENE = "procedural:objects?seed=3&views=4&spacing=6&height=48&width=64"


def test_true_things_are_as_they_were_built():
    true = TrueThings.of(lift3d.read_scene(SCENE))
    solids = {one.surfaces[0].instance: one for one in build_world("objects", 3).solids[1:]}
    for one in true.things:
        if one.name != "table":
            solid = solids[one.instance]
            assert one.middle == pytest.approx(solid.center, abs=0.01)
            assert one.size[2] == pytest.approx(2 * solid.half_size[2], rel=0.01)
    table = next(one for one in true.things if one.name == "table")
    assert table.size == pytest.approx((1.7, 1.2, 0.45), abs=0.01) or table.size == pytest.approx((1.2, 1.7, 0.45))
    ball = next(one for one in true.things if one.name == "purple ball")
    assert one_is_right(true, "width", ("purple ball",), value=1.09 * ball.size[0])
    assert not one_is_right(true, "width", ("purple ball",), value=1.11 * ball.size[0])
    assert not one_is_right(true, "width", ("red mug",), value=1.0)
    assert one_is_right(true, "count", ("purple ball",), value=1.0)
    names = ("table", "purple ball")
    is_taller = table.size[2] > ball.size[2]
    assert one_is_right(true, "taller", names, answer="the table") == is_taller
    assert one_is_right(true, "taller", names, answer="the purple ball") != is_taller


def one_is_right(true, kind, names, answer="", value=np.nan):
    return true.is_right(Question(kind, "?", names, answer=answer, value=value))


def test_a_scene_is_measured_against_single_views_and_true_masks(tmp_path, monkeypatch):
    monkeypatch.setattr(questions, "IMAGE_HEIGHT", 48)
    rows = questions.measure(Asked(SCENE, (), (), str(tmp_path / "store")))
    given = {row.metric: row for row in rows}["relations right, names given"]
    assert given.figure > 0.8
    assert given.ceilings["true masks, true depth"] > 0.9
    assert given.details["asked"] > 0
    assert given.details["refused"] > 0
