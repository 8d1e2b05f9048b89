"""A store is data: nothing that it names is imported, unpickled or opened outside it."""

import os
import pickle
import sys
from dataclasses import dataclass

import pytest

from lift3d.errors import DamagedProductError, Lift3dError
from lift3d.lifters.catalog import is_packaged
from lift3d.operators.stored_names import is_self_contained
from lift3d.results import lifted_scene
from lift3d.results.opened import open_lifted
from lift3d.results.query.words import can_take_words, text_encoder
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product
from tests.support.forged import arrays_of, command, edit_records, forge, is_refused, product_of, rename_run

KIND = "1 code of a stranger's store runs"
# A plug-in that leaves a mark where it is imported.
MARK = """
from pathlib import Path
from lift3d.operators.rgb import RgbOperator
Path(__file__).with_suffix(".ran").touch()
class Mine(RgbOperator):
    def __init__(self):
        super().__init__()
        from dataclasses import replace
        self.spec = replace(self.spec, name="mine")
"""


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "evil.py"
    path.write_text(MARK)
    return path


def rendered(store, tmp_path, *more):
    return command("render", store, tmp_path / "a.mp4", "--frames", 2, *more)


NAMES = [
    "split:{code}:Mine",
    "open_vocabulary?prompts=a&of=split:{code}:Mine",
    "open_vocabulary?prompts=a&of=open_vocabulary?prompts=b%26of=split:{code}:Mine",
    "open_clip:ViT-B-32?weights={code}",
    "timm:test_vit?weights={code}",
    "timm:local-dir:{code}",
    "transformers:{code}",
    "strokes:{code}?of=hog",
    "files:{code}",
    "evil:Mine",
]


