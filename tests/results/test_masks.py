"""Masks of a lifted scene: the same from everywhere, in files that others read; clear words where there are none."""

import json

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData

import lift3d
from lift3d.errors import ConfigError, ContractError, NoOverlapError
from lift3d.results.exports.masks import run_lengths, write_masks
from lift3d.results.masks.files import masks_in
from lift3d.results.masks.view_masks import that_has_masks

SCENE = "procedural:room?seed=1&views=6&height=48&width=64"


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """A room lifted with features of gradients."""
    store = str(tmp_path_factory.mktemp("masks") / "store")
    return lift3d.lift(SCENE, "hog", store=store, image_height=48, metrics=("coverage",))


@pytest.fixture(scope="module")
def of_truth(lifted):
    """Masks that were merged of true ones, called otherwise in every view."""
    names = np.random.default_rng(0)

    def true_masks(view: str) -> np.ndarray:
        instances = lifted.scene.view(view).load(48).instances.numpy()
        return names.permutation(40)[instances]

    return lift3d.scene_masks(lifted, masks=true_masks)


def test_one_thing_has_one_id_from_every_view(lifted, of_truth):
    majority: dict[int, set[int]] = {}
    agreed, counted = 0, 0
    for view, labels in of_truth.label_maps():
        true = lifted.scene.view(view).load(48).instances.numpy()
        assert labels.shape == (48, 64)
        for number in np.unique(true):
            there = labels[(true == number) & (labels >= 0)]
            if len(there) < 40:
                continue
            ids, sizes = np.unique(there, return_counts=True)
            majority.setdefault(int(number), set()).add(int(ids[sizes.argmax()]))
            agreed, counted = agreed + sizes.max(), counted + len(there)
    assert len(majority) >= 6
    assert all(len(ids) == 1 for ids in majority.values())
    assert agreed > 0.9 * counted


def test_regions_of_photographs_and_features_are_masks(lifted):
    found = lift3d.scene_masks(lifted)
    assert len(found) > 3
    table = found.to_pandas()
    assert table["points"].tolist() == sorted(table["points"], reverse=True)
    assert table["confidence"].between(0, 1).all()
    assert table["views"].between(1, 6).all()
    assert (lift3d.scene_masks(lifted).ids == found.ids).all()
    assert "masks of" in repr(found)


def test_json_has_the_masks_of_every_view(lifted, of_truth, tmp_path):
    out = tmp_path / "masks.json"
    said = write_masks(of_truth, out)
    assert f"{len(of_truth)} masks" in said
    read = json.loads(out.read_text())
    assert (read["format"], read["version"], len(read["views"])) == ("lift3d-masks", 1, 6)
    labels = dict(of_truth.label_maps())
    for mask in read["masks"]:
        for view, runs in mask["views"].items():
            # As COCO's readers decode it: down the columns, zeros first.
            values = np.arange(len(runs["counts"])) % 2
            pixels = np.repeat(values, runs["counts"]).reshape(runs["size"], order="F")
            assert (pixels.astype(bool) == (labels[view] == mask["id"])).all()
    assert sum(mask["points"] for mask in read["masks"]) == int((of_truth.ids >= 0).sum())
    with pytest.raises(ConfigError, match="is there already"):
        write_masks(of_truth, out)


def test_ply_has_a_label_per_point(of_truth, tmp_path):
    write_masks(of_truth, tmp_path / "masks.ply")
    vertex = PlyData.read(str(tmp_path / "masks.ply"))["vertex"]
    assert (vertex["label"] == of_truth.ids.numpy()).all()
    with pytest.raises(ConfigError, match=r"\.ply or \.json"):
        write_masks(of_truth, tmp_path / "masks.txt")


def test_runs_begin_with_zeros():
    assert run_lengths(np.array([[True, False], [True, True]])) == {"size": [2, 2], "counts": [0, 2, 1, 1]}
    assert run_lengths(np.zeros((2, 3), dtype=bool)) == {"size": [2, 3], "counts": [6]}


def test_one_id_everywhere_is_one_mask_and_overlapping_ones_are_levels(lifted):
    whole = lift3d.scene_masks(lifted, masks=lambda view: np.zeros((48, 64), dtype=int))
    assert int((whole.ids == 0).sum()) > 0.5 * len(whole.ids)
    halves = np.zeros((3, 48, 64), dtype=bool)
    halves[0], halves[1, :, :32], halves[2, :, 32:] = True, True, True
    assert len(lift3d.scene_masks(lifted, masks=lambda view: halves))


def test_masks_of_a_folder(lifted, tmp_path):
    for view in lifted.targets[:4]:
        instances = lifted.scene.view(view).load(48).instances.numpy()
        Image.fromarray((instances + 1).astype(np.uint8)).save(tmp_path / f"{view}.png")
    found = lift3d.scene_masks(lifted, masks=masks_in(tmp_path, lifted.targets))
    assert len(found) > 3
    assert "given: " in repr(found)
    Image.new("RGB", (64, 48)).save(tmp_path / f"{lifted.targets[5]}.png")
    with pytest.raises(ContractError, match="label map"):
        lift3d.scene_masks(lifted, masks=masks_in(tmp_path, lifted.targets))
    with pytest.raises(ConfigError, match=r"VIEW\.png"):
        masks_in(tmp_path / "nowhere", lifted.targets)
    with pytest.raises(ConfigError, match=r"No file in .* is called after a view.*expected left\.png"):
        masks_in(tmp_path, ["left"])


def test_what_has_no_masks_is_told(lifted, shown_store):
    with pytest.raises(ContractError, match="kind 'image'"):
        lift3d.scene_masks(shown_store, operator="rgb")
    assert that_has_masks(lift3d.open_lifted(shown_store)).operator == "hog", "the first that has masks"
    with pytest.raises(NoOverlapError, match="No 2D mask"):
        lift3d.scene_masks(lifted, masks={})
    with pytest.raises(NoOverlapError, match="No 2D mask"):
        lift3d.scene_masks(lifted, masks=lambda view: np.full((48, 64), -1))
    with pytest.raises(ContractError, match="label map"):
        lift3d.scene_masks(lifted, masks=lambda view: np.zeros((48, 64)))
