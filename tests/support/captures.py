"""Writers of one tiny capture in every scene format: the same cameras, points and images each time."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pycolmap
from numpy import ndarray
from PIL import Image
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from lift3d.domain.scene import Scene
from lift3d.scenes.catalog import read_scene

WIDTH, HEIGHT = 64, 48
# Off-centre on purpose, and unequal focal lengths.
FX, FY, CX, CY = 70.0, 66.0, 30.0, 26.5
K = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1.0]])
# The same with integer pixel centres.
CENTRED = K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


@dataclass(frozen=True)
class Capture:
    """Cameras (OpenCV c2w), and surface points around the origin that all of them see."""

    c2w: tuple[ndarray, ...]
    points: ndarray

    @property
    def names(self) -> list[str]:
        return [f"{index:03d}" for index in range(len(self.c2w))]

    def uv(self, index: int, intrinsics: ndarray = K) -> ndarray:
        """Where the points are seen in a view: what every format must agree on."""
        camera = np.linalg.inv(self.c2w[index])
        xyz = (self.points @ camera[:3, :3].T + camera[:3, 3]) @ intrinsics.T
        return xyz[:, :2] / xyz[:, 2:]


def capture(count: int = 4) -> Capture:
    """Cameras on an arc around the origin, 4 units away, with some roll."""
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (60, 3))
    return Capture(tuple(_look_at_origin(0.3 * index - 0.4, 0.1 * index) for index in range(count)), points)


def _look_at_origin(azimuth: float, roll: float) -> ndarray:
    center = 4 * np.array([math.sin(azimuth), -0.2, -math.cos(azimuth)])
    forward = -center / np.linalg.norm(center)
    right = np.cross([math.sin(roll), math.cos(roll), 0.0], forward)
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :4] = np.stack([right, np.cross(forward, right), forward, center], axis=1)
    return c2w


def texture(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> ndarray:
    """A smooth RGB image, different per seed."""
    v, u = np.mgrid[0:height, 0:width]
    phase = seed * 0.7
    planes = [np.sin(u / width * 6 + phase), np.cos(v / height * 5 + phase), np.sin((u + v) / width * 4)]
    return np.stack([127.5 * (plane + 1) for plane in planes], axis=-1).round().astype(np.uint8)


def write_images(
    folder: Path, names: Sequence[str], suffix: str = ".png", size: tuple[int, int] = (WIDTH, HEIGHT)
) -> None:
    """Write one texture per name; names may hold folders."""
    for seed, name in enumerate(names):
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(texture(*size, seed)).save(path)


def write_depth(path: Path, value: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size[::-1], value, np.uint16)).save(path)


def opengl(c2w: ndarray) -> list[list[float]]:
    """The same camera with y up and z back."""
    return (c2w @ np.diag([1.0, -1, -1, 1])).tolist()


def transforms(source: Capture, names: Sequence[str] | None = None, **shared: Any) -> dict[str, Any]:
    """The content of a transforms.json with shared intrinsics; None removes a key."""
    file_paths = names or [f"images/{name}.png" for name in source.names]
    frames = [
        {"file_path": name, "transform_matrix": opengl(c2w)} for name, c2w in zip(file_paths, source.c2w, strict=True)
    ]
    content = {"fl_x": FX, "fl_y": FY, "cx": CX, "cy": CY, "w": WIDTH, "h": HEIGHT, "frames": frames, **shared}
    return {key: value for key, value in content.items() if value is not None}


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_transforms(folder: Path, source: Capture, *changes: dict[str, Any], **shared: Any) -> None:
    """Write images and a transforms.json, with changes to its first frames; None removes a key."""
    write_images(folder / "images", source.names)
    content = transforms(source, **shared)
    for index, change in enumerate(changes):
        frame = content["frames"][index] | change
        content["frames"][index] = {key: value for key, value in frame.items() if value is not None}
    write_json(folder / "transforms.json", content)


def read_transforms(folder: Path, source: Capture, *changes: dict[str, Any], **shared: Any) -> Scene:
    write_transforms(folder, source, *changes, **shared)
    return read_scene(str(folder))


def write_ply(path: Path, points: ndarray, form: str = "ascii") -> None:
    rows = np.zeros(len(points), [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1")])
    for axis, values in zip("xyz", points.T, strict=True):
        rows[axis] = values
    order = ">" if "big" in form else "<"
    PlyData([PlyElement.describe(rows, "vertex")], text=form == "ascii", byte_order=order).write(str(path))


def write_colmap(
    folder: Path,
    source: Capture,
    *,
    model: str = "PINHOLE",
    params: Sequence[float] = (FX, FY, CX, CY),
    count: int | None = None,
    forms: Sequence[str] = ("bin",),
) -> None:
    """Write a model of the first ``count`` cameras, with ids that have gaps and names in no order of ids."""
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=list(params), camera_id=7)
    reconstruction.add_camera_with_trivial_rig(camera)
    for index in reversed(range(len(source.c2w) if count is None else count)):
        w2c = np.linalg.inv(source.c2w[index])
        image = pycolmap.Image(name=f"{source.names[index]}.png", camera_id=7, image_id=90 - 7 * index)
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(w2c[:3, :3]), w2c[:3, 3])
        reconstruction.add_image_with_trivial_frame(image, pose)
    for point in source.points:
        reconstruction.add_point3D(point, pycolmap.Track(), np.zeros(3, np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    if "bin" in forms:
        reconstruction.write_binary(str(folder))
    if "txt" in forms:
        reconstruction.write_text(str(folder))


def write_colmap_scene(folder: Path, source: Capture, **options: Any) -> None:
    """Write images and their model."""
    write_images(folder / "images", source.names)
    write_colmap(folder / "sparse/0", source, **options)


def write_llff(folder: Path, source: Capture, near: float = 2.0, far: float = 8.0) -> None:
    """Write poses_bounds.npy; the format has one focal length and a central principal point."""
    write_images(folder / "images", source.names)
    rows = []
    for c2w in source.c2w:
        right, down, forward, center = c2w[:3].T
        matrix = np.stack([down, right, -forward, center, [HEIGHT, WIDTH, FX]], axis=1)
        rows.append([*matrix.ravel(), near, far])
    np.save(folder / "poses_bounds.npy", np.array(rows))


def write_scannet(folder: Path, source: Capture, depth_size: tuple[int, int] = (WIDTH // 2, HEIGHT // 2)) -> None:
    """Write ScanNet's folders; depth is half as large as colour."""
    depth_K = np.diag([depth_size[0] / WIDTH, depth_size[1] / HEIGHT, 1.0]) @ K
    depth_K[:2, 2] -= 0.5
    (folder / "intrinsic").mkdir(parents=True)
    for name, matrix in (("color", CENTRED), ("depth", depth_K)):
        padded = np.eye(4)
        padded[:3, :3] = matrix
        np.savetxt(folder / f"intrinsic/intrinsic_{name}.txt", padded)
    (folder / "pose").mkdir()
    names = [str(index) for index in range(len(source.c2w))]
    write_images(folder / "color", names, ".jpg")
    for index, (name, c2w) in enumerate(zip(names, source.c2w, strict=True)):
        np.savetxt(folder / f"pose/{name}.txt", c2w)
        write_depth(folder / f"depth/{name}.png", 1000 + index, depth_size)


