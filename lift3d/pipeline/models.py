"""Operators, lifters and metrics of a recipe, built."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lift3d.config import Recipe
from lift3d.domain.keys import digest, digest_bytes
from lift3d.errors import ConfigError
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.protocol import Lifter
from lift3d.metrics.catalog import build_metrics
from lift3d.metrics.protocol import Metric
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Movable, Operator
from lift3d.pipeline.device import HOST
from lift3d.pipeline.digests import STAGE_VERSIONS
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.surface import surface_sources
from lift3d.scenes import tracks
from lift3d.surface.catalog import parse_geometry
from lift3d.surface.priors import prior_operator


@dataclass(frozen=True, slots=True)
class Models:
    """What a worker holds from scene to scene: built once, used for all."""

    operators: tuple[Operator, ...]
    lifters: tuple[Lifter, ...]
    metrics: tuple[Metric, ...]
    device: torch.device = HOST
    judges: tuple[Operator, ...] = ()
    """Of what views show (``Recipe.reliability``)."""

    def __post_init__(self) -> None:
        for one in (*self.operators, *self.lifters, *self.judges):
            if isinstance(one, Movable):
                _move(one, self.device)

    @property
    def is_anchored(self) -> bool:
        """Whether a lifter reads the scene's surface."""
        return any(one.spec.is_anchored for one in self.lifters)

    def digest_of(self, inputs: SceneInputs, recipe: Recipe) -> str:
        """Digest of all that a scene's record depends on; where it is the same, nothing has to be decoded."""
        scene, specs = inputs.scene, [one.spec for one in self.operators]
        novel = recipe.targets if recipe.targets and not recipe.targets.startswith("path:") else None
        # Of an operator's rows besides its answers.
        scored = [[spec.restores, list(spec.label_names), spec.threshold_source] for spec in specs]
        return digest(
            {
                "stages": {**STAGE_VERSIONS, "tracks": tracks.STAGE_VERSION},
                "taps": recipe.tap_count,
                "geometry": self._geometry_of(inputs, recipe),
                "judges": [one.spec.identity for one in self.judges],
                "operators": [[spec.identity, spec.quantity, *own] for spec, own in zip(specs, scored, strict=True)],
                "lifters": [one.spec.identity for one in self.lifters],
                "metrics": [[one.spec.name, one.spec.stage_version] for one in self.metrics],
                "depth_range": [scene.depth_range.near, scene.depth_range.far],
                "dropped": [[view.id, view.reason, view.message] for view in scene.dropped],
                "views": [[name, value] for name, value in inputs.admitted.items()],
                "novel": digest_bytes(Path(novel).read_bytes()) if novel and Path(novel).is_file() else None,
            }
        )

    def _geometry_of(self, inputs: SceneInputs, recipe: Recipe) -> list[dict[str, str | int]] | None:
        if not self.is_anchored:
            return None
        return [one.spec.identity for one in surface_sources(inputs, recipe.geometry, inputs.views, recipe.plugins)]

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device = HOST) -> "Models":
        """Build everything a recipe names; a scene is walked on the device.

        UnknownNameError if a catalog does not know a name, ConfigError if two names mean the same operator, or the
        geometry takes no such option, or is to be completed by an operator that gives no depth.
        """
        if recipe.geometry is not None:
            prior = parse_geometry(recipe.geometry).prior
            if prior:
                prior_operator(prior, recipe.plugins)
        operators = tuple(build_operator(name, recipe.plugins) for name in recipe.operators)
        judges = tuple(build_operator(name, recipe.plugins) for name in recipe.reliability)
        lifters = tuple(build_lifter(name) for name in recipe.lifters)
        _require_judges(judges, lifters)
        names = [operator.spec.name for operator in operators]
        if len(set(names)) < len(names):
            raise ConfigError(f"Operators {', '.join(recipe.operators)} are {', '.join(names)}: name each one once.")
        return cls(
            operators,
            lifters,
            tuple(build_metrics(recipe.metrics or None)),
            device,
            judges,
        )


def _require_judges(operators: Sequence[Operator], lifters: Sequence[Lifter]) -> None:
    """Refuse 2D models that give no features to tell places apart by, or that judge for nobody: ConfigError."""
    if operators and not any(one.spec.is_anchored for one in lifters):
        raise ConfigError(
            f"--reliability judges the scene's surface, which {', '.join(one.spec.name for one in lifters)} do not "
            "read. Leave it out, or lift with anchored."
        )
    for operator in operators:
        if operator.spec.quantity != "invariant":
            raise ConfigError(
                f"'{operator.spec.name}' cannot judge what views show: it gives {operator.spec.quantity}, expected "
                "features. Give --reliability an encoder, such as tiny:encoder or a model of timm."
            )


def _move(network: Movable, device: torch.device) -> None:
    try:
        network.to(device)
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        raise ConfigError(
            f"The networks do not fit into the memory that is left on {device}: {str(error).splitlines()[0]} Free it "
            "of other processes, or compute on --device cpu."
        ) from error
