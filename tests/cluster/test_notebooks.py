"""The notebooks run from top to bottom over a store like the demo's."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.runs import run_into, small_recipe

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A small run with the demo's operators and lifters."""
    url = str(tmp_path_factory.mktemp("notebooks") / "store")
    recipe = small_recipe(
        operators=["rgb", "hog", "felzenszwalb"], lifters=["nearest_view", "depth_mean", "plane_sweep"]
    )
    run_into(url, recipe)
    return url


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"01_one_scene", "02_read_the_tables", "03_add_an_operator"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, store, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) <= 12
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs stay out of the repository"
    environment = {**os.environ, "LIFT3D_STORE": store, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("MPLBACKEND", None)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources)
    client.execute(env=environment)
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in said if output.output_type == "error"]
    assert [output for output in said if output.output_type == "display_data"], "a notebook shows pictures"
