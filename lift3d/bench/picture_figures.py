"""What agreement alone does not say of pictures: whether they keep their style, and whether seams show.

Letters: G is a picture's Gram matrix, of the features of one network.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from lift3d.bench.ratios import Figure, mean_of, ratio
from lift3d.config import Recipe
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.records import RAW2D, SceneRecord
from lift3d.metrics.sharpness import LUMA
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Operator
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.stored_views import read_lifted
from lift3d.pipeline.surface import scene_surface
from lift3d.pipeline.targets import scene_targets
from lift3d.runs.driver import named_scene
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store
from lift3d.storage.products import open_product
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import AnchoredTarget, owner_weights
from lift3d.surface.depth_map import EDGE

PictureOf = Mapping[ViewId, Float[Tensor, "3 height width"]]


class Pictures:
    """The answers of one scene that a run has stored, as far as they are pictures.

    Args:
        recipe: Of the run, with this scene alone.
        record: Of the scene.
        store: Where both lie.
        features: Operator whose features Gram matrices are of; of the recipe's plug-ins or the catalog.
    """

    def __init__(self, recipe: Recipe, record: SceneRecord, store: Store, features: str) -> None:
        self._recipe, self._record, self._store, self._features = recipe, record, store, features
        scene = named_scene(read_scene(record.location), record.location, recipe)
        self._inputs = SceneInputs(scene, store, recipe.image_height)
        dropped = {one.id for one in record.dropped}
        used = tuple(view for name, view in self._inputs.views.items() if name not in dropped)
        self._targets = scene_targets(used, recipe, scene.depth_range)
        sources = {name for target in self._targets for name in target.source_ids}
        shown_by = [view.id for view in used if view.id in sources]
        self._surface = scene_surface(self._inputs, recipe.geometry, shown_by, quiet, recipe.plugins).surface
        self._read: dict[tuple[str, str], PictureOf] = {}

    @property
    def geometry(self) -> str:
        """Where the scene's surface comes from."""
        return self._surface.method

    def kind_of(self, operator: str) -> str:
        """Return the kind of an operator's predictions."""
        (path, *_) = self._record.parts(operator, RAW2D)
        return next(read_lifted(open_product(self._store, path))).prediction.kind

    def figures(self, operator: str, lifter: str) -> dict[str, Figure]:
        """Return ``gram`` and ``seam`` of a lifter's pictures; nothing of what are none.

        gram: how far they are from the plain pictures of *other* views, over how far those are from one another:
        1 says that by its style alone no picture tells that it was lifted.

        seam: mean step of luma across borders of owners over that elsewhere on smooth surface, less the same of the
        plain picture: 0 says that borders do not show.
        """
        if self.kind_of(operator) != "image":
            return {}
        plain, own = self._pictures(operator, RAW2D), self._pictures(operator, lifter)
        names = [name for name in own if name in plain]
        found = {}
        if len(names) > 1:
            grams = [gram_of(plain[name], self._network) for name in names]
            lifted = grams if lifter == RAW2D else [gram_of(own[name], self._network) for name in names]
            found["gram"] = ratio(from_others(lifted, grams), from_others(grams, grams))
        seams = []
        for name in names:
            owner, z_depth = self._owners(name, own[name])
            seams.append(step_ratio(own[name], owner, z_depth) - step_ratio(plain[name], owner, z_depth))
        known = torch.tensor(seams, dtype=torch.float64)
        found["seam"] = mean_of(known[torch.isfinite(known)].numpy())
        return found

    def _pictures(self, operator: str, lifter: str) -> PictureOf:
        """Return pictures by target; pixels that no photograph has are those of the plain picture in all."""
        if (operator, lifter) not in self._read:
            views = {
                view.target: view.prediction.values
                for path in self._record.parts(operator, lifter)
                for view in read_lifted(open_product(self._store, path))
            }
            plain = views if lifter == RAW2D else self._pictures(operator, RAW2D)
            self._read[operator, lifter] = {
                name: torch.where(self._valid(name, values), values, plain[name])
                for name, values in views.items()
                if name in plain
            }
        return self._read[operator, lifter]

    def _valid(self, name: ViewId, picture: Float[Tensor, "3 height width"]) -> Bool[Tensor, "height width"]:
        is_valid = self._inputs.frame(name).is_valid
        return is_valid if is_valid.shape == picture.shape[1:] else torch.ones(picture.shape[1:], dtype=torch.bool)

    @cached_property
    def _network(self) -> Operator:
        return build_operator(self._features, self._recipe.plugins)

    @cached_property
    def _anchored(self) -> dict[ViewId, AnchoredTarget]:
        """Return who owns what each target sees, as the run had it."""
        taps = self._recipe.tap_count
        return {one.id: Anchored().anchor(self._surface, one.camera, one.source_ids, taps) for one in self._targets}

    def _owners(
        self, name: ViewId, picture: Float[Tensor, "3 height width"]
    ) -> tuple[Int[Tensor, "height width"], Float[Tensor, "height width"]]:
        """Return which view owns each pixel (-1: none does), and its depth."""
        target = self._anchored[name]
        image, (rows, cols) = target.camera.size, picture.shape[-2:]
        weights = owner_weights(target, FeatureGrid(rows, cols, image.width / cols, image.height / rows))
        owner = torch.where(weights.weight[:, 0] > 0, weights.source[:, 0], -1)
        return owner.reshape(rows, cols), weights.z_depth.reshape(rows, cols)


def gram_of(picture: Float[Tensor, "3 height width"], network: Operator) -> Float[Tensor, "channel channel"]:
    """Return the Gram matrix of a picture's features."""
    values = network.encode(picture.float())[0].values.flatten(1).double()
    return values @ values.T / values.shape[1]


def from_others(
    of: Sequence[Float[Tensor, "channel channel"]], among: Sequence[Float[Tensor, "channel channel"]]
) -> Float64[np.ndarray, " view"]:
    """Return each view's mean distance to the other views' matrices."""
    far = [[float((one - other).norm()) for at, other in enumerate(among) if at != own] for own, one in enumerate(of)]
    return np.array([np.mean(row) for row in far])


def step_ratio(
    picture: Float[Tensor, "3 height width"],
    owner: Int[Tensor, "height width"],
    z_depth: Float[Tensor, "height width"],
) -> float:
    """Return the mean step of luma where owners change, over that where they stay, on smooth surface.

    NaN without either.
    """
    luma = (torch.tensor(LUMA, dtype=torch.float64)[:, None, None] * picture.double()).sum(0)
    changing, staying = [], []
    for axis in (1, 0):
        length = owner.shape[axis] - 1
        (own, other), (near, far) = ([of.narrow(axis, at, length) for at in (0, 1)] for of in (owner, z_depth))
        is_smooth = ((near / far - 1).abs() < EDGE) & (own >= 0) & (other >= 0)
        step = luma.diff(dim=axis).abs()
        changing.append(step[is_smooth & (own != other)])
        staying.append(step[is_smooth & (own == other)])
    return float(torch.cat(changing).mean() / torch.cat(staying).mean())
