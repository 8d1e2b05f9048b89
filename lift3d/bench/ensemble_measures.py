"""What names the classes of a scene to both branches of an ensemble: words, labels of its own, or annotated views.

A vocabulary turns unit features into a score per class. One that is told by annotated views is fitted on every second
of them, and asked of the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.bench.probe3d_measures import fitted_probe
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import ConfigError, SceneError
from lift3d.metrics.segmentation import class_iou
from lift3d.operators.open_vocabulary import NEGATIVES, TextEncoder, relevancy

WORDS, OWN, MEANS, PROBE = "words", "its own labels", "class means", "linear probe"
# A class that is less relevant than so to its words is not named (open_vocabulary).
_RELEVANT = 0.5

Scores = Callable[[Float[Tensor, "place channel"]], Float[Tensor, "place class"]]


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Scores of classes, of features of single views and of those on the surface; ``labels`` are of its columns.

    A place whose highest score is not above ``least`` is of none of them.
    """

    name: str
    labels: Int[Tensor, " class"]
    of_view: Scores
    of_surface: Scores
    least: float = -torch.inf

    def named(self, scores: Float[Tensor, "place class"]) -> Int[Tensor, " place"]:
        """Return the label of the highest score."""
        best, index = scores.max(1)
        named: Tensor = torch.where(best > self.least, self.labels[index], UNKNOWN_LABEL)
        return named


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """Some places of annotated views: features of the view and of the surface, and labels."""

    of_view: Float[Tensor, "place channel"]
    of_surface: Float[Tensor, "place channel"]
    labels: Int[Tensor, " place"]

    @property
    def classes(self) -> Int[Tensor, " class"]:
        """Labels that there are."""
        there: Tensor = torch.unique(self.labels)
        return there


def by_words(encoder: TextEncoder, names: Mapping[int, str]) -> Vocabulary:
    """Return relevancy to "a NAME" of classes; ConfigError if there are no names."""
    if not names:
        raise ConfigError("No class that the scene shows has a name to prompt with. Choose a scene with names.")
    texts = encoder.encode_text([*(f"a {name}" for name in names.values()), *NEGATIVES])
    unit = F.normalize(texts.detach().float(), dim=1)

    def scores(features: Float[Tensor, "place channel"]) -> Float[Tensor, "place class"]:
        cosine = unit @ features.T
        return relevancy(cosine[: -len(NEGATIVES)], cosine[-len(NEGATIVES) :]).T

    return Vocabulary(WORDS, torch.tensor([*names]), scores, scores, _RELEVANT)


def by_own_labels(count: int) -> Vocabulary:
    """Return probabilities of a network's own labels, whose features are their roots."""
    return Vocabulary(OWN, torch.arange(count), torch.square, torch.square)


def by_annotated(some: Annotated) -> tuple[Vocabulary, Vocabulary]:
    """Return cosines to the mean of each class, and linear probes; SceneError if but one class is annotated."""
    if len(some.classes) < 2:
        raise SceneError(
            f"Annotated views show {len(some.classes)} class, and prototypes of two at least are needed to tell "
            "them apart. Choose a scene whose views are annotated."
        )

    def fitted(name: str, fit: Callable[[Tensor, Tensor], Scores]) -> Vocabulary:
        return Vocabulary(name, some.classes, fit(some.of_view, some.labels), fit(some.of_surface, some.labels))

    return fitted(MEANS, _to_means), fitted(PROBE, _to_probes)


def _to_means(features: Float[Tensor, "place channel"], labels: Int[Tensor, " place"]) -> Scores:
    unit = torch.stack([features[labels == one].mean(0) for one in torch.unique(labels)])
    unit = F.normalize(unit, dim=1)
    return lambda asked: asked @ unit.T


def _to_probes(features: Float[Tensor, "place channel"], labels: Int[Tensor, " place"]) -> Scores:
    is_of = (labels[:, None] == torch.unique(labels)).double()
    probe = fitted_probe(features, is_of)
    return lambda asked: probe(asked).float()


def class_ious(guess: Int[Tensor, " place"], truth: Int[Tensor, " place"]) -> dict[int, float]:
    """Return the intersection over union of each class that is there."""
    classes, iou = class_iou(guess, truth)
    return dict(zip(classes.tolist(), iou.tolist(), strict=True))


def mean_by_class(views: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean of each class over the views that show it."""
    found: dict[int, list[float]] = {}
    for one in views:
        for label, value in one.items():
            found.setdefault(label, []).append(value)
    return {label: float(np.mean(values)) for label, values in sorted(found.items())}