def write_seven_scenes(folder: Path, source: Capture, *, with_intrinsics: bool = True) -> None:
    names = [f"frame-{index:06d}" for index in range(len(source.c2w))]
    write_images(folder, [f"{name}.color" for name in names])
    for index, (name, c2w) in enumerate(zip(names, source.c2w, strict=True)):
        np.savetxt(folder / f"{name}.pose.txt", c2w)
        write_depth(folder / f"{name}.depth.png", 2000 + index)
    if with_intrinsics:
        np.savetxt(folder / "camera-intrinsics.txt", CENTRED)


def write_tum(folder: Path, source: Capture, start: float = 1305031102.175304) -> None:
    """Write TUM's lists of timestamps; poses come ten times as often as images, depth a little later than these."""
    times = [start + 0.5 * index for index in range(len(source.c2w))]
    names = [f"{time:.6f}" for time in times]
    write_images(folder / "rgb", names)
    for index, time in enumerate(times):
        write_depth(folder / f"depth/{time + 0.011:.6f}.png", 5000 + 5 * index)
    lists = {"rgb": names, "depth": [f"{time + 0.011:.6f}" for time in times]}
    for kind, stamps in lists.items():
        lines = [f"{stamp} {kind}/{stamp}.png" for stamp in stamps]
        (folder / f"{kind}.txt").write_text("\n".join(["# color images", *lines]))
    write_trajectory(folder / "groundtruth.txt", times, source.c2w)
    np.savetxt(folder / "camera-intrinsics.txt", CENTRED)