@pytest.mark.outside(
    kind=KIND, case="an operator that a store's recipe names, in render", right="refused with --plugin as the remedy"
)
@pytest.mark.parametrize("name", NAMES)
def test_render_loads_no_operator_of_a_strangers_choice(store, code, tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    operator = name.format(code=code)
    rename_run(store, operators=[operator])
    edit_records(store, operator=operator)
    assert is_refused(rendered(store, tmp_path, "--captures"), "--plugin")
    assert not code.with_suffix(".ran").exists()
    assert "evil" not in sys.modules


def is_of_mine(group):
    group["attributes"]["operator_identity"]["name"] = "mine"


@pytest.mark.outside(kind=KIND, case="a plug-in that a store's recipe names, in render", right="loaded if repeated")
@pytest.mark.parametrize("is_repeated", [False, True])
def test_render_loads_a_plug_in_that_is_named_again(store, code, tmp_path, is_repeated):
    plugin = f"{code}:Mine"
    rename_run(store, operators=["mine"], plugins=[plugin])
    edit_records(store, operator="mine")
    for lifter in ("raw2d", "plane_sweep"):
        forge(product_of(store, f"lifted/rgb/{lifter}"), is_of_mine)
    given = ["--plugin", plugin] if is_repeated else []
    result = rendered(store, tmp_path, "--captures", *given)
    assert (tmp_path / "a.mp4").exists() == code.with_suffix(".ran").exists() == is_repeated, result
    assert is_repeated or is_refused(result, f"--plugin '{plugin}'")


@pytest.mark.outside(kind=KIND, case="a checkpoint that a store's recipe names, in render", right="not opened")
@pytest.mark.parametrize("checkpoint", ["/tmp/evil.safetensors", "../../evil", "evil"])
def test_render_opens_no_checkpoint_of_a_strangers_choice(store, tmp_path, checkpoint):
    lifter = f"lift3d?checkpoint={checkpoint}"
    assert not is_packaged(lifter)
    rename_run(store, lifters=[lifter])
    edit_records(store, lifter=lifter)
    assert is_refused(rendered(store, tmp_path, "--captures"), f"--plugin '{lifter}'")


@pytest.mark.outside(kind=KIND, case="a file of geometry that a store's recipe names, in render", right="not opened")
def test_render_opens_no_geometry_of_a_strangers_choice(store, tmp_path):
    rename_run(store, geometry="mesh?path=/tmp/evil.ply")
    assert is_refused(rendered(store, tmp_path, "--captures"), "run the scene yourself")


@pytest.mark.parametrize("name", NAMES)
def test_render_builds_no_model_of_depth_of_a_strangers_choice(store, code, tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    rename_run(store, geometry=f"planar?prior={name.format(code=code)}")
    assert is_refused(rendered(store, tmp_path, "--captures"), "--plugin")
    assert not code.with_suffix(".ran").exists()
    assert "evil" not in sys.modules


@pytest.mark.outside(kind=KIND, case="a word that is typed into the viewer", right="encoders of a closed list alone")
@pytest.mark.parametrize("name", NAMES)
def test_the_viewer_builds_no_encoder_of_a_strangers_choice(code, tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    operator = name.format(code=code)
    assert can_take_words(operator)
    with pytest.raises(Lift3dError):
        text_encoder(operator)
    assert not code.with_suffix(".ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("rgb", "hog", "tiny:clip", "timm:test_vit?weights=random", "open_clip:ViT-B-32/openai"),
        "open_vocabulary?prompts=a&of=tiny:clip",
    ],
)
def test_what_comes_with_packages_needs_no_trust(name):
    assert is_self_contained(name)


@dataclass
class Pickled:
    """What leaves a mark when it is unpickled."""

    mark: str

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.outside(kind=KIND, case="an array whose filter unpickles", right="damage; nothing is unpickled")
@pytest.mark.parametrize("what", ["open_product", "export zarr", "export ply", "fsck"])
def test_no_array_of_the_older_format_is_opened(store, tmp_path, what):
    """Zarr's older format knows a filter ``pickle``, and xarray takes either format from consolidated metadata."""
    product, mark = product_of(store, "lifted/rgb/plane_sweep"), tmp_path / "ran"
    fields = {
        "zarr_format": 2, "shape": [3], "chunks": [3], "dtype": "|O", "compressor": None, "fill_value": None,
        "order": "C", "filters": [{"id": "pickle", "protocol": 4}],
    }  # fmt: skip
    (product / "evil").mkdir()
    (product / "evil/0").write_bytes(pickle.dumps(Pickled(str(mark))))

    def change(group):
        arrays_of(group)["evil"] = fields
        group["attributes"]["lift3d"]["objects"]["evil/0"] = [0, 0]

    forge(product, change)
    if what == "open_product":
        with pytest.raises(DamagedProductError, match="evil"):
            open_product(open_store(str(store)), str(product.relative_to(store)))
    elif what == "fsck":
        assert is_refused(command("fsck", store), "plane_sweep")
    else:
        form = what.split()[1]
        assert is_refused(command("export", store, tmp_path / f"out.{form}"), "evil")
    assert not mark.exists()


@pytest.mark.outside(kind=KIND, case="a capture that a stranger's recipe names", right="not read unless --captures")
@pytest.mark.parametrize("what", ["report", "export", "render", "open_lifted"])
def test_no_capture_of_a_strangers_choice_is_read(store, tmp_path, monkeypatch, what):
    private = str(tmp_path / "private")
    rename_run(store, scenes=[private])
    edit_records(store, location=private)
    asked = []
    monkeypatch.setattr(lifted_scene, "read_scene", lambda location: asked.append(location))
    if what == "open_lifted":
        lifted = open_lifted(str(store))
        assert lifted.image(lifted.targets[0]) is None
        with pytest.raises(Lift3dError, match="--captures"):
            _ = lifted.scene
    elif what == "render":
        assert is_refused(rendered(store, tmp_path), "--captures")
    else:
        out = {"report": ["--out", tmp_path / "r.html"], "export": [tmp_path / "a.ply"]}[what]
        assert command(what, store, *out)[0] == 0
    assert asked == []
    if what == "report":
        assert "--captures" in (tmp_path / "r.html").read_text()
