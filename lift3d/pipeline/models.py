"""Operators, lifters and metrics of a recipe, built."""

from dataclasses import dataclass

from lift3d.config import Recipe
from lift3d.errors import ConfigError
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.protocol import Lifter
from lift3d.metrics.catalog import build_metrics
from lift3d.metrics.protocol import Metric
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Operator
from lift3d.pipeline.digests import whole_digest
from lift3d.pipeline.inputs import SceneInputs


@dataclass(frozen=True, slots=True)
class Models:
    """What a worker holds from scene to scene: built once, used for all."""

    operators: tuple[Operator, ...]
    lifters: tuple[Lifter, ...]
    metrics: tuple[Metric, ...]

    def digest_of(self, inputs: SceneInputs, recipe: Recipe) -> str:
        """Digest of everything that a scene's record depends on, before anything is decoded."""
        specs = (
            [one.spec for one in self.operators],
            [one.spec for one in self.lifters],
            [one.spec for one in self.metrics],
        )
        return whole_digest(recipe, *specs, inputs.scene, inputs.admitted)

    @classmethod
    def of(cls, recipe: Recipe) -> "Models":
        """Build everything a recipe names.

        Raises:
            UnknownNameError: If a catalog does not know a name.
            ConfigError: If two names mean the same operator.
        """
        operators = tuple(build_operator(name, recipe.plugins) for name in recipe.operators)
        names = [operator.spec.name for operator in operators]
        if len(set(names)) < len(names):
            raise ConfigError(f"Operators {', '.join(recipe.operators)} are {', '.join(names)}: name each one once.")
        return cls(
            operators,
            tuple(build_lifter(name) for name in recipe.lifters),
            tuple(build_metrics(recipe.metrics or None)),
        )
