"""What masks are called: by hand, by words asked of them, by what a segmentation says there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.operators.stored_names import build_stored
from lift3d.results.cloud import map_under, read_points
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.scene_masks import SceneMasks
from lift3d.results.query.likeness import similarity
from lift3d.results.query.words import embedded, text_encoder

# Surroundings are named, but not asked about.
IGNORED = ("wall", "floor", "ceiling", "background")
# The labels of the capture itself, as those of an operator.
CAPTURE = "capture"
# A name holds if so much more likely, against the next best, or for such a share of what is labelled.
_SURE, _MAJORITY = 0.6, 0.6
# LERF's temperature: what cosines are times to be logits.
_TEMPERATURE = 10.0


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of masks by id; those whose name is in doubt; words that no mask is called, and where names came from."""

    names: Mapping[int, str]
    source: str
    unsure: frozenset[int] = frozenset()
    missing: tuple[str, ...] = field(default=())


Names = Naming | Mapping[int, str] | Sequence[str] | str | None


def named(masks: SceneMasks, names: Names, ignored: Sequence[str]) -> Naming:
    """Return what masks are called; see ``scene_questions``. Those that are called something ignored have no name."""
    if names is None:
        return Naming({number: f"region {number}" for number in range(len(masks))}, "numbers")
    if isinstance(names, Naming):
        found = names
    elif isinstance(names, Mapping):
        strange = sorted({*names} - {*range(len(masks))})
        if strange:
            raise ConfigError(
                f"No mask has the id {strange[0]}: '{masks.lifted.name}' has masks 0 to {len(masks) - 1}."
            )
        blank = next((number for number, name in names.items() if not name.strip()), None)
        if blank is not None:
            raise ConfigError(f"Mask {blank} is given a name without any letter; expected a word for what it is.")
        found = Naming(dict(names), "given")
    else:
        found = by_labels(masks, names) if isinstance(names, str) else by_words(masks, [*names], ignored)
    kept = {number: name for number, name in found.names.items() if name not in ignored}
    return replace(found, names=kept)


def by_words(masks: SceneMasks, words: Sequence[str], ignored: Sequence[str] = ()) -> Naming:
    """Name each mask by the word that its features are most like, if they are more like it than like "object"."""
    query = masks.lifted.ask().on(masks)
    ids = masks.ids_at(query.cloud.xyz.numpy())
    numbers, first = np.unique(ids, return_index=True)
    return words_of(masks.lifted, dict(zip(numbers.tolist(), query.unit[first], strict=True)), words, ignored)


def words_of(
    lifted: LiftedScene, features: Mapping[int, Float[Tensor, " channel"]], words: Sequence[str], ignored: Sequence[str]
) -> Naming:
    """Name masks of some features; −1 is none."""
    encoder = text_encoder(lifted.operator, lifted.trusted)
    known = list(dict.fromkeys([*words, *ignored]))
    texts = [embedded(encoder, one) for one in known]
    numbers = [number for number in features if number >= 0]
    names, unsure = {}, set()
    if numbers:
        unit = torch.nn.functional.normalize(torch.stack([features[one] for one in numbers]).float(), dim=1)
        cosines = similarity(unit, torch.cat([torch.stack([one[0] for one in texts]), texts[0][1:]])).T
        for number, own in zip(numbers, cosines.tolist(), strict=True):
            best, *others = sorted(range(len(own)), key=own.__getitem__, reverse=True)
            if best < len(known):
                names[number] = known[best]
                odds = 1 / (1 + np.exp(_TEMPERATURE * (own[others[0]] - own[best])))
                unsure |= {number} if odds < _SURE else set()
    missing = tuple(one for one in words if one not in names.values())
    return Naming(names, f"words, {lifted.operator}", frozenset(unsure), missing)


def by_labels(masks: SceneMasks, operator: str) -> Naming:
    """Name each mask by the label that most of its points have, in the best view of each.

    Args:
        masks: The masks.
        operator: A segmentation of the same run, or ``capture``: the labels that the capture came with.
    """
    at_points, names = _labels_at(masks, operator)
    found, unsure = {}, set()
    for number in range(len(masks)):
        votes = Counter(at_points[(masks.ids == number).numpy() & (at_points >= 0)].tolist())
        if votes:
            label, count = votes.most_common(1)[0]
            found[number] = names.get(label, "").strip() or f"class {label}"
            unsure |= {number} if count < _MAJORITY * votes.total() else set()
    return Naming(found, f"labels, {operator}", frozenset(unsure))


def _labels_at(masks: SceneMasks, operator: str) -> tuple[np.ndarray, Mapping[int, str]]:
    lifted = masks.lifted
    cloud = read_points(lifted, masks.surface, masks.points, masks.views)
    if operator == CAPTURE:
        names = lifted.scene.label_names
        frames = (lifted.scene.view(view).load(lifted.recipe.image_height) for view in masks.views)
        maps = [None if one.labels is None else (one.camera, one.labels.numpy()) for one in frames]
    else:
        known = [name for name, _ in lifted.record.pairs]
        if operator not in known:
            raise UnknownNameError.of("segmentation", operator, [*known, CAPTURE])
        spoken = replace(lifted, operator=operator)
        names = dict(enumerate(build_stored(operator, lifted.trusted).spec.label_names))
        views = [spoken.view(view) for view in masks.views]
        if views[0].prediction.kind not in ("labels", "masks"):
            raise ConfigError(
                f"'{operator}' answers with a prediction of kind '{views[0].prediction.kind}', which names nothing; "
                f"expected labels, or '{CAPTURE}' for those that the capture came with."
            )
        maps = [(one.camera, _as_labels(one.prediction.values)) for one in views]
    labels = np.full(len(cloud), -1)
    for number, one in enumerate(maps):
        own = cloud.view == number
        if one is not None:
            labels[own.numpy()] = map_under(one[1], one[0], (), cloud.uv[own])
    if not names or (labels < 0).all():
        raise ConfigError(f"'{operator}' labels no point of the surface of '{lifted.name}' by a class with a name.")
    return labels, names


def _as_labels(values: Tensor) -> np.ndarray:
    return (values if values.ndim == 2 else values.argmax(0)).numpy()
