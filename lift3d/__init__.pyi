"""Public names and their homes; ``__init__.py`` imports each when it is first used."""

from .config import Execution as Execution
from .config import Recipe as Recipe
from .domain.features import EMPTY_STATE as EMPTY_STATE
from .domain.features import FeatureGrid as FeatureGrid
from .domain.features import FeatureMap as FeatureMap
from .domain.features import SceneState as SceneState
from .domain.lifted import Prediction as Prediction
from .errors import Lift3dError as Lift3dError
from .lifters.catalog import build_lifter as build_lifter
from .operators.catalog import build_operator as build_operator
from .operators.catalog import operator as operator
from .operators.protocol import Operator as Operator
from .operators.protocol import OperatorSpec as OperatorSpec
from .results.lift import lift as lift
from .results.lifted_scene import LiftedScene as LiftedScene
from .results.lifted_scene import lifted_scenes as lifted_scenes
from .results.lifted_scene import open_lifted as open_lifted
from .results.masks import SceneMasks as SceneMasks
from .results.masks import scene_masks as scene_masks
from .runs.driver import run_serially as run_serially
from .runs.records import list_runs as list_runs
from .runs.records import read_run as read_run
from .runs.table import run_table as run_table
from .scenes.catalog import read_scene as read_scene
from .storage.location import open_store as open_store
from .tables.aggregation import summary as summary
