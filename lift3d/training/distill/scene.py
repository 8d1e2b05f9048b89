"""Both branches of one operator on the surface of one scene: what its views say together, and what 3D makes of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.config import Recipe
from lift3d.domain.features import FeatureMap
from lift3d.errors import ConfigError
from lift3d.operators.answers import pixel_map
from lift3d.operators.protocol import COMPARABLE, Operator, OperatorSpec
from lift3d.pipeline.anchor import averages_probabilities
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.surface import scene_surface
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.surface.cloud import SurfacePoints, surface_points
from lift3d.surface.fused import fused_at
from lift3d.surface.scene_surface import SceneSurface
from lift3d.surface.shape import shape_inputs, upward
from lift3d.training.distill.field import DistilSettings, distilled

# Points of the surface, at most.
MOST_POINTS = 40_000
# Points that a place is read from, by the inverse of their distance, or of this share of the points' spacing.
_NEAREST, _AT_LEAST = 4, 0.3


@dataclass(frozen=True, eq=False)
class SurfaceBranches:
    """Unit features of surface points: ``fused`` of 2D views, ``distilled`` by a network that sees 3D alone."""

    surface: SceneSurface
    points: SurfacePoints
    fused: Float[Tensor, "point channel"]
    distilled: Float[Tensor, "point channel"]

    @classmethod
    def of(
        cls,
        inputs: SceneInputs,
        operator: Operator,
        surface: SceneSurface,
        settings: DistilSettings | None = None,
        folder: Path | None = None,
    ) -> "SurfaceBranches":
        """Fuse an operator's first cut on the surface, and distil it; ConfigError if it means another thing per view.

        SceneError if too few points have features, NonFiniteError if the training diverges.
        """
        spec = operator.spec
        if spec.quantity not in COMPARABLE or spec.quantity == "color":
            raise ConfigError(
                f"'{spec.name}' cannot be distilled: it gives {spec.quantity}, expected features or scores per label. "
                "Name an encoder or a segmenter."
            )
        found = surface_points(surface, MOST_POINTS)
        fused, weight = fused_at(surface, found.xyz, lambda name: directions(inputs.features(operator, name)[0], spec))
        shown = weight > 0
        points = SurfacePoints(found.xyz[shown], found.normals[shown], found.spacing, found.found)
        rgb, _ = fused_at(surface, points.xyz, lambda name: pixel_map(inputs.frame(name).image))
        fused = F.normalize(fused[shown], dim=1)
        seen = shape_inputs(points, rgb, upward(surface, points.normals)) if len(points.xyz) else rgb
        return cls(surface, points, fused, distilled(seen, fused, settings or DistilSettings(), folder))

    def near(self, xyz: Float[Tensor, "place 3"]) -> tuple[Int[Tensor, "place near"], Float[Tensor, "place near"]]:
        """Return the points that places of the world are read from, and their weights, with sum 1; finite places."""
        count = min(_NEAREST, len(self.points.xyz))
        distance, index = self._tree.query(xyz.numpy(), k=[*range(1, count + 1)])
        weight = 1 / torch.from_numpy(distance).float().clamp(min=_AT_LEAST * self.points.spacing)
        return torch.from_numpy(index), weight / weight.sum(1, keepdim=True)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.points.xyz.numpy())


def directions(one: FeatureMap, spec: OperatorSpec) -> FeatureMap:
    """Return features as unit vectors; of scores per label, the roots of their probabilities, which are such, too."""
    values = one.values.float()
    if averages_probabilities(spec):
        return FeatureMap(values.softmax(0).sqrt(), one.grid)
    return FeatureMap(F.normalize(values, dim=0), one.grid)


def distil_scene(recipe: Recipe, store: str, settings: DistilSettings | None = None) -> SurfaceBranches:
    """Return both branches of a recipe's first operator on the surface of its first scene, of which all views speak.

    Features and the surface are kept in the store. NoOverlapError if the scene has no surface.
    """
    inputs = SceneInputs(read_scene(recipe.scenes[0]), open_store(store, create=True), recipe.image_height)
    inputs.decode_all(quiet)
    operator, names = Models.of(recipe).operators[0], [*inputs.views]
    surface = scene_surface(inputs, recipe.geometry, names, quiet, recipe.plugins).surface
    inputs.encode(operator, {*names}, quiet)
    return SurfaceBranches.of(inputs, operator, surface, settings)
