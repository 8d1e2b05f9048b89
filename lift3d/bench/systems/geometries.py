"""What other systems write, read again: how much of the surface is right, and which misstated frames are found.

A scene with depth is written into layouts of sequences and files of geometry, as it is and with one fault each.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.bench.systems.geometry_files import FILES, Shape, axes_swapped, shape_of, write_maps
from lift3d.bench.systems.layouts import DEPTH_FAULTS, POSE_FAULTS, RIGHT, WRITERS, Taken, taken
from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import FrameSource, Scene, Tracks
from lift3d.domain.scene_geometry import SceneGeometry
from lift3d.errors import SceneError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.tracks import find_tracks
from lift3d.surface.catalog import build_geometry

SCENES = (
    "procedural:room?seed=9000&views=8&spacing=2",
    "procedural:tabletop?seed=9001&views=8&spacing=2",
    "procedural:shelf?seed=9002&views=8&spacing=2",
)
IMAGE_HEIGHT = 96
# Of files that are checked alike, those that are written with faults.
_SPOILED = ("mesh .ply", "mesh .glb", "points")
# Depth within this share of the truth is right.
_RIGHT = 0.01
# Of a sensor, as a share of the depth.
_NOISE = 0.02
# What a message must say of each fault.
_REMEDIES = {
    "inverse": "would fit as world-to-camera: invert",
    "OpenGL": "would fit with their y and z axes turned",
    "scalar first": "would fit with the scalar of their quaternions first: write",
    "unit x1000": r"[Ss]caled by 0\.001",
    "unit x0.1": r"[Ss]caled by 10\b",
    "axes": r"axes turned to \(x, -y, -z\)",
    "rays": "the distance along the ray",
    "z as rays": "As z-depth it would fit",
}
_KINDS = {"mesh": "meshes", "points": "clouds", "splats": "splats", "depths": "depth maps"}
Guides = Sequence[SourceGuide]


@dataclass(frozen=True, slots=True)
class _Trial:
    """Something that was read: what it was, its fault, and what was said of it; empty if it was taken."""

    what: str
    fault: str
    said: str

    @property
    def is_found(self) -> bool:
        """Whether the fault is named."""
        return re.search(_REMEDIES.get(self.fault, "."), self.said) is not None


@dataclass(frozen=True, slots=True, eq=False)
class _Views:
    """The views that a file is held against: with their depth, or without, and then with their tracks."""

    guides: Guides
    scene: Scene
    find_tracks: Callable[[], Tracks]


def measure(asked: Asked) -> list[SystemRow]:
    """Measure what is read of one scene with depth."""
    scene = read_scene(asked.scene)
    views = taken(scene, height=IMAGE_HEIGHT)
    guides = _guides(scene)
    blind, find = [replace(guide, z_depth=None) for guide in guides], cache(lambda: _tracks(scene, guides))
    sweep = build_geometry("sweep").estimate(blind, scene.depth_range, find)
    with tempfile.TemporaryDirectory() as folder:
        surfaces, right = _surfaces(Path(folder) / "right", views, _Views(guides, scene, find))
        trials = [
            *_sequences(Path(folder), scene),
            *_photographs(scene),
            *_files(Path(folder) / "wrong", views, (_Views(guides, scene, find), _Views(blind, scene, find))),
            _Trial("noise", RIGHT, _read("sensor", _Views(_noisy(guides), scene, find))[1]),
        ]
    wrong, right = [one for one in trials if one.fault != RIGHT], right + [one for one in trials if one.fault == RIGHT]
    by_fault = {name: [one.is_found for one in wrong if one.fault == name] for name in _REMEDIES}
    shares = {name: sum(found) / len(found) for name, found in by_fault.items() if found}
    stereo = {"stereo": _share_right(sweep, guides)}
    kinds = {kind: {name: one for name, one in surfaces.items() if name.startswith(kind)} for kind in _KINDS}
    return [
        *(
            SystemRow(
                "geometries", scene.id, f"depth within 1 %, {what}", True, min(kinds[kind].values()), stereo,
                {"exact": 1.0},
            )
            for kind, what in _KINDS.items()
        ),
        SystemRow(
            "geometries", scene.id, "frame faults named", True, sum(one.is_found for one in wrong) / len(wrong),
            {"none": 0.0}, {"all": 1.0}, {**shares, "faults": float(len(wrong))},
        ),
        SystemRow(
            "geometries", scene.id, "right files blamed", False, float(sum(bool(one.said) for one in right)),
            {}, {}, {"right files": float(len(right))},
        ),
    ]  # fmt: skip


def _guides(scene: Scene) -> list[SourceGuide]:
    frames = [view.load(IMAGE_HEIGHT) for view in scene.views]
    return [
        SourceGuide(view.id, one.camera, one.image, one.is_valid, z_depth=one.z_depth)
        for view, one in zip(scene.views, frames, strict=True)
    ]


def _tracks(scene: Scene, guides: Guides) -> Tracks:
    """Return tracks with observations in pixels of the guides."""
    tracks = find_tracks(scene)
    sizes = [(view.camera.size, guide.camera.size) for view, guide in zip(scene.views, guides, strict=True)]
    scale = torch.tensor([[to.width / of.width, to.height / of.height] for of, to in sizes])
    return replace(tracks, uv=tracks.uv * scale[tracks.view_index])


def _noisy(guides: Guides) -> list[SourceGuide]:
    random = torch.Generator().manual_seed(0)
    noise = [1 + _NOISE * torch.randn(guide.is_valid.shape, generator=random) for guide in guides]
    return [
        replace(guide, z_depth=None if guide.z_depth is None else guide.z_depth * one)
        for guide, one in zip(guides, noise, strict=True)
    ]


def _surfaces(folder: Path, views: Sequence[Taken], own: _Views) -> tuple[dict[str, float], list[_Trial]]:
    """Return the share of depth that is right of every kind of file, and which of them were refused."""
    shape, shares, trials = shape_of(views), {}, []
    for name, geometry in _written(folder, shape, views):
        found, said = _read(geometry, own)
        shares[name] = 0.0 if found is None else _share_right(found, own.guides)
        trials.append(_Trial(name, RIGHT, said))
    return shares, trials


def _written(folder: Path, shape: Shape, views: Sequence[Taken]) -> Iterator[tuple[str, str]]:
    """Yield files of geometry as their formats are called, and the methods that read them."""
    yield from ((name, _file(folder, name, shape)) for name in FILES)
    for form, unit, power in ((".npy", 1.0, 0), (".npz", 1.0, 1), (".png", 1 / 6553.5, 0)):
        path = folder / f"maps{form}"
        write_maps(path, views, form, unit, power)
        yield f"depths {form}", f"depths?path={path}&unit={unit}&ray={power}"


def _file(folder: Path, name: str, shape: Shape) -> str:
    """Write a file, and return the method that reads it."""
    kind, _, suffix = name.partition(" ")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}{suffix or '.ply'}"
    FILES[name](path, shape)
    return f"{kind}?path={path}"


def _read(geometry: str, own: _Views) -> tuple[SceneGeometry | None, str]:
    """Return what views see of a file, or why it was refused."""
    try:
        method = build_geometry(geometry)
        return method.estimate(own.guides, own.scene.depth_range, own.find_tracks), ""
    except SceneError as error:
        return None, str(error)


def _share_right(found: SceneGeometry, guides: Guides) -> float:
    """Return the share of cells with true depth whose depth is right; what is unknown is not."""
    right = total = 0
    for guide in guides:
        view, size = found.views[guide.id], guide.camera.size
        if guide.z_depth is None:
            continue
        at = nearest_cells(cell_centers(*view.grid.lattice).reshape(-1, 2), size.height, size.width).clamp(min=0)
        true: Float[Tensor, " cell"] = guide.z_depth.reshape(-1)[at]
        right += int(((view.z_depth.reshape(-1) / true - 1).abs() < _RIGHT).sum())
        total += int(torch.isfinite(true).sum())
    return right / max(1, total)


def _sequences(folder: Path, scene: Scene) -> Iterator[_Trial]:
    """Write every layout with every fault, read it, and ask its depth for the surface."""
    for fault in (RIGHT, *POSE_FAULTS, *DEPTH_FAULTS):
        views = taken(scene, fault, IMAGE_HEIGHT)
        for layout, write in WRITERS.items():
            place = folder / f"{layout}-{fault}" / "scene"
            place.mkdir(parents=True)
            write(place, views)
            found = read_scene(str(place))
            own = _Views(_guides(found), found, cache(lambda found=found: find_tracks(found)))
            yield _Trial(layout, fault, _read("sensor", own)[1])


def _photographs(scene: Scene) -> Iterator[_Trial]:
    """Triangulate the views of a scene, whose poses are misread, without its depth."""
    for fault in (RIGHT, *POSE_FAULTS):
        cameras = [view.camera for view in taken(scene, fault)]
        views = [
            replace(view, camera=camera, source=_blind(view.source))
            for view, camera in zip(scene.views, cameras, strict=True)
        ]
        yield _Trial("photographs", fault, _said(lambda views=views: find_tracks(replace(scene, views=tuple(views)))))


def _blind(source: FrameSource) -> FrameSource:
    return replace(source, depth=None) if isinstance(source, FileFrame) else source


def _said(call: Callable[[], object]) -> str:
    try:
        call()
    except SceneError as error:
        return str(error)
    return ""


def _files(folder: Path, views: Sequence[Taken], held_against: Sequence[_Views]) -> Iterator[_Trial]:
    """Write files of geometry with every fault of theirs, and read them for views with depth and for such without."""
    shape = shape_of(views)
    written = {RIGHT: shape, "unit x1000": shape.scaled(1000.0), "unit x0.1": shape.scaled(0.1)}
    for fault, one in {**written, "axes": axes_swapped(shape)}.items():
        for name in _SPOILED:
            geometry = _file(folder / fault, name, one)
            yield from (_Trial(name, fault, _read(geometry, own)[1]) for own in held_against)
    for fault, unit, power, is_ray in (
        (RIGHT, 1.0, 0, 0), ("unit x1000", 1e-3, 0, 0), ("unit x0.1", 10.0, 0, 0), ("rays", 1.0, 1, 0),
        ("z as rays", 1.0, 0, 1),
    ):  # fmt: skip
        path = folder / f"maps {fault}"
        write_maps(path, views, ".npy", unit, power)
        for own in held_against:
            yield _Trial("depths", fault, _read(f"depths?path={path}&unit=1&ray={is_ray}", own)[1])
