"""Files with up to three places changed: scenes of every format, surfaces, recipes, lists, weights."""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import trimesh
from PIL import Image

from lift3d.domain.camera import Camera, ImageSize
from lift3d.errors import Lift3dError, SceneError
from lift3d.lifters.checkpoint import load_checkpoint, save_checkpoint, untrained
from lift3d.operators.catalog import build_operator
from lift3d.pipeline.targets import read_cameras
from lift3d.runs.scene_lists import expand_scenes
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.colmap_dense import read_depth_map, read_workspace
from lift3d.scenes.depth_folder import map_files
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.mesh_files import SUFFIXES as MESH_SUFFIXES
from lift3d.scenes.mesh_files import read_mesh
from lift3d.scenes.ply import ply_kind, read_ply_mesh, read_ply_points
from lift3d.scenes.ply_splats import read_ply_splats
from tests.fuzz import recipes
from tests.fuzz.edits import changed
from tests.fuzz.tally import Kind, refused
from tests.support import captures, surfaces

SOURCE = captures.capture(3)
CAMERA = Camera(torch.from_numpy(captures.K), torch.eye(4).double(), ImageSize(captures.HEIGHT, captures.WIDTH))


def with_everything(folder: Path) -> None:
    captures.write_transforms(
        folder, SOURCE, k1=0.01, mask_path="mask.png", ply_file_path="p.ply", label_names={"1": "a"}, label_ignore=0,
        applied_transform=np.eye(4)[:3].tolist(), depth_unit_scale_factor=0.001,
    )  # fmt: skip
    content = captures.transforms(SOURCE)
    for index, frame in enumerate(content["frames"]):
        captures.write_depth(folder / f"depth/{index}.png", 3000)
        frame |= {"depth_file_path": f"depth/{index}.png", "label_file_path": "labels.npy"}
    shared = {"k1": 0.01, "mask_path": "mask.png", "ply_file_path": "p.ply", "label_names": {"1": "a"}}
    captures.write_json(folder / "transforms.json", {**content, **shared})
    np.save(folder / "labels.npy", np.ones((6, 8), np.int32))
    captures.write_images(folder, ["mask"])
    captures.write_ply(folder / "p.ply", SOURCE.points)


def with_splats(folder: Path) -> None:
    captures.write_transforms(folder, SOURCE, ply_file_path="p.ply", camera_angle_x=0.8, fl_x=None, fl_y=None)
    captures.write_ply(folder / "p.ply", SOURCE.points, "binary_little_endian")


def colmap(folder: Path, form: str) -> None:
    captures.write_images(folder / "images", SOURCE.names)
    captures.write_images(folder / "masks", [f"{name}.png" for name in SOURCE.names])
    captures.write_colmap(
        folder / "sparse/0", SOURCE, forms=[form], model="OPENCV", params=(70, 66, 30, 26, 0.1, 0, 0, 0)
    )


def dense(folder: Path) -> None:
    colmap(folder, "bin")
    (folder / "stereo/depth_maps").mkdir(parents=True)
    for name in SOURCE.names:
        head = f"{captures.WIDTH}&{captures.HEIGHT}&1&".encode()
        content = head + np.ones((captures.HEIGHT, captures.WIDTH), "<f4").tobytes()
        (folder / f"stereo/depth_maps/{name}.png.geometric.bin").write_bytes(content)


def replica(folder: Path) -> None:
    captures.write_replica(folder, SOURCE)
    (folder.parent / "cam_params.json").replace(folder / "cam_params.json")


def read_and_load(folder: Path) -> str:
    """Read a scene and load it, as a run does."""
    try:
        scene = read_scene(str(folder))
    except Lift3dError as error:
        return refused(error)
    loaded = 0
    for view in scene.views:
        with suppress(SceneError):
            view.source.content_digest()
            view.load(24)
            loaded += 1
    if (folder / "stereo").is_dir():
        with suppress(SceneError):
            for one in read_workspace(folder).values():
                if one.depth_map is not None:
                    read_depth_map(one.depth_map)
    return "whole" if loaded == len(SOURCE.c2w) else "without some views"


SCENES: dict[str, Callable[[Path], None]] = {
    "transforms.json": with_everything,
    "transforms.json with splats": with_splats,
    "COLMAP, binary": partial(colmap, form="bin"),
    "COLMAP, text": partial(colmap, form="txt"),
    "COLMAP, dense": dense,
    "LLFF": partial(captures.write_llff, source=SOURCE),
    "ScanNet": partial(captures.write_scannet, source=SOURCE),
    "7-Scenes": partial(captures.write_seven_scenes, source=SOURCE, with_intrinsics=False),
    "3DMatch": partial(captures.write_seven_scenes, source=SOURCE),
    "IDR": partial(captures.write_idr, source=SOURCE),
    "TUM": partial(captures.write_tum, source=SOURCE),
    "Replica": replica,
    "Record3D": partial(captures.write_record3d, source=SOURCE),
    "Polycam": partial(captures.write_polycam, source=SOURCE),
    "Metashape": partial(captures.write_metashape, source=SOURCE, k4=0.01, k1=-0.1),
    "ARKitScenes": partial(captures.write_arkitscenes, source=SOURCE),
}


