"""All lifters by name. Light: an implementation is imported when it is built."""

import importlib
from dataclasses import replace

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.lifters.checkpoint_files import DEFAULT, checkpoint_digest
from lift3d.lifters.protocol import Lifter, LifterSpec

NEAREST_VIEW = LifterSpec(
    "nearest_view", 1, "Each cell copies the nearest view, warped by a plane in the middle of the depth range."
)
DEPTH_MEAN = LifterSpec(
    "depth_mean",
    1,
    "Mean over the sources whose own depth shows the surface fused from all sources' depths (OpenScene).",
    needs_depth=True,
)
PLANE_SWEEP = LifterSpec(
    "plane_sweep",
    3,
    "Soft depth of each source by plane sweep, then the sources' consensus on the target's rays; no training.",
)
SHARED_WEIGHTS = LifterSpec(
    "shared_weights",
    3,
    "Learned density proposal; every operator shares the weights of colours (the naive baseline of Lift3D).",
    proposes_as="corrective",
)
SEPARATE_WEIGHTS = replace(
    SHARED_WEIGHTS,
    name="separate_weights",
    summary="Learned density proposal; features have weights of their own, uniform over views that see the surface.",
    corrects=True,
    is_guided=True,
)
LIFT3D = replace(
    SEPARATE_WEIGHTS,
    name="lift3d",
    summary="Learned density proposal, weights of their own for features, a residual towards the view's own (Lift3D).",
)
RENDER_THEN_2D = replace(
    SHARED_WEIGHTS,
    name="render_then_2d",
    summary="The 2D model on the lifted picture: no feature of any source is blended.",
    is_guided=True,
    is_rendered=True,
)

ANCHORED = LifterSpec(
    "anchored",
    1,
    "Answers lie on the scene's surface, and every camera reads them there; what a point shows does not depend on who "
    "looks.",
    is_anchored=True,
)

LIFTERS = {
    "anchored": "lift3d.surface.anchored:Anchored",
    "nearest_view": "lift3d.lifters.nearest_view:NearestView",
    "depth_mean": "lift3d.lifters.depth_mean:DepthMean",
    "plane_sweep": "lift3d.lifters.plane_sweep:PlaneSweep",
    "render_then_2d": "lift3d.lifters.corrective:SharedWeights",
    "shared_weights": "lift3d.lifters.corrective:SharedWeights",
    "separate_weights": "lift3d.lifters.corrective:SeparateWeights",
    "lift3d": "lift3d.lifters.corrective:Lift3D",
}
_LEARNED = (RENDER_THEN_2D, SHARED_WEIGHTS, SEPARATE_WEIGHTS, LIFT3D)
_SPECS = {spec.name: spec for spec in (ANCHORED, NEAREST_VIEW, DEPTH_MEAN, PLANE_SWEEP, *_LEARNED)}
LEARNED = tuple(spec.name for spec in _LEARNED)
_CHECKPOINT = "checkpoint="


def lifter_spec(name: str) -> LifterSpec:
    """Return what there is to know of a lifter without loading it.

    Args:
        name: A name of the catalog; learned lifters take ``?checkpoint=`` with the name of a packaged checkpoint or
            the path of one's own.

    Raises:
        UnknownNameError: If no lifter has that name.
        ConfigError: If the lifter takes no such option, or there is no such checkpoint.
    """
    kind, checkpoint = _parse(name)
    if checkpoint is None:
        return _SPECS[kind]
    return replace(_SPECS[kind], name=name, weights_digest=checkpoint_digest(checkpoint))


def build_lifter(name: str) -> Lifter:
    """Return a lifter, ready to propose.

    Raises:
        UnknownNameError: If no lifter has that name.
        ConfigError: If the lifter takes no such option, or its checkpoint cannot be read.
    """
    kind, checkpoint = _parse(name)
    module, _, attribute = LIFTERS[kind].partition(":")
    build = getattr(importlib.import_module(module), attribute)
    lifter: Lifter = build() if checkpoint is None else build(lifter_spec(name), checkpoint)
    return lifter


def _parse(name: str) -> tuple[str, str | None]:
    """Return the name without options, and the checkpoint of a learned lifter."""
    kind, _, option = name.partition("?")
    if kind not in LIFTERS:
        raise UnknownNameError.of("lifter", kind, LIFTERS)
    if kind in LEARNED:
        if option and not (option.startswith(_CHECKPOINT) and option.removeprefix(_CHECKPOINT)):
            raise ConfigError(f"'{name}': a learned lifter takes '?checkpoint=NAME_OR_PATH', got '?{option}'.")
        return kind, option.removeprefix(_CHECKPOINT) or DEFAULT
    if option:
        raise ConfigError(f"'{name}': the lifter '{kind}' takes no options, got '?{option}'.")
    return kind, None
