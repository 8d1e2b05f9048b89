"""Questions of a kitchen with a sensor's depth: answers as people who look at its photographs give them."""

import os
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label

import lift3d

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

# What the photographs show, looked at one by one; things are numbered by their masks, chair 6 at the table's head.
SEEN = {
    ("left or right", "frame-000850", ("chair 7", "cabinet 5")): "left",
    ("left or right", "frame-000610", ("chair 6", "chair 7")): "left",
    ("left or right", "frame-000890", ("chair 8", "chair 7")): "left",
    ("front or behind", "frame-000850", ("chair 7", "cabinet 5")): "in front",
    ("front or behind", "frame-000430", ("chair 8", "chair 9")): "behind",
    ("nearer", "frame-000610", ("chair 6", "chair 7")): "chair 6",
    ("nearer", "frame-000470", ("chair 8", "cabinet 0")): "chair 8",
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The kitchen's own labels as masks, connected pixels each, and what they are called."""
    kitchen = Path(os.environ["LIFT3D_TEST_DATA"]) / "captures" / "kitchen"
    store = str(tmp_path_factory.mktemp("kitchen") / "store")
    lifted = lift3d.lift(kitchen, "hog", store=store, image_height=180, metrics=("coverage",))

    def pieces(view: str) -> np.ndarray:
        labels = lifted.scene.view(view).load(180).labels.numpy()
        return label(labels + 1, background=0, connectivity=1).astype(np.int64) - 1

    return lift3d.scene_questions(lift3d.scene_masks(lifted, masks=pieces), names="capture", numbered=True)


def test_relations_are_as_the_photographs_show_them(asked):
    found = {(one.kind, one.view, one.names): one for one in asked.questions if not one.refused}
    shown = {key: found[key].answer for key in SEEN if key in found}
    assert len(shown) >= 5
    assert shown.items() <= SEEN.items()


def test_sizes_are_those_of_furniture(asked):
    found = {(one.kind, one.names): one for one in asked.questions if not one.refused}
    assert 0.8 < found["height", ("cabinet 0",)].value < 0.95
    assert 0.7 < found["height", ("chair 6",)].value < 1.0
    assert found["taller", ("chair 6", "cabinet 0")].answer == "cabinet 0"
    # Of chairs at the table the back alone is seen.
    assert {one.refused for one in asked.questions if one.kind == "height" and one.names == ("chair 8",)} == {
        "underside"
    }
