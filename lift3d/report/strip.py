"""What a report opens with: a few views that see the same spots, the plain answers above the lifted ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lift3d.report.gallery import Thumbnail, thumbnail
from lift3d.results.colours import Picture, SceneColours, label_colours, to_bytes
from lift3d.results.evidence.same_spots import SameSpots
from lift3d.results.lifted_scene import LiftedScene

# A legend is read, so it is short: the labels that cover most.
_MOST_LABELS = 16
_SMALL_PX = 120
WIDE = 240


@dataclass(frozen=True, slots=True)
class MarkedPicture:
    """A picture of one view, with the places of the spots on a drawing of it, WIDE wide; ``small`` is for a wall."""

    name: str
    picture: Thumbnail
    small: Thumbnail
    rings: tuple[tuple[float, float], ...]

    @property
    def drawing(self) -> tuple[int, int]:
        """Width and height of the drawing, whatever pixels the picture has."""
        return WIDE, round(WIDE * self.picture.height / self.picture.width)


@dataclass(frozen=True, slots=True)
class Strip:
    """Views side by side, each with its photograph, the plain answer and the lifted ones.

    ``swatches`` has, for each answer, the colour of each spot in each view: where they agree, so do the colours.
    ``legend`` names the colours of labels, ``scale`` says what other colours mean; ``is_hatched``: whether pixels are
    hidden somewhere.
    """

    views: tuple[tuple[str, tuple[MarkedPicture, ...]], ...]
    swatches: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    legend: tuple[tuple[str, str], ...]
    is_hatched: bool = False
    scale: str = ""

    @property
    def size(self) -> int:
        """Characters that the pictures take in a page."""
        return sum(len(one.picture.url) for _, pictures in self.views for one in pictures)


def strip_of(lifters: Mapping[str, LiftedScene], colours: Mapping[str, SceneColours], spots: SameSpots) -> Strip:
    """Return the strip of lifted scenes by what they are called there, and the colours of each operator."""
    views: list[tuple[str, tuple[MarkedPicture, ...]]] = []
    names: list[str] = []
    counts: Counter[int] = Counter()
    said: dict[str, list[list[str]]] = {}
    for number, target in enumerate(spots.views):
        drawn = _drawn(lifters, colours, target)
        names = [name for name in drawn if name != "photograph"]
        views.append((target, tuple(_marked(name, picture, spots.uv[number]) for name, picture in drawn.items())))
        for name in names:
            said.setdefault(name, []).append(_colours_at(drawn[name], spots.uv[number]))
        counts.update(_labels(lifters, target))
    whole = [name for name in names if len(said[name]) == len(views) and said[name][0]]
    swatches = tuple((name, tuple(zip(*said[name], strict=True))) for name in whole)
    first = next(iter(lifters.values()))
    frames = [frame for target in spots.views if (frame := first.frame(target))]
    is_hatched = not all(bool(frame.is_valid.all()) for frame in frames)
    scale = _scale(lifters, colours, spots.views[-1:])
    return Strip(tuple(views), swatches, _legend(counts, first.label_names), is_hatched, scale)


def _drawn(lifters: Mapping[str, LiftedScene], colours: Mapping[str, SceneColours], target: str) -> dict[str, Picture]:
    first, *others = lifters.values()
    found: dict[str, Picture | None] = {}
    shown: set[str] = set()
    for name, one in lifters.items():
        if target not in one.targets:
            continue
        drawn = one.pictures(target, colours[one.operator], ("image", "2D", "lifted"))
        found.setdefault("photograph", drawn["image"])
        if one.operator not in shown:
            found["2D" if all(one.operator == first.operator for one in others) else f"2D {one.operator}"] = drawn["2D"]
        shown.add(one.operator)
        found[name] = drawn["lifted"]
    return {name: picture for name, picture in found.items() if picture is not None}


def _marked(name: str, picture: Picture, uv: np.ndarray) -> MarkedPicture:
    made = thumbnail(picture)
    height = WIDE * made.height / made.width
    rings = tuple((round(float(u) * WIDE, 1), round(float(v) * height, 1)) for u, v in uv)
    # Where nothing scales it, a picture of few cells would be a stamp.
    times = max(1, _SMALL_PX // max(picture.shape[:2]))
    small = thumbnail(picture.repeat(times, axis=0).repeat(times, axis=1), _SMALL_PX)
    return MarkedPicture(name, made, small, rings)


def _colours_at(picture: Picture, uv: np.ndarray) -> list[str]:
    pixels = to_bytes(picture)
    height, width = pixels.shape[:2]
    places = [(min(int(v * height), height - 1), min(int(u * width), width - 1)) for u, v in uv]
    return ["#" + bytes(pixels[row, col]).hex() for row, col in places]


def _labels(lifters: Mapping[str, LiftedScene], target: str) -> Mapping[int, int]:
    """Return how many pixels each label has in the answers of a view; none of answers that are no labels."""
    found: Counter[int] = Counter()
    for one in lifters.values():
        for view in (one.plain(target), one.view(target) if target in one.targets else None):
            if view is None or view.prediction.kind not in ("labels", "masks"):
                continue
            values = view.prediction.values
            labels = values if view.prediction.kind == "labels" else values.argmax(0)
            ids, counts = np.unique(labels[view.prediction.is_valid].numpy(), return_counts=True)
            found.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
    return found


def _scale(lifters: Mapping[str, LiftedScene], colours: Mapping[str, SceneColours], views: Sequence[str]) -> str:
    """Return what colours of features or of scalars mean; nothing where they are pictures or labels."""
    kinds = {one.view(view).prediction.kind for one in lifters.values() for view in views if view in one.targets}
    if kinds == {"embedding"}:
        return "Colours: the three main directions of the features, the same for all views; alike is alike."
    limits = {colours[one.operator].limits for one in lifters.values()}
    if kinds != {"scalar"} or len(limits) != 1:
        return ""
    ((low, high),) = limits
    return f"Colours: {low:.3g} and less is dark, {high:.3g} and more is bright, in all views."


def _legend(counts: Counter[int], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    labels = sorted(label for label, _ in counts.most_common(_MOST_LABELS) if label >= 0)
    colours = ["#" + bytes(one).hex() for one in to_bytes(label_colours(labels))]
    words = [names[label] if label < len(names) and names[label] else f"class {label}" for label in labels]
    return tuple(zip(colours, words, strict=True))
