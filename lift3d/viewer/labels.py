"""Labels of the points: those that the model predicts, or masks of things; what they are called, and their file."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from lift3d.results.colours import label_picture, to_bytes
from lift3d.results.exports.files import world_words
from lift3d.results.exports.masks import write_masks
from lift3d.results.exports.ply import write_ply
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.scene_masks import SceneMasks, scene_masks
from lift3d.viewer.viewed_scene import ViewedScene

# Labels that are listed; the others are as good as none.
MOST_LISTED = 40
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """An id of every point, −1 for none, and names of ids. ``source`` says what they are.

    ``masks`` are those that were merged, if they were.
    """

    ids: Int[Tensor, " point"]
    names: Mapping[int, str]
    source: str
    masks: SceneMasks | None = None

    @property
    def listed(self) -> list[tuple[int, int]]:
        """Ids and how many points they have, the most first."""
        ids, counts = torch.unique(self.ids[self.ids >= 0], return_counts=True)
        order = counts.argsort(descending=True, stable=True)[:MOST_LISTED]
        return list(zip(ids[order].tolist(), counts[order].tolist(), strict=True))

    def name(self, label: int) -> str:
        """Return what a label is called."""
        return self.called(label) or f"{self.source} {label}"

    def called(self, label: int) -> str:
        """Return the name alone; empty where a label has none."""
        return self.names.get(label, "").strip()

    def renamed(self, label: int, name: str) -> "Labels":
        """Return the same with another name of one of them; an empty one gives its own back."""
        return replace(self, names={**self.names, label: name.strip()[:_LONGEST_NAME]})

    def paint(self, points: Int[Tensor, " some"]) -> UInt8[Tensor, "some 3"]:
        """Return the colours of points by their labels."""
        return torch.from_numpy(to_bytes(label_picture(self.ids[points][None])))[0]


def labels_key(lifted: LiftedScene, labels: Labels) -> str:
    """Return by what a browser knows them again: labels of another model or scene are others."""
    return " ".join((lifted.recipe.run_id, lifted.name, lifted.operator, labels.source))


def predicted_labels(viewed: ViewedScene, is_lifted: bool) -> Labels | None:
    """Return what the model says that points are; None if it says no such thing."""
    return Labels(viewed.answers(is_lifted).label, viewed.names, "class") if viewed.has_labels else None


def found_masks(lifted: LiftedScene, viewed: ViewedScene) -> Labels:
    """Merge the 2D masks of a scene's views on its surface, in half a minute or so; Lift3dError if there are none."""
    masks = scene_masks(lifted)
    return Labels(torch.from_numpy(masks.ids_at(viewed.cloud.xyz.numpy())), {}, "thing", masks)


def points_file(
    lifted: LiftedScene, viewed: ViewedScene, kept: Bool[Tensor, " point"], colours: Tensor, labels: Labels | None
) -> bytes:
    """Return points with their colours, and their labels with names as comments, as PLY."""
    cloud = viewed.cloud.only(kept)
    columns = dict(zip(("red", "green", "blue"), colours[kept].numpy().T, strict=True))
    comments = [f"lift3d: {lifted.title}", world_words(lifted)]
    if labels is not None:
        columns["label"] = labels.ids[kept].numpy().astype(np.int32)
        comments += [f"label {label}: {labels.name(label)}" for label, _ in labels.listed]
    return _written("points.ply", lambda out: write_ply(out, cloud, columns, comments))


def masks_file(masks: SceneMasks) -> bytes:
    """Return the masks of all views as ``lift3d masks`` writes them, as JSON."""
    return _written("masks.json", lambda out: write_masks(masks, out))


def _written(name: str, write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        write(out)
        return out.read_bytes()
