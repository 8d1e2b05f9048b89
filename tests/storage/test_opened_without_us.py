"""Whoever has xarray or zarr alone opens features and lifted views by a path that they read off listings."""

import os
import subprocess
import sys
import uuid

import pytest

from tests.support.runs import ROOM, run_into, small_recipe

# A process that knows the root of a store and nothing else; it must not import lift3d.
_READER = """
import os, sys
import fsspec, numpy as np, xarray, zarr
root, options = sys.argv[1], {}
if root.startswith("s3://"):
    options = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
files = fsspec.filesystem("s3" if options else "file", **options)

def ls(path):
    return sorted(one.rstrip("/").rsplit("/", 1)[-1] for one in files.ls(path, detail=False))

def opened(path):
    return zarr.open_group(path, mode="r", storage_options=options or None)

assert b"xarray.open_datatree" in files.cat_file(f"{root}/README.txt")
(scene,) = ls(f"{root}/scenes")
scene = f"{root}/scenes/{scene}"
assert ls(scene) == ["features", "lifted", "zarr.json"]
assert ls(f"{scene}/lifted/rgb") == ["plane_sweep", "raw2d"]
for path in (f"{scene}/features/rgb", f"{scene}/lifted/rgb/plane_sweep", f"{scene}/lifted/rgb/raw2d"):
    (leaf,) = ls(path)
    assert "48px-" in leaf
    group = opened(f"{path}/{leaf}")
    features = group["features_0"]
    assert features.metadata.dimension_names == ("view", "channel_0", "row_0", "col_0")
    assert features.shape[0] == len(group["view"][:]) == 6
    assert np.isfinite(features[:]).any()
    assert {"what", "operator", "frames", "pixels", "missing", "lift3d_version", "created"} <= set(group.attrs)
    store = url = f"{path}/{leaf}"
    if options:
        store = zarr.storage.FsspecStore.from_url(url, storage_options=options)
    with xarray.open_zarr(store, chunks=None) as data:
        assert list(data.coords) == ["view"]
        one = data.sel(view=data["view"].values[2])
        assert one["K"].shape == (3, 3) and one["w2c"].shape == (4, 4)
        if "lifted" in path:
            # What is constant for plain answers is not stored.
            assert ("z_depth_0" in data, "coverage_0" in data) == (("raw2d" not in path),) * 2
            assert "raw2d" in path or data["z_depth_0"].attrs["units"] == "world units of the scene"
            assert data.attrs["lifter"] in path and data.attrs["protocol"] == "leave-one-out"
if not options:
    tree = xarray.open_datatree(scene, engine="zarr", chunks=None)
    leaves = [node for node in tree.leaves]
    assert len(leaves) == 3 and all("features_0" in node for node in leaves)
else:
    assert len(opened(scene)["lifted/rgb"]) == 2
assert not [name for name in sys.modules if name.partition(".")[0] == "lift3d"]
"""


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_store_explains_itself(kind, tmp_path, request):
    url = str(tmp_path / "store")
    if kind == "s3":
        url = f"s3://{request.getfixturevalue('moto_bucket')}/{uuid.uuid4().hex}"
    assert run_into(url, small_recipe(scenes=[ROOM], operators=["rgb"], lifters=["plane_sweep"]))[0].is_ok
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", _READER, url], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
