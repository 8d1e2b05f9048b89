"""Computed scenes with one known fault: it is named, with its views, and nothing else is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import lift3d
from lift3d.results.evidence.reasons import reasons_of
from lift3d.results.evidence.sightings import sightings_of
from lift3d.synthetic.movers import disturbed_views
from lift3d.synthetic.reader import ProceduralFrame
from lift3d.synthetic.stage import LABELS
from tests.support.photographs import write_posed
from tests.support.runs import run_into, small_recipe

ROOM = "procedural:room?seed=3&views=8&height=48&width=64&depth=0&labels=0"
MOVED = tuple(f"{place:04d}" for place in disturbed_views(0.3, 3, 8, 8))
MEASURED = ROOM.replace("depth=0", "depth=1")
FAULTS = [
    ("", ROOM, ()),
    ("moved", f"{ROOM}&movers=0.3", MOVED),
    # A sensor measures the mover, too: no view contradicts itself, but those that see through it contradict it.
    ("moved", f"{MEASURED}&movers=0.3", MOVED),
    ("no texture", f"{ROOM}&plain=1", tuple(f"{place:04d}" for place in range(8))),
    ("no overlap", "procedural:street?seed=3&views=4&height=48&width=64&depth=0&spacing=10", ("0000",)),
]


def reasons(folder, location):
    url = str(folder / "store")
    given = {"operators": ["rgb"], "lifters": ["anchored"], "metrics": ["coverage"], "image_height": 48, "sources": 4}
    run_into(url, small_recipe(scenes=[location], target_mode="refine", **given))
    lifted = lift3d.lifted_scenes(url, captures=True)[0]
    return reasons_of(lifted, sightings_of(lifted))


@pytest.mark.parametrize(("kind", "location", "views"), FAULTS)
def test_what_is_wrong_is_named_and_where(tmp_path, kind, location, views):
    found = reasons(tmp_path, location)
    assert [(one.kind, {*one.views}) for one in found] == ([(kind, {*views})] if kind else [])
    assert all(one.remedy for one in found)


def test_things_that_look_different_from_each_side_shine_and_photographs_of_other_light_do_not(room_run, monkeypatch):
    lifted, plain_load = room_run["rgb"], ProceduralFrame.load
    sightings = sightings_of(lifted)

    def found(changed):
        def load(self, *asked):
            frame = plain_load(self, *asked)
            return replace(frame, image=changed(frame, self.index))

        monkeypatch.setattr(ProceduralFrame, "load", load)
        return [(one.kind, one.views) for one in reasons_of(lifted, sightings)]

    def shining(frame, index):
        tint = torch.tensor([index / 5, 0.5, 1 - index / 5])[:, None, None]
        is_shiny = torch.isin(frame.labels, torch.tensor([LABELS[name] for name in ("floor", "seat", "cabinet")]))
        return torch.where(is_shiny, tint, frame.image)

    def in_shadow(frame, index):
        image = frame.image.clone()
        image[:, :, : 24 * (index == 2)] *= 0.5
        return image

    assert found(lambda frame, index: frame.image) == []
    assert found(in_shadow) == [("light", ("0002",))]
    assert found(lambda frame, index: frame.image * 0.8 + 0.03 * index) == []
    assert found(shining) == [("shiny", ())]


def test_a_camera_that_is_turned_is_named_with_how_far_it_is_off(tmp_path):
    folder = write_posed(lift3d.read_scene(ROOM), tmp_path / "posed")
    content = json.loads((folder / "transforms.json").read_text())
    turned = np.array(content["frames"][4]["transform_matrix"])
    sine, cosine = np.sin(np.radians(3)), np.cos(np.radians(3))
    turned[:3, :3] = turned[:3, :3] @ [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]
    content["frames"][4]["transform_matrix"] = turned.tolist()
    (folder / "transforms.json").write_text(json.dumps(content))
    (found,) = reasons(tmp_path, str(folder))
    off_px = content["fl_x"] * np.tan(np.radians(3))
    assert (found.kind, found.views, found.said) == (
        ("pose", ("0004",), f"1 of 8 views agree better with the others {off_px:.0f} px aside")
    )