def write_surfaces(folder: Path) -> None:
    corners, triangles = np.random.default_rng(0).normal(size=(9, 3)), np.arange(9).reshape(3, 3)
    surfaces.write_mesh(folder / "mesh.ply", corners, triangles)
    surfaces.write_points(folder / "points.ply", corners)
    surfaces.write_splats(folder / "splats.ply", corners, 0.1)
    captures.write_ply(folder / "text.ply", corners)


def read_surfaces(folder: Path) -> str:
    readers = {"mesh": read_ply_mesh, "points": read_ply_points, "splats": read_ply_splats}
    return each(sorted(folder.glob("*.ply")), lambda path: readers[ply_kind(path)](path))


def write_meshes(folder: Path) -> None:
    corners, triangles = np.random.default_rng(0).normal(size=(9, 3)), np.arange(9).reshape(3, 3)
    for suffix in MESH_SUFFIXES:
        trimesh.Trimesh(corners, triangles, process=False).export(folder / f"mesh{suffix}")


def write_depth_maps(folder: Path) -> None:
    ones = np.ones((captures.HEIGHT, captures.WIDTH), np.float32)
    np.save(folder / "a.npy", ones)
    np.savez(folder / "b.npz", depth=ones, other=ones)
    captures.write_depth(folder / "c.png", 1000)


def read_depth_maps(folder: Path) -> str:
    return each(map_files(folder), lambda path: FileFrame("", depth=str(path)).load_depth(CAMERA, CAMERA.size))


def write_lists(folder: Path) -> None:
    locations = [f"procedural:room?seed={seed}" for seed in range(3)]
    (folder / "a.txt").write_text("# rooms\n" + "\n".join(locations))
    (folder / "b.csv").write_text("id,location\n" + "\n".join(f"{id},{one}" for id, one in enumerate(locations)))
    (folder / "c.jsonl").write_text("\n".join(json.dumps({"location": one}) for one in locations))
    pq.write_table(pa.table({"location": locations}), folder / "d.parquet")


def write_answers(folder: Path) -> None:
    Image.fromarray(np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)).save(folder / "a.0.tif")
    np.save(folder / "a.1.npy", np.ones((12, 16), np.float32))


def read_answers(folder: Path) -> str:
    def read(path: Path) -> object:
        operator = build_operator(f"files:{folder}?pattern={{view}}{path.suffix}")
        return operator.read(path.stem, ImageSize(12, 16))

    return each(sorted(folder.iterdir()), read)


def write_cameras(folder: Path) -> None:
    one = {"K": captures.K.tolist(), "height": captures.HEIGHT, "width": captures.WIDTH}
    captures.write_json(folder / "cameras.json", [{**one, "w2c": np.linalg.inv(c2w).tolist()} for c2w in SOURCE.c2w])


def each(paths: list[Path], read: Callable[[Path], object]) -> str:
    """Read several files, whatever came of those before."""
    outcomes = []
    for path in paths:
        try:
            read(path)
        except Lift3dError as error:
            outcomes.append(refused(error))
    return "refused" if outcomes else "read"


KINDS: dict[str, Kind] = {
    **{name: changed(make, read_and_load) for name, make in SCENES.items()},
    "PLY: meshes, clouds, splats": changed(write_surfaces, read_surfaces),
    "meshes: .obj, .off, .stl, .glb": changed(
        write_meshes, lambda folder: each(sorted(folder.glob("mesh.*")), read_mesh)
    ),
    "depth maps": changed(write_depth_maps, read_depth_maps),
    "recipes and executions": recipes.prepare,
    "lists of scenes": changed(
        write_lists, lambda folder: each(sorted(folder.iterdir()), lambda path: expand_scenes(str(path)))
    ),
    "answers in files": changed(write_answers, read_answers),
    "cameras to lift to": changed(write_cameras, lambda folder: each([folder / "cameras.json"], read_cameras)),
    "weights of a lifter": changed(
        lambda folder: save_checkpoint(folder / "own.safetensors", untrained()),
        lambda folder: each([folder / "own.safetensors"], lambda path: load_checkpoint(str(path))),
    ),
}
