"""Fit: what an operator needs to know of all views."""

from collections.abc import Mapping

from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.scene_views import SceneViews
from lift3d.operators.protocol import Operator


def fit_scene(operator: Operator, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
    """Return what the operator needs to know of all views."""
    return operator.fit_scene(maps, views)