def write_trajectory(path: Path, times: Sequence[float], c2w: Sequence[ndarray]) -> None:
    """Write rows of time, position and quaternion with its scalar last."""
    rows = [f"{time:.6f} " + " ".join(map(repr, tum_row(one))) for time, one in zip(times, c2w, strict=True)]
    path.write_text("\n".join(["# timestamp tx ty tz qx qy qz qw", *rows]))


def tum_row(c2w: ndarray) -> list[float]:
    return [*c2w[:3, 3].tolist(), *Rotation.from_matrix(c2w[:3, :3]).as_quat().tolist()]


def write_replica(folder: Path, source: Capture) -> None:
    """Write Replica as NICE-SLAM ships it: the lens lies in the folder above."""
    names = [f"{index:06d}" for index in range(len(source.c2w))]
    write_images(folder / "results", [f"frame{name}" for name in names], ".jpg")
    for index, name in enumerate(names):
        write_depth(folder / f"results/depth{name}.png", 2000 + 2 * index)
    np.savetxt(folder / "traj.txt", np.array(source.c2w).reshape(-1, 16))
    lens = {"w": WIDTH, "h": HEIGHT, "fx": FX, "fy": FY, "cx": CX - 0.5, "cy": CY - 0.5, "scale": 2000.0}
    write_json(folder.parent / "cam_params.json", {"camera": lens})


