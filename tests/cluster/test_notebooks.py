"""The notebooks run from top to bottom, over a store like the demo's: a folder, and a real object store."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from lift3d.storage.location import open_store
from tests.support.runs import ROOM, STREET, run_into, small_recipe

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
READERS = tuple(path for path in NOTEBOOKS if path.stem in ("01_one_scene", "02_read_the_tables"))
# Encoders of the two kinds without their weights, few steps, and the smallest pictures.
SMALL = {
    "LIFT3D_SCENE": "procedural:objects?seed=9002&views=6&height=72&width=96",
    "LIFT3D_ENCODERS": "timm:vit_tiny_patch16_224?weights=random open_clip:ViT-S-32?weights=random",
    "LIFT3D_ENCODER": "timm:test_vit?weights=random",
    "LIFT3D_TUNE_ON": "procedural:room?seed=1001&views=5&height=48&width=64",
    "LIFT3D_STEPS": "2",
    "LIFT3D_WORKERS": "0",
    "LIFT3D_HELD_OUT": "procedural:tabletop?seed=9001&views=5&height=48&width=64",
    "OMP_NUM_THREADS": "1",
}

# Kernels are processes of their own, and who reads their channels leaves sockets to the garbage collector.
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("notebooks") / "store")
    recipe = small_recipe(scenes=[ROOM, STREET], operators=["rgb", "hog"], lifters=["plane_sweep", "anchored"])
    run_into(url, recipe)
    return url


def test_there_are_notebooks_and_no_outputs_in_them():
    stems = [path.stem for path in NOTEBOOKS]
    assert stems[:4] == ["00_first_hour", "01_one_scene", "02_read_the_tables", "03_add_an_operator"]
    assert stems[4:] == ["04_train_on_dino_and_clip", "05_tune_dino"]
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        assert len(notebook.cells) <= 12
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells), path.name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_pictures(path, folder, tmp_path):
    found = _run(path, tmp_path, {"LIFT3D_STORE": folder, "LIFT3D_FOLDER": str(tmp_path / "training"), **SMALL})
    assert len(_shown(found, "image/png")) >= 2


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_of_an_object_store_a_notebook_shows_the_tables_and_pictures_that_it_shows_of_a_folder(
    path, folder, tmp_path, swift_server, monkeypatch
):
    swift_server.use(monkeypatch)
    url = f"s3://{swift_server.new_bucket()}/results"
    _copy(folder, url)
    local = _run(path, tmp_path, {"LIFT3D_STORE": folder})
    remote = _run(path, tmp_path, {"LIFT3D_STORE": url})
    tables = _shown(local, "text/html")
    assert tables
    assert _shown(remote, "text/html") == tables
    assert _shown(remote, "image/png") == _shown(local, "image/png")


def _copy(folder: str, url: str) -> None:
    store = open_store(url, create=True)
    for path in Path(folder).rglob("*"):
        if path.is_file():
            store.write_bytes(path.relative_to(folder).as_posix(), path.read_bytes())


def _run(path: Path, folder: Path, settings: dict[str, str]) -> Any:
    """Return the notebook with what it showed; an error of a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **settings}
    environment.pop("MPLBACKEND", None)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute(env=environment)
    return notebook


def _shown(notebook: Any, kind: str) -> list[str]:
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in said if kind in output.get("data", {})]
