"""All lifters by name. Light: an implementation is imported when it is built."""

import importlib
from dataclasses import replace

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.lifters.checkpoint_files import DEFAULT, checkpoint_digest, packaged
from lift3d.lifters.protocol import Lifter, LifterSpec

ANCHORED = LifterSpec(
    "anchored",
    9,
    "Answers lie on the scene's surface, and every camera reads them there; what a point shows does not depend on who "
    "looks.",
    is_anchored=True,
)
PLANE_SWEEP = LifterSpec(
    "plane_sweep",
    5,
    "Soft depth of each source by plane sweep, then the sources' consensus on the target's rays; no training.",
)
LIFT3D = LifterSpec(
    "lift3d",
    5,
    "Learned density proposal, weights of their own for features, a residual towards the view's own (Lift3D).",
    is_learned=True,
    is_guided=True,
)

LIFTERS = {
    "anchored": "lift3d.surface.anchored:Anchored",
    "plane_sweep": "lift3d.lifters.plane_sweep:PlaneSweep",
    "lift3d": "lift3d.lifters.corrective:Lift3D",
}
_SPECS = {spec.name: spec for spec in (ANCHORED, PLANE_SWEEP, LIFT3D)}
# What stores and recipes of before may name, and what does better.
_WITHDRAWN = {
    **dict.fromkeys(("nearest_view", "depth_mean", "render_then_2d"), "anchored"),
    **dict.fromkeys(("shared_weights", "separate_weights"), "lift3d"),
}
_CHECKPOINT = "checkpoint="


def register(spec: LifterSpec, home: str) -> None:
    """Add a lifter to the catalog of this process; ``home`` is the ``module:attribute`` of what builds it."""
    LIFTERS[spec.name], _SPECS[spec.name] = home, spec


def lifter_spec(name: str) -> LifterSpec:
    """Return what there is to know of a lifter without loading it.

    Learned lifters take ``?checkpoint=`` with the name of a packaged checkpoint or the path of one's own.
    UnknownNameError if no lifter has that name, ConfigError if it takes no such option or there is no such checkpoint.
    """
    kind, checkpoint = _parse(name)
    if checkpoint is None:
        return _SPECS[kind]
    return replace(_SPECS[kind], name=name, weights_digest=checkpoint_digest(checkpoint))


def is_packaged(name: str) -> bool:
    """Whether a lifter's name leads to no file but those of the package."""
    checkpoint = _parse(name)[1]
    return checkpoint is None or checkpoint in packaged()


def build_lifter(name: str) -> Lifter:
    """Return a lifter, ready to propose; raises what ``lifter_spec`` does, or that a checkpoint does not read."""
    kind, checkpoint = _parse(name)
    module, _, attribute = LIFTERS[kind].partition(":")
    build = getattr(importlib.import_module(module), attribute)
    lifter: Lifter = build() if checkpoint is None else build(lifter_spec(name), checkpoint)
    return lifter


def _parse(name: str) -> tuple[str, str | None]:
    """Return the name without options, and the checkpoint of a learned lifter."""
    kind, _, option = name.partition("?")
    if kind not in LIFTERS:
        if kind in _WITHDRAWN:
            raise UnknownNameError(
                f"The lifter '{kind}' is no longer part of lift3d; use '{_WITHDRAWN[kind]}', which does better. "
                "What stores hold of it can still be shown."
            )
        raise UnknownNameError.of("lifter", kind, LIFTERS)
    if _SPECS[kind].is_learned:
        if option and not (option.startswith(_CHECKPOINT) and option.removeprefix(_CHECKPOINT)):
            raise ConfigError(f"'{name}': a learned lifter takes '?checkpoint=NAME_OR_PATH', got '?{option}'.")
        return kind, option.removeprefix(_CHECKPOINT) or DEFAULT
    if option:
        raise ConfigError(f"'{name}': the lifter '{kind}' takes no options, got '?{option}'.")
    return kind, None
