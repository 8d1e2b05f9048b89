"""Where the surface of a scene comes from: the method that was asked for, or the best that a scene has, and its file.

A path beside a method (``mesh?path=scan.ply``) is looked up in the scene's folder, so that one recipe serves many
scenes; an absolute one is that file. Without it, a scene's folder is searched for files of the usual names.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lift3d.domain.keys import digest, shown
from lift3d.errors import SceneFormatError
from lift3d.scenes.colmap_dense import DEPTH_MAPS
from lift3d.scenes.depth_folder import map_files
from lift3d.scenes.file_limits import digest_file
from lift3d.scenes.ply import MAX_BYTES, ply_kind
from lift3d.scenes.scene_folder import require_inside
from lift3d.surface.catalog import SENSOR, SWEEP, geometry_spec, implementation, parse_geometry
from lift3d.surface.priors import completed_planar, completed_spec
from lift3d.surface.protocol import GeometryMethod, GeometrySpec

# In a scene's folder, by preference: what COLMAP, ScanNet, 3DGS, nerfstudio and Replica write.
_WORKSPACES = (".", "dense", "dense/0", "colmap/dense", "colmap/dense/0")
_FILES = (
    *("mesh.ply", "*_vh_clean_2.ply", "*_vh_clean.ply", "mesh_aligned_*.ply"),
    *("meshed-poisson.ply", "meshed-delaunay.ply", "dense/meshed-*.ply", "dense/0/meshed-*.ply"),
    *("fused.ply", "dense/fused.ply", "dense/0/fused.ply", "point_cloud.ply"),
    *("point_cloud/iteration_*/point_cloud.ply", "splat.ply", "splats.ply"),
    *("mesh.glb", "mesh.obj", "mesh.off", "mesh.stl"),
)


@dataclass(frozen=True, slots=True)
class GivenGeometry:
    """A method with the digest of what it reads, and the absolute path of that; None if it reads the views alone.

    ``prior`` names the operator that completes it, which ``plugins`` may give; empty if none does.
    """

    spec: GeometrySpec
    path: Path | None = None
    # In records and messages.
    shown_as: str = ""
    prior: str = ""
    plugins: tuple[str, ...] = ()
    # How it is read, of a folder of depth maps.
    reading: Mapping[str, float | bool] = field(default_factory=dict)

    def build(self) -> GeometryMethod:
        """Return the method, ready to estimate."""
        if self.prior:
            return completed_planar(self.prior, self.plugins)
        return implementation(self.spec, self.path, **self.reading)


def geometry_given(
    location: str, wanted: str | None, *, has_depth: bool, plugins: Sequence[str] = ()
) -> Iterator[GivenGeometry]:
    """Yield what a scene's surface may come from, the best first: all that there is, or the one that is asked for.

    That is ``wanted``, the name of a method with or without ``?path=`` or ``?prior=``, whose operator ``plugins`` may
    give. SceneFormatError if its file is not there, or none is found. Sensors count if all views have depth.
    """
    folder = _folder_of(location)
    if wanted is not None:
        asked = parse_geometry(wanted)
        kind, name, prior = asked[:3]
        if prior:
            shown_as = f"{kind} with {shown(prior)}"
            yield GivenGeometry(completed_spec(prior, plugins), None, shown_as, prior, tuple(plugins))
            return
        if not geometry_spec(kind).file:
            yield GivenGeometry(geometry_spec(kind), shown_as=kind)
            return
        paths = [_named(folder, name, location)] if name else [path for one, path in _found(folder) if one == kind]
        if not paths:
            raise SceneFormatError(
                f"The folder of '{location}' holds no {geometry_spec(kind).file} under a usual name. Name it: "
                f"{kind}?path=FILE."
            )
        yield _read_by(kind, paths[0], folder, asked.reading)
    elif has_depth:
        yield GivenGeometry(SENSOR, shown_as=SENSOR.name)
    else:
        yield from (_read_by(kind, path, folder) for kind, path in _found(folder))
        yield GivenGeometry(SWEEP, shown_as=SWEEP.name)


def _folder_of(location: str) -> Path | None:
    """Return the folder of a scene; None of one that has no files."""
    path = Path(location)
    return path if path.is_dir() else path.parent if path.is_file() else None


def _named(folder: Path | None, name: str, location: str) -> Path:
    path = Path(name).expanduser()
    if path.is_absolute():
        if path.exists():
            return path
        raise SceneFormatError(f"There is no '{shown(name)}', which was named as the scene's geometry. Check the path.")
    if folder is None or not (folder / path).exists():
        raise SceneFormatError(
            f"There is no '{shown(name)}' in the folder of scene '{location}', where a relative path of its geometry "
            "is looked up. Put it there, or give an absolute path."
        )
    require_inside(folder / path, folder)
    return folder / path


def _found(folder: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield what a scene's folder holds, the best first, one of a kind; what is no such file is none."""
    if folder is None:
        return
    places = [folder / one for one in _WORKSPACES if (folder / one / DEPTH_MAPS).is_dir()]
    by_kind = {"colmap": places[0]} if places else {}
    for path in (path for pattern in _FILES for path in sorted(folder.glob(pattern), reverse=True)):
        try:
            require_inside(path, folder)
            by_kind.setdefault(ply_kind(path) if path.suffix == ".ply" else "mesh", path)
        except SceneFormatError:
            continue
    yield from ((kind, by_kind[kind]) for kind in ("colmap", "mesh", "points", "splats") if kind in by_kind)


def _read_by(
    kind: str, path: Path, folder: Path | None, reading: Mapping[str, float | bool] | None = None
) -> GivenGeometry:
    path = path.resolve()
    own = folder is not None and path.is_relative_to(folder.resolve())
    name = str(path.relative_to(folder.resolve())) if own and folder is not None else path.name
    content = digest([_digest_of(path), dict(reading)]) if reading else _digest_of(path)
    spec = replace(geometry_spec(kind), content=content)
    return GivenGeometry(spec, path, f"{kind} '{shown(name)}'", reading=reading or {})


def _digest_of(path: Path) -> str:
    """Return a digest of the bytes of a file, of the depth maps and cameras of a workspace, or of a folder of maps."""
    if path.is_file():
        return _digest_of_file(path, *_stamp(path))
    files = [*sorted((path / DEPTH_MAPS).rglob("*.bin")), *sorted((path / "sparse").rglob("*.*")), *map_files(path)]
    return digest([[str(one.relative_to(path)), _digest_of_file(one, *_stamp(one))] for one in files if one.is_file()])


def _stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_size


@functools.lru_cache(maxsize=4096)
def _digest_of_file(path: Path, modified_ns: int, size: int) -> str:
    try:
        return digest_file(path, MAX_BYTES)
    except OSError as error:
        raise SceneFormatError(f"'{path}' cannot be read: {error}.") from error