def write_record3d(folder: Path, source: Capture, **changes: Any) -> None:
    """Write an unzipped .r3d: K column by column, depth is not to be trusted on its left."""
    write_images(folder / "rgbd", [str(index) for index in range(len(source.c2w))], ".jpg")
    for index in range(len(source.c2w)):
        depth = np.full((HEIGHT // 2, WIDTH // 2), 1 + 0.001 * index, np.float32)
        trust = np.full(depth.shape, 2, np.uint8)
        trust[:, : WIDTH // 8] = 0
        for suffix, values in ((".depth", depth), (".conf", trust)):
            (folder / f"rgbd/{index}{suffix}").write_bytes(imagecodecs.lzfse_encode(values.tobytes()))
    rows = [tum_row(np.array(opengl(c2w))) for c2w in source.c2w]
    content = {
        "w": WIDTH,
        "h": HEIGHT,
        "K": (np.diag([1.1, 1.1, 1.0]) @ K).T.ravel().tolist(),
        "perFrameIntrinsicCoeffs": [[FX, FY, CX, CY]] * len(rows),
        "poses": [[*row[3:], *row[:3]] for row in rows],
        "fps": 60,
    }
    write_json(folder / "metadata", content | changes)


def write_polycam(folder: Path, source: Capture, *, is_corrected: bool = True) -> None:
    """Write a raw export; depth fits the originals, which have another lens, and is not to be trusted on the left."""
    root, size = folder / "keyframes", (WIDTH // 2, HEIGHT // 2)
    names = [str(163844350215 + 40000 * index) for index in range(len(source.c2w))]
    kinds = {"corrected_": (1.0, source.c2w), "": (1.1 if is_corrected else 1.0, source.c2w[::-1])}
    for kind, (zoom, poses) in kinds.items() if is_corrected else (("", (1.0, source.c2w)),):
        write_images(root / f"{kind}images", names, ".jpg")
        lens = {"fx": FX * zoom, "fy": FY * zoom, "cx": CX, "cy": CY, "width": WIDTH, "height": HEIGHT}
        for name, c2w in zip(names, poses, strict=True):
            rows = opengl(c2w)[:3]
            pose = {f"t_{row}{column}": rows[row][column] for row in range(3) for column in range(4)}
            write_json(
                root / f"{kind}cameras/{name}.json", {**lens, **pose, "blur_score": 90.0, "timestamp": int(name)}
            )
    for index, name in enumerate(names):
        write_depth(root / f"depth/{name}.png", 1000 + index, size)
        trust = np.full(size[::-1], 255, np.uint8)
        trust[:, : size[0] // 4] = 0
        (root / "confidence").mkdir(exist_ok=True)
        Image.fromarray(trust).save(root / f"confidence/{name}.png")


def write_arkitscenes(folder: Path, source: Capture) -> None:
    """Write a video of the raw data set; poses have more digits than names, and intrinsics are a millisecond off."""
    times = [6845.8004 + 0.1 * index for index in range(len(source.c2w))]
    rows = []
    for index, (time, c2w) in enumerate(zip(times, source.c2w, strict=True)):
        w2c, name = np.linalg.inv(c2w), f"41069021_{time:.3f}"
        turn = Rotation.from_matrix(w2c[:3, :3]).as_rotvec()
        rows.append([float(f"{time:.3f}"), *turn, *w2c[:3, 3]])
        write_images(folder / "lowres_wide", [name])
        write_depth(folder / f"lowres_depth/{name}.png", 1000 + index)
        lens = folder / f"lowres_wide_intrinsics/41069021_{time + 0.001:.3f}.pincam"
        lens.parent.mkdir(parents=True, exist_ok=True)
        lens.write_text(f"{WIDTH} {HEIGHT} {FX} {FY} {CX} {CY}\n")
    np.savetxt(folder / "lowres_wide.traj", rows)


def write_metashape(folder: Path, source: Capture, changes: Mapping[str, str] | None = None, **lens: float) -> None:
    """Write photographs and their XML, in a chunk of another unit that lies at the centre of the earth's distance.

    ``lens`` has coefficients; ``changes`` replace parts of the text.
    """
    write_images(folder / "images", source.names, ".jpg")
    scale, turn = 2.5, " ".join(map(repr, Rotation.from_rotvec([0.3, 1.2, -0.7]).as_matrix().ravel().tolist()))
    values = {"f": FY, "cx": CX - WIDTH / 2, "cy": CY - HEIGHT / 2, "b1": FX - FY, **lens}
    calibration = "".join(f"<{name}>{value!r}</{name}>" for name, value in values.items())
    size = f'<resolution width="{WIDTH}" height="{HEIGHT}"/>'
    cameras = []
    for index, (name, c2w) in enumerate(zip(source.names, source.c2w, strict=True)):
        rows = c2w.copy()
        rows[:3, 3] /= scale
        text = " ".join(map(repr, rows.ravel().tolist()))
        ids = f'id="{index}" sensor_id="0" component_id="0"'
        cameras.append(f'<camera {ids} label="{name}"><transform>{text}</transform></camera>')
    content = f"""<?xml version="1.0" encoding="UTF-8"?>
<document version="2.0.0">
  <chunk label="Chunk 1" enabled="true">
    <sensors next_id="1"><sensor id="0" label="unknown" type="frame">{size}
      <calibration type="frame" class="initial">{size}<f>99</f></calibration>
      <calibration type="frame" class="adjusted">{size}{calibration}</calibration></sensor></sensors>
    <components next_id="1" active_id="0"><component id="0" label="Component 1"><transform>
      <rotation locked="true">{turn}</rotation><translation locked="true">-2499366.4 -4256836.5 4029217.9</translation>
      <scale locked="true">{scale}</scale></transform></component></components>
    <cameras next_id="9"><group id="0" label="walk">{cameras[0]}</group>{"".join(cameras[1:])}</cameras>
  </chunk>
</document>"""
    for old, new in (changes or {}).items():
        assert old in content, old
        content = content.replace(old, new)
    (folder / "cameras.xml").write_text(content, encoding="utf-8")


def write_idr(folder: Path, source: Capture, name: str = "cameras.npz", radius: float = 1.5) -> None:
    """Write projection matrices of arbitrary scale and sign, and the sphere around the object."""
    write_images(folder / "image", [f"{index:06d}" for index in range(len(source.c2w))])
    write_images(folder / "mask", source.names)
    matrices = {}
    for index, c2w in enumerate(source.c2w):
        world = np.eye(4)
        world[:3] = CENTRED @ np.linalg.inv(c2w)[:3] * (3.0 if index % 2 else -0.5)
        matrices[f"world_mat_{index}"] = world
        matrices[f"world_mat_inv_{index}"] = np.eye(4)
        matrices[f"scale_mat_{index}"] = np.diag([radius, radius, radius, 1.0])
    np.savez(folder / name, **matrices)
