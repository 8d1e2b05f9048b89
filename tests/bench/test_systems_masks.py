"""The masks of the bench of systems: what is true of points, floors that are none too low, ceilings that are high."""

import numpy as np

from lift3d.bench.systems import masks
from lift3d.bench.systems.parts import PARTS, Asked
from lift3d.surface.masks.claims import ViewMasks


def test_a_room_is_measured_against_floors_and_ceilings(tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "COMPUTED_HEIGHT", 48)
    asked = Asked("procedural:room?seed=1&views=6&height=48&width=64", ("hog",), (), str(tmp_path / "store"))
    rows = {row.metric: row for row in masks.measure(asked)}
    assert list(rows) == ["AP", "AP50", "AP25", "PQ"]
    assert rows["AP50"].floors.keys() == {"Felzenszwalb", "single views", "view by view"}
    assert rows["PQ"].floors.keys() == {"Felzenszwalb", "view by view"}
    for row in rows.values():
        assert row.figure <= 1
        assert row.ceilings["true 2D masks"] > max(row.floors.values())
    assert rows["AP"].details["instances"] >= 3
    assert "masks" in PARTS


def test_ids_that_grow_from_view_to_view_take_the_name_of_what_they_share_most_with():
    first = ViewMasks(np.arange(6), [np.array([0, 0, 0, 1, 1, 1])])
    second = ViewMasks(np.arange(2, 8), [np.array([5, 5, 5, 5, 9, 9])])
    # One point of the first mask, and three of the second: it goes on as the second.
    assert masks._view_by_view([first, second], 8).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def test_points_of_a_piece_are_what_most_of_them_are():
    piece, true = np.array([0, 0, 0, 1, 1, 2]), np.array([7, 7, -1, -1, -1, 3])
    assert masks._majority(piece, true).tolist() == [1, 1, 1, -1, -1, 0]


def test_what_measures_again_names_no_folder_of_this_machine(tmp_path):
    operator = f"files:{tmp_path}/shelf/masks?pattern={{view}}.png"
    (tmp_path / "shelf").mkdir()
    command = Asked(str(tmp_path / "shelf"), (operator,), (), "runs/systems").command
    assert command == "CAPTURES/shelf --operator 'files:CAPTURES/shelf/masks?pattern={view}.png'"
