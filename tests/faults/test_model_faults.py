"""Models that break their promises, change, or are not what they should be."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from lift3d.cli.run import exit_code, scene_line
from lift3d.config import Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.network_weights import read_weights
from lift3d.storage.layout import product_of
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product, write_product
from lift3d.torchvision_guard import ensure_torchvision
from tests.support.runs import canonical_table, rows_of, run_into, small_recipe

ODD = Path(__file__).with_name("odd_operators.py")
ROOM = "procedural:room?views=3&height=24&width=32"
NARROW = "procedural:street?views=3&height=24&width=30"


def recipe_with(kind: str, file: Path = ODD, **fields: object) -> Recipe:
    given = {"scenes": [ROOM], "lifters": ["plane_sweep"], "image_height": 24, "sources": 2}
    operator = f"odd_{kind}" if file == ODD else kind
    return small_recipe(**{"operators": [operator], "plugins": [f"{file}:{kind}"], **given, **fields})


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file but what shows the last run of a scene: it is written again at will."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name.split("/")[2:] != ["zarr.json"]}


@pytest.mark.fault(30, "a plug-in gives NaN, float16, float64, other sizes or numbers of channels, in a run")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        *(("nan", "non-finite: "), ("half", "contract: "), ("double", "contract: ")),
        *(("size", "shape: "), ("channels", "shape: "), ("sometimes", "shape: ")),
    ],
)
def test_a_broken_promise_fails_the_scene_and_names_the_operator(tmp_path, kind, reason):
    (record,) = run_into(str(tmp_path / "store"), recipe_with(kind))
    assert record.outcome == "failed"
    assert record.reason.startswith(reason)
    assert f"'odd_{kind}'" in record.reason
    assert "View '" in record.reason


@pytest.mark.fault(30, "a plug-in gives a constant")
def test_a_constant_is_an_answer(tmp_path):
    recipe = recipe_with("constant")
    assert run_into(str(tmp_path), recipe)[0].is_ok
    rows = rows_of(str(tmp_path), recipe)
    assert (rows["outcome"] == "ok").any()
    assert rows.loc[rows["outcome"] == "ok", "value"].notna().all()


@pytest.mark.fault(31, "a plug-in gives a million in every fourth row of its features")
def test_what_float16_cannot_hold_is_its_largest_number(tmp_path):
    (record,) = run_into(str(tmp_path), recipe_with("large"))
    assert record.is_ok
    store = open_store(str(tmp_path))
    parts = [path for product in record.lifted for path in product.parts]
    largest = [float(np.nanmax(abs(open_product(store, path).array("features_0")))) for path in parts]
    assert largest == [65504.0] * len(parts)
    count = 3 * 3 * 6 * 32
    assert record.computed["values of odd_large clamped to float16"] == count, "three views, three channels, six rows"
    assert f"{count} values of odd_large clamped" in scene_line(record)
    attrs = [
        open_product(store, str(product_of(key))).attrs
        for key in store.list("scenes")
        if "/features/" in key and product_of(key) == key.removesuffix("/zarr.json")
    ]
    assert [one["clamped_to_float16"] for one in attrs] == [count]


@pytest.mark.fault(32, "a plug-in that answers differently each time; two workers with other answers for one view")
def test_the_first_answer_that_is_committed_stands(tmp_path):
    recipe, url = recipe_with("fickle"), str(tmp_path / "store")
    run_into(url, recipe)
    first = canonical_table(url, recipe)
    (record,) = run_into(url, recipe)
    assert record.computed == {}
    assert canonical_table(url, recipe) == first
    store = open_store(url)
    for value in (1.0, 2.0):
        write_product(store, "scenes/s/features/o/leaf", {"x": (("i",), np.full(3, value))}, {})
    assert open_product(store, "scenes/s/features/o/leaf").array("x").mean() == 1.0


@pytest.mark.fault(13, "an operator raises torch.OutOfMemoryError on one of two scenes, in a serial run")
def test_a_scene_that_does_not_fit_costs_no_other(tmp_path):
    url, recipe = str(tmp_path / "store"), recipe_with("memory", scenes=[ROOM, NARROW])
    records = run_into(url, recipe)
    assert [record.outcome for record in records] == ["failed", "ok"]
    assert records[0].reason.startswith("out-of-memory: ")
    assert "'odd_memory'" in records[0].reason
    assert exit_code(records) == 3
    rows = rows_of(url, recipe)
    assert rows.loc[rows["outcome"] == "failed", "reason"].str.contains("out-of-memory").tolist() == [True]


PLUGIN = """
from dataclasses import replace
from tests.support.operators import IdentityOperator

class own(IdentityOperator):
    spec = replace(IdentityOperator.spec, name="own", stage_version={version}, weights_digest="{weights}")
"""


def run_version(folder: Path, name: str, version: int = 1, weights: str = "a", **fields: object) -> SceneRecord:
    plugin = folder / f"{name}.py"
    plugin.write_text(PLUGIN.format(version=version, weights=weights))
    return run_into(str(folder / "store"), recipe_with("own", plugin, **fields))[0]


def lifted_parts(record: SceneRecord) -> set[str]:
    return {path for one in record.lifted if not one.is_plain for path in one.parts}


@pytest.mark.fault(33, "between two runs: a raised stage_version, other weights, another setting of the recipe")
def test_what_changed_lies_beside_what_was(tmp_path):
    runs = [run_version(tmp_path, "first")]
    for number, change in enumerate([{"version": 2}, {"weights": "b"}, {"image_height": 20}, {"taps": 1}]):
        kept = files_of(tmp_path / "store")
        after = run_version(tmp_path, f"changed_{number}", **change)
        now = files_of(tmp_path / "store")
        assert {name: now[name] for name in kept} == kept
        assert after.computed["lifted"] > 0
        for before in runs:
            assert lifted_parts(before).isdisjoint(lifted_parts(after))
        runs.append(after)
    assert run_version(tmp_path, "again").computed == {"scores": 1}, "the first settings find all of theirs"


def good_weights(folder: Path) -> Path:
    ensure_torchvision()
    import timm

    network = timm.create_model("test_vit", pretrained=False, num_classes=0)
    path = folder / "weights.safetensors"
    save_file(network.state_dict(), path)
    return path


def flip_a_bit(path: Path) -> None:
    """Change a file, beside which its sum is."""
    path.with_name(f"{path.name}.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


SPOILERS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "a page": lambda path: path.write_text("<html>404 Not Found</html>"),
    "flipped": flip_a_bit,
}


@pytest.mark.fault(
    36, "a weights file is missing, cut, a page of a web server, or has a flipped bit beside its .sha256"
)
@pytest.mark.parametrize("spoiler", SPOILERS)
def test_bad_weights_end_the_run_before_its_first_scene(tmp_path, spoiler):
    path = good_weights(tmp_path)
    SPOILERS[spoiler](path)
    recipe = small_recipe(scenes=[ROOM], operators=[f"timm:test_vit?weights={path}"])
    with pytest.raises(ConfigError, match=r"weights\.safetensors"):
        run_into(str(tmp_path / "store"), recipe)
    assert not (tmp_path / "store").exists()


def test_weights_that_are_what_their_sum_says_are_read(tmp_path):
    path = good_weights(tmp_path)
    beside = path.with_name(f"{path.name}.sha256")
    beside.write_text(hashlib.sha256(path.read_bytes()).hexdigest().upper())
    assert build_operator(f"timm:test_vit?weights={path}").spec.weights_digest
    for content in ("", "é", "abc"):
        beside.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match="sha256"):
            read_weights(path)
