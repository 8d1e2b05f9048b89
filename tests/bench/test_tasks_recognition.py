"""The bench of words and strokes: what is asked, what is looked at, and that the page says it all."""

import json

import pytest
import torch

from lift3d.bench.drawn_strokes import draw_strokes
from lift3d.bench.tasks_recognition import STROKES, THING_WORDS, WORDS, measure
from lift3d.bench.tasks_recognition_page import page
from lift3d.errors import ConfigError, SceneError
from lift3d.operators.catalog import OPERATORS
from lift3d.scenes.catalog import read_scene
from tests.support.operators import CheckerOperator
from tests.support.runs import small_recipe

LOCATION = "procedural:objects?seed=9001&views=7&height=48&width=64"
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}
COLOURS |= {"purple": (1, 0, 1), "orange": (1, 0.5, 0), "white": (1, 1, 1), "black": (0.1, 0.1, 0.1)}


class Colours(CheckerOperator):
    """An encoder that knows colours and no shapes."""

    def __init__(self):
        super().__init__(3, stride=2.0)
        self.projection = torch.eye(3)

    def encode_text(self, prompts):
        named = [next((word for word in prompt.split() if word in COLOURS), "") for prompt in prompts]
        return torch.tensor([COLOURS.get(word, (0.5, 0.5, 0.5)) for word in named])


def build_colours(name):
    return Colours()


def recipe(**changes):
    fields = {"scenes": [LOCATION], "operators": ["colours", "hog?cell=4"], "sources": 4, "holdout": 3}
    return small_recipe(**{**fields, **changes})


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recognition")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(OPERATORS, "colours", f"{__name__}:build_colours")
        return measure(recipe(), str(folder / "store"), folder / "drawings"), folder / "drawings"


def test_each_encoder_is_asked_for_what_it_can_and_every_lifter_answers(measured):
    figures, _ = measured
    assert [(task.task, task.encoder) for task in figures.tasks] == [
        (WORDS, "colours"),
        (THING_WORDS, "colours"),
        (STROKES, "colours"),
        (STROKES, "hog?cell=4"),
    ]
    for task in figures.tasks:
        # Where every class is named no pixel is background, and the two are one.
        assert (task.means["miou"] == task.means["object_iou"]) == (task.task == WORDS)
        for metric in ("miou", "object_iou", "pixel_accuracy"):
            assert set(task.means[metric]) == {"raw2d", "plane_sweep", "anchored"}
            assert all(0 <= value <= 1 for value in task.means[metric].values())
        assert set(task.above_plain) == {"plane_sweep", "anchored"}
        assert not task.is_met


def test_strokes_lie_on_one_view_that_is_no_target(measured):
    _, drawings = measured
    files = [json.loads(path.read_text()) for path in sorted(drawings.iterdir())]
    assert len(files) == 3
    assert {file["view"] for file in files} == {"0004"}
    assert len({file["object"] for file in files}) == 3


def test_the_page_shows_every_task_and_how_it_was_made(measured):
    figures, _ = measured
    text = page(figures)
    assert "lift3d bench recognition" in text
    assert text.count("\n| plane_sweep |") == 4
    assert "Bar: `object_iou` of anchored at least 0.87; " in text


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"holdout": None}, ConfigError, "held out"),
        ({"scenes": ["procedural:room?views=4&height=32&width=40"]}, SceneError, "no thing that has a name"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        measure(recipe(**changes), str(tmp_path), tmp_path)


def test_strokes_keep_to_their_side_of_the_outline():
    view = read_scene(LOCATION).views[3]
    labels = view.load(120).labels
    name = int(torch.bincount(labels[labels > 3]).argmax())
    drawing = draw_strokes(labels, name, view.id, "thing")
    for stroke in drawing.strokes:
        for u, v in stroke.points:
            assert (int(labels[int(v), int(u)]) == name) == stroke.positive
    assert drawing == draw_strokes(labels, name, view.id, "thing")
    assert drawing != draw_strokes(labels, name, view.id, "thing", seed=1)
    assert sum(stroke.positive for stroke in drawing.strokes) == 3
    assert drawing.size == (120, 160)


def test_a_thing_too_thin_for_a_stroke_is_said_so():
    labels = torch.zeros(40, 40, dtype=torch.long)
    labels[20:22] = 7
    with pytest.raises(SceneError, match="'wire' is nowhere 4 pixels wide"):
        draw_strokes(labels, 7, "0001", "wire")
