"""Lifters that the scene's surface leaves behind: pages show them beside the others, and no other run may name them."""

from dataclasses import replace

from lift3d.lifters.catalog import LIFT3D, register
from lift3d.lifters.protocol import LifterSpec

NEAREST_VIEW = LifterSpec(
    "nearest_view", 1, "Each cell copies the nearest view, warped by a plane in the middle of the depth range."
)
SHARED_WEIGHTS = replace(
    LIFT3D,
    name="shared_weights",
    summary="Learned density proposal; every operator shares the weights of colours (the naive baseline of Lift3D).",
    is_guided=False,
)
SEPARATE_WEIGHTS = replace(
    LIFT3D,
    name="separate_weights",
    summary="Learned density proposal; features have weights of their own, uniform over views that see the surface.",
)
_HOMES = {
    NEAREST_VIEW: "NearestView",
    SHARED_WEIGHTS: "SharedWeights",
    SEPARATE_WEIGHTS: "SeparateWeights",
}


def register_baselines() -> None:
    """Let runs of this process name them."""
    for spec, builder in _HOMES.items():
        register(spec, f"lift3d.bench.baseline_lifters:{builder}")
