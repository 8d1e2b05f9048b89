"""Where is it? Words and clicks, asked of the points of a lifted scene or of masks on them.

asked = lift3d.open_lifted("desk-run", operator="open_clip:ViT-B-16").ask()
mug = asked.words("red mug")
mug.position, mug.selected, mug.write("mug.ply")
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from lift3d.config import Recipe
from lift3d.errors import ConfigError, NoOverlapError
from lift3d.geometry.sampling import sample
from lift3d.operators.open_vocabulary import EVEN, TextEncoder
from lift3d.results.cloud import Cloud, cells_at, scene_cloud
from lift3d.results.masks.scene_masks import SceneMasks
from lift3d.results.query.found import Found
from lift3d.results.query.likeness import Neighbours, relevance, rule_named, similarity
from lift3d.results.query.words import can_take_words, embedded, text_encoder

if TYPE_CHECKING:
    from lift3d.results.lifted_scene import LiftedScene

# A hundred thousand points of 512 channels are 200 MB.
MOST_POINTS = 100_000
RULE = "edge"


@dataclass(frozen=True, eq=False)
class SceneQuery:
    """The points of a scene with their features, held so that they can be asked many times.

    Attributes:
        lifted: Whose features they are.
        cloud: The points; those that have features.
        unit: Features of length 1.
    """

    lifted: "LiftedScene"
    cloud: Cloud
    unit: Float[Tensor, "point channel"]

    @classmethod
    def of(cls, lifted: "LiftedScene", most: int = MOST_POINTS) -> "SceneQuery":
        """Gather a scene's points, ``most`` at most. NoOverlapError if there are none with features."""
        cloud = scene_cloud(lifted, most)
        unit = torch.zeros(0)
        for number, view in enumerate(lifted.views()):
            own, features = cloud.view == number, view.lifted[0].features
            if not len(unit):
                unit = torch.full((len(cloud), features.channel_count), torch.nan)
            uv = cloud.uv[own]
            between = sample(features.values, uv.float(), *features.grid.placement).T
            # Beside a hole what is between cells is unknown, and the cell itself is not.
            cell = features.values.flatten(1).T[cells_at(features.grid, uv)]
            found = torch.where(torch.isfinite(between).all(1, keepdim=True), between, cell)
            unit[own] = torch.nn.functional.normalize(found, dim=1)
        is_known = torch.isfinite(unit).all(1) & (unit != 0).any(1)
        if not bool(is_known.any()):
            raise NoOverlapError(
                f"No point of '{lifted.name}' has features of '{lifted.operator}' under '{lifted.lifter}': no view "
                "shows a surface that others agree on, or the operator lifts no features."
            )
        return cls(lifted, cloud.only(is_known), unit[is_known])

    def on(self, masks: SceneMasks | Int[ndarray, " point"]) -> "SceneQuery":
        """Return the query of whole masks: points of one have the mean of their features; of none, their own.

        Masks are those of the scene, or an id for each point, −1 for none; ConfigError if there are not as many.
        """
        ids = masks.ids_at(self.cloud.xyz.numpy()) if isinstance(masks, SceneMasks) else masks
        if len(ids) != len(self.unit):
            raise ConfigError(f"Masks are ids of the {len(self.unit)} points of the query, one each; got {len(ids)}.")
        number = torch.from_numpy(np.ascontiguousarray(ids)).long()
        is_some = number >= 0
        sums = torch.zeros(int(number.max()) + 1 if len(number) else 0, self.unit.shape[1])
        sums.index_add_(0, number[is_some], self.unit[is_some])
        pooled = self.unit.clone()
        pooled[is_some] = torch.nn.functional.normalize(sums, dim=1)[number[is_some]]
        return replace(self, unit=pooled)

    def words(self, words: str, rule: str = RULE) -> Found:
        """Find what some words name. ConfigError if the operator's features cannot be compared with words."""
        least = rule_named(rule)
        texts = embedded(self._encoder, words)
        if texts.shape[1] != self.unit.shape[1]:
            raise ConfigError(
                f"'{self.lifted.operator}' has {self.unit.shape[1]} channels for images and {texts.shape[1]} for "
                "texts; words cannot be looked for."
            )
        likeness = self.neighbours.smoothed(relevance(self.unit, texts).numpy())
        threshold = least(likeness, self.neighbours, EVEN)
        return self._found(words, likeness, threshold, f"{rule}, from relevancy {EVEN:g} on")

    def click(self, view: str, u: float, v: float, rule: str = RULE) -> Found:
        """Find what is like the pixel (u, v) of a view, in pixels of the lifted size, from its upper left corner.

        ConfigError if the pixel is not on the view; NoOverlapError if nothing was lifted there.
        """
        own = self.lifted.view(view)
        size, features = own.camera.size, own.lifted[0].features
        if not (0 <= u < size.width and 0 <= v < size.height):
            raise ConfigError(
                f"View '{view}' has {size.width}×{size.height} pixels as lifted; got u = {u:g}, v = {v:g}."
            )
        cell = int(cells_at(features.grid, torch.tensor([[u, v]], dtype=torch.float64)))
        wanted = features.values.flatten(1)[:, cell].float()
        if not bool(torch.isfinite(wanted).all()):
            raise NoOverlapError(f"Nothing was lifted at u = {u:g}, v = {v:g} of view '{view}'. Click beside it.")
        likeness = self.neighbours.smoothed(similarity(self.unit, wanted[None])[0].numpy())
        # Half-way from most of the scene to what is most like the pixel.
        least = float(np.median(likeness) + likeness.max()) / 2
        threshold = rule_named(rule)(likeness, self.neighbours, least)
        return self._found(f"{view} at {u:g}, {v:g}", likeness, threshold, f"{rule}, from cosine {least:.3f} on")

    @cached_property
    def neighbours(self) -> Neighbours:
        """Which points lie beside each other; found once."""
        return Neighbours.of(self.cloud.xyz.numpy(), self.unit)

    @cached_property
    def _encoder(self) -> TextEncoder:
        require_words(self.lifted)
        return text_encoder(self.lifted.operator, self.lifted.trusted)

    def _found(self, query: str, likeness: Float[ndarray, " point"], threshold: float, source: str) -> Found:
        return Found(query, self.cloud, likeness, threshold, source, self.lifted.targets)


def that_takes_words(recipe: Recipe, trusted: Sequence[str] = ()) -> str | None:
    """Return the first operator of a run that may be asked for words; None if there is none."""
    return next((one for one in recipe.operators if not can_take_words(one, recipe.plugins, trusted)), None)


def require_words(lifted: "LiftedScene") -> None:
    """Refuse an operator that cannot be asked for words, in the words of ConfigError."""
    why_not = can_take_words(lifted.operator, lifted.recipe.plugins, lifted.trusted)
    if why_not:
        able = that_takes_words(lifted.recipe, lifted.trusted)
        choice = f" This run has one: --operator '{able}'." if able else ""
        raise ConfigError(f"'{lifted.operator}' in '{lifted.name}': {why_not}{choice}")


def ask_all(asked: SceneQuery, words: Sequence[str], rule: str = RULE) -> Int[ndarray, " point"]:
    """Return which of some words each point is, −1 of none: the most relevant of those that find it."""
    found = [asked.words(one, rule) for one in words]
    likeness = np.stack([np.where(one.selected, one.likeness, -np.inf) for one in found])
    best = likeness.argmax(0)
    return np.where(np.isfinite(likeness.max(0)), best, -1)
