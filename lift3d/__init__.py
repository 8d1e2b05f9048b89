"""Lift any 2D vision model to 3D-consistent answers on any posed multi-view scene.

The public names, imported when they are first used: importing ``lift3d`` alone costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lift3d.config import Execution, Recipe
    from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
    from lift3d.domain.lifted import Prediction
    from lift3d.errors import Lift3dError
    from lift3d.lifters.catalog import build_lifter
    from lift3d.operators.catalog import build_operator, operator
    from lift3d.operators.protocol import Operator, OperatorSpec
    from lift3d.results.lift import lift
    from lift3d.results.lifted_scene import LiftedScene, lifted_scenes, open_lifted
    from lift3d.runs.driver import run_serially
    from lift3d.runs.table import list_runs, read_run, run_table
    from lift3d.scenes.catalog import read_scene
    from lift3d.storage.location import open_store
    from lift3d.tables.aggregation import summary

_HOMES = {
    "build_lifter": "lift3d.lifters.catalog",
    "build_operator": "lift3d.operators.catalog",
    "EMPTY_STATE": "lift3d.domain.features",
    "Execution": "lift3d.config",
    "FeatureGrid": "lift3d.domain.features",
    "FeatureMap": "lift3d.domain.features",
    "lift": "lift3d.results.lift",
    "Lift3dError": "lift3d.errors",
    "lifted_scenes": "lift3d.results.lifted_scene",
    "LiftedScene": "lift3d.results.lifted_scene",
    "list_runs": "lift3d.runs.table",
    "open_lifted": "lift3d.results.lifted_scene",
    "open_store": "lift3d.storage.location",
    "operator": "lift3d.operators.catalog",
    "Operator": "lift3d.operators.protocol",
    "OperatorSpec": "lift3d.operators.protocol",
    "Prediction": "lift3d.domain.lifted",
    "read_run": "lift3d.runs.table",
    "read_scene": "lift3d.scenes.catalog",
    "Recipe": "lift3d.config",
    "run_serially": "lift3d.runs.driver",
    "run_table": "lift3d.runs.table",
    "SceneState": "lift3d.domain.features",
    "summary": "lift3d.tables.aggregation",
}

__all__ = [
    "EMPTY_STATE",
    "Execution",
    "FeatureGrid",
    "FeatureMap",
    "Lift3dError",
    "LiftedScene",
    "Operator",
    "OperatorSpec",
    "Prediction",
    "Recipe",
    "SceneState",
    "build_lifter",
    "build_operator",
    "lift",
    "lifted_scenes",
    "list_runs",
    "open_lifted",
    "open_store",
    "operator",
    "read_run",
    "read_scene",
    "run_serially",
    "run_table",
    "summary",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lift3d' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
