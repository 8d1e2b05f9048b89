"""All methods of scene geometry by name. Light: an implementation is imported when it is built."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.surface.protocol import GeometryMethod, GeometrySpec

SENSOR = GeometrySpec("sensor", 4, "Depth that the views have, where other views agree with it.", needs_depth=True)
SWEEP = GeometrySpec(
    "sweep",
    5,
    "Multi-view stereo without training, fused over all views.",
    tolerance=0.05,
    is_searched=True,
    painters=10,
)
PLANAR = GeometrySpec(
    "planar",
    1,
    "That stereo, and planes in place of what has no texture.",
    tolerance=SWEEP.tolerance,
    is_searched=True,
    painters=SWEEP.painters,
)
COLMAP = GeometrySpec("colmap", 3, "Depth maps of a dense workspace of COLMAP.", file="dense workspace of COLMAP")
DEPTHS = GeometrySpec(
    "depths", 1, "Depth maps in a folder, by the names of the views.", file="folder of depth maps (.npy, .npz, .png)"
)
MESH = GeometrySpec("mesh", 2, "Triangles of a mesh.", file="mesh (.ply, .obj, .off, .stl, .glb)")
POINTS = GeometrySpec(
    "points", 2, "A dense cloud of points, each as wide as its distance to others.", file="cloud (.ply)"
)
SPLATS = GeometrySpec("splats", 2, "Where the splats of 3DGS hide half of what is behind them.", file="splats (.ply)")

METHODS = {
    "sensor": "lift3d.surface.sensor:SensorGeometry",
    "colmap": "lift3d.surface.colmap:ColmapGeometry",
    "depths": "lift3d.surface.depths:DepthsGeometry",
    "mesh": "lift3d.surface.mesh:MeshGeometry",
    "points": "lift3d.surface.points:PointsGeometry",
    "splats": "lift3d.surface.splats:SplatsGeometry",
    "sweep": "lift3d.surface.sweep:SweepGeometry",
    "planar": "lift3d.surface.planar:PlanarGeometry",
}
_SPECS = {spec.name: spec for spec in (SENSOR, COLMAP, DEPTHS, MESH, POINTS, SPLATS, SWEEP, PLANAR)}
_PATH, _PRIOR = "path=", "prior="
_PRIORS = (PLANAR.name,)
_UNIT, _RAY = "unit", "ray"


class GeometryName(NamedTuple):
    """A method, the path of what it reads, and the 2D model of depth that it is completed by; empty where none is.

    Of depth maps, ``unit`` is world units per number (0: 1 of floats, a thousandth of whole numbers), and ``is_ray``
    says that they hold distances along rays.
    """

    kind: str
    path: str = ""
    prior: str = ""
    unit: float = 0.0
    is_ray: bool = False

    @property
    def reading(self) -> dict[str, float | bool]:
        """How depth maps are read; nothing for other methods."""
        return {"unit": self.unit, "is_ray": self.is_ray} if self.kind == DEPTHS.name else {}


def geometry_spec(name: str) -> GeometrySpec:
    """Return what there is to know of a method without loading it; UnknownNameError if no method has that name."""
    if name not in _SPECS:
        raise UnknownNameError.of("geometry", name, METHODS)
    return _SPECS[name]


def parse_geometry(name: str) -> GeometryName:
    """Take apart ``method``, ``method?path=FILE`` or ``planar?prior=OPERATOR``; ConfigError of any other option.

    A folder of depth maps may be followed by ``&unit=`` and ``&ray=1``. All that follows ``prior=`` is the operator's
    name, with options of its own: nothing in it needs to be escaped.
    """
    kind, question, option = name.partition("?")
    spec = geometry_spec(kind)
    path, prior = (option.removeprefix(one) if option.startswith(one) else "" for one in (_PATH, _PRIOR))
    if question and not ((spec.file and path) or (kind in _PRIORS and prior)):
        takes = "'?path=' and a file" if spec.file else "no options"
        takes = "'?prior=' and an operator of depth" if kind in _PRIORS else takes
        raise ConfigError(f"'{name:.200}': the geometry '{kind}' takes {takes}, got '?{option:.200}'.")
    scheme, is_url, _ = path.partition("://")
    if is_url:
        # What follows may hold a password.
        raise ConfigError(
            f"The geometry '{kind}' names a path with the scheme '{scheme:.20}'; only local files are read. Copy it to "
            "a local folder first."
        )
    path, *more = path.split("&") if kind == DEPTHS.name else [path]
    return GeometryName(kind, path, prior, *_read_as(name, more))


def _read_as(name: str, options: Sequence[str]) -> tuple[float, bool]:
    """Return unit and whether depth is along rays, of the options of a folder of depth maps."""
    found = dict(option.partition("=")[::2] for option in options)
    try:
        unit = float(found.pop(_UNIT, "0"))
    except ValueError:
        unit = -1.0
    is_ray = found.pop(_RAY, "0")
    if found or not 0 <= unit < float("inf") or is_ray not in ("0", "1"):
        raise ConfigError(
            f"'{name:.200}': a folder of depth maps takes '&{_UNIT}=' and world units per number, and '&{_RAY}=1' "
            "where they hold distances along rays."
        )
    return unit, is_ray == "1"


def build_geometry(name: str, plugins: Sequence[str] = ()) -> GeometryMethod:
    """Return a method, ready to estimate; ConfigError if it reads a file, and none is named.

    ``plugins`` may give the operator that it is completed by, as ``build_operator`` takes them.
    """
    asked = parse_geometry(name)
    spec = geometry_spec(asked.kind)
    if asked.prior:
        from lift3d.surface.priors import completed_planar

        return completed_planar(asked.prior, plugins)
    if spec.file and not asked.path:
        raise ConfigError(f"The geometry '{spec.name}' reads a {spec.file}; name it: {spec.name}?path=FILE.")
    return implementation(spec, Path(asked.path) if asked.path else None, **asked.reading)


def implementation(spec: GeometrySpec, path: Path | None, **reading: float | bool) -> GeometryMethod:
    """Return what estimates by a method, from the file or folder that it reads, if any, as ``reading`` says."""
    module, _, attribute = METHODS[spec.name].partition(":")
    build = getattr(importlib.import_module(module), attribute)
    method: GeometryMethod = build() if path is None else build(path, **reading)
    return method
