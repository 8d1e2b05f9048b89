"""All methods of scene geometry by name. Light: an implementation is imported when it is built."""

import importlib

from lift3d.errors import UnknownNameError
from lift3d.surface.protocol import GeometryMethod, GeometrySpec

SENSOR = GeometrySpec("sensor", 1, "Depth that the views have, where other views agree with it.", needs_depth=True)
SWEEP = GeometrySpec("sweep", 1, "Multi-view stereo without training, fused over all views.", tolerance=0.05)

METHODS = {
    "sensor": "lift3d.surface.sensor:SensorGeometry",
    "sweep": "lift3d.surface.sweep:SweepGeometry",
}
_SPECS = {spec.name: spec for spec in (SENSOR, SWEEP)}


def geometry_spec(name: str) -> GeometrySpec:
    """Return what there is to know of a method without loading it.

    Raises:
        UnknownNameError: If no method has that name.
    """
    if name not in _SPECS:
        raise UnknownNameError.of("geometry", name, METHODS)
    return _SPECS[name]


def build_geometry(name: str) -> GeometryMethod:
    """Return a method, ready to estimate.

    Raises:
        UnknownNameError: If no method has that name.
    """
    module, _, attribute = METHODS[geometry_spec(name).name].partition(":")
    method: GeometryMethod = getattr(importlib.import_module(module), attribute)()
    return method
