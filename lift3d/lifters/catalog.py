"""All lifters by name. Light: an implementation is imported when it is built."""

import importlib

from lift3d.errors import UnknownNameError
from lift3d.lifters.protocol import Lifter, LifterSpec

NEAREST_VIEW = LifterSpec(
    name="nearest_view",
    stage_version=1,
    needs_depth=False,
    corrects=False,
    weights_digest="",
    summary="Each cell copies the nearest view, warped by a plane in the middle of the depth range.",
)
DEPTH_MEAN = LifterSpec(
    name="depth_mean",
    stage_version=1,
    needs_depth=True,
    corrects=False,
    weights_digest="",
    summary="Mean over the sources whose own depth shows the surface fused from all sources' depths (OpenScene).",
)
PLANE_SWEEP = LifterSpec(
    name="plane_sweep",
    stage_version=1,
    needs_depth=False,
    corrects=False,
    weights_digest="",
    summary="Soft depth of each source by plane sweep, then the sources' consensus on the target's rays; no training.",
)

LIFTERS = {
    "nearest_view": "lift3d.lifters.nearest_view:NearestView",
    "depth_mean": "lift3d.lifters.depth_mean:DepthMean",
    "plane_sweep": "lift3d.lifters.plane_sweep:PlaneSweep",
}
_SPECS = {spec.name: spec for spec in (NEAREST_VIEW, DEPTH_MEAN, PLANE_SWEEP)}


def lifter_spec(name: str) -> LifterSpec:
    """Return what there is to know of a lifter without loading it.

    Raises:
        UnknownNameError: If no lifter has that name.
    """
    _check_known(name)
    return _SPECS[name]


def build_lifter(name: str) -> Lifter:
    """Return a lifter, ready to propose.

    Raises:
        UnknownNameError: If no lifter has that name.
    """
    _check_known(name)
    module, _, attribute = LIFTERS[name].partition(":")
    lifter: Lifter = getattr(importlib.import_module(module), attribute)()
    return lifter


def _check_known(name: str) -> None:
    if name not in LIFTERS:
        raise UnknownNameError.of("lifter", name, LIFTERS)
