"""The figures of ``ensemble`` as Markdown, and what is named at a few views as a picture."""

from collections.abc import Sequence
from pathlib import Path

import torch

from lift3d.bench.ensemble import ANCHORED, DISTILLED, EITHER, ENSEMBLE, FLOOR, FUSED, EnsembleFigures, Judge
from lift3d.bench.ensemble_measures import MEANS, OWN, PROBE, WORDS
from lift3d.bench.pages import bracketed, filled_head, markdown_table, number
from lift3d.config import Recipe
from lift3d.domain.records import RAW2D
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.results.colours import label_picture
from lift3d.results.picture_rows import spread
from lift3d.results.pictures import Sheet
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.surface.shape import NEIGHBOURS
from lift3d.tables.rendering import NOTHING
from lift3d.training.distill.field import DistilSettings
from lift3d.training.distill.scene import MOST_POINTS

HEAD = """# 2D and 3D together

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

OpenScene's ensemble on the scene's surface. `{fused}` is the mean of what the views say at points of the surface,
{points} at most; `{distilled}` is what a network of one hidden layer of {width} says of the same points, of 3D alone:
height, facing, mean colour, and their means, spreads and the shape among {neighbours} neighbours, but not the place. It
learns from the fused features of this one scene, by 1 − cos in {steps} steps, without labels. `{ensemble}` believes,
per point, the branch whose highest score is higher. `{raw2d}` is the operator on the view itself, `{anchored}` the
default lifter, which reads crisper features at the pixels themselves, `{floor}` the commonest class everywhere,
`{either}` the ceiling of any choice between the branches. All views are sources. mIoU is over the classes that a view
has, of pixels that are annotated and stand on the surface, mean over views; brackets are 95 % intervals of the paired
bootstrap over views.

- **{words}**: relevancy (LERF) to "a NAME" of the classes that the scene shows; no more than 0.5 names nothing.
- **{own}**: probabilities of the network's labels; the branches are means of their roots, which are unit vectors.
- **{means}**, **{probe}**: prototypes (cosine), or ridge regression, from fused features at annotated pixels of every
  second view, for both branches; judged on the other views, then the other way round. Those of `{raw2d}` are of its own
  features. Both halves show the same things, so that probes come near their ceiling.

The aim is an ensemble above both branches; {missed} marks what is not above both, {unsure} what is, but not by its
whole interval. The network was chosen on kitchen with {means} and {probe}, and on the computed scene of seed
9000; other rows had no say. One that fits closer is better on its own, and the ensemble gains less over it.
"""
_CAPTION = (
    "Views of a computed scene, the classes that they show, and what each branch and their ensemble name by words."
)
_MISSED, _UNSURE = "✗", "≈"
_ROWS = (FLOOR, RAW2D, ANCHORED, FUSED, DISTILLED, ENSEMBLE, EITHER)
_DRAWN_VIEWS = 3


def page(rows: Sequence[EnsembleFigures], picture: str = "") -> str:
    """Return the figures as Markdown; a picture is the name of a file beside the page."""
    settings = DistilSettings()
    head = filled_head(
        HEAD, "\n".join(dict.fromkeys(f"{row.command}  # {row.date}" for row in rows)),
        fused=FUSED, distilled=DISTILLED, raw2d=RAW2D, anchored=ANCHORED, ensemble=ENSEMBLE, floor=FLOOR, either=EITHER,
        words=WORDS, own=OWN, means=MEANS, probe=PROBE, missed=_MISSED, unsure=_UNSURE, points=f"{MOST_POINTS:,}",
        width=settings.width, steps=settings.steps, neighbours=", ".join(map(str, NEIGHBOURS)),
    )  # fmt: skip
    shown = [f"![{_CAPTION}]({picture})\n\n{_CAPTION}"] if picture else []
    glance = markdown_table(
        ["scene", "operator", "named by", RAW2D, ANCHORED, FUSED, DISTILLED, ENSEMBLE, f"− {FUSED}", f"− {DISTILLED}"],
        [
            [row.scene, f"{row.operator} ({row.height} px)", row.vocabulary,
             *(number(row.means[name]) for name in (RAW2D, ANCHORED, FUSED, DISTILLED)),
             f"{number(row.means[ENSEMBLE])} {verdict(row)}".rstrip(),
             *(_gain(row, ENSEMBLE, over) for over in (FUSED, DISTILLED))]
            for row in rows
        ],
        label_count=3,
    )  # fmt: skip
    return "\n\n".join([head.rstrip(), *shown, "## mIoU at a glance", glance, *(_section(row) for row in rows)]) + "\n"


def verdict(row: EnsembleFigures) -> str:
    """Return whether an ensemble misses its aim, or reaches it without being sure; nothing if it is."""
    gains = [row.gains[ENSEMBLE][over] for over in (FUSED, DISTILLED)]
    return _MISSED if min(one.mean for one in gains) <= 0 else _UNSURE if min(one.low for one in gains) <= 0 else ""


def _section(row: EnsembleFigures) -> str:
    table = markdown_table(
        ["row", "mIoU", f"− {FUSED}", f"− {DISTILLED}", f"− {RAW2D}", *row.by_class],
        [
            [name, number(row.means[name]), *(_gain(row, name, over) for over in (FUSED, DISTILLED, RAW2D)),
             *(number(own[name]) for own in row.by_class.values())]
            for name in _ROWS
        ],
    )  # fmt: skip
    about = (
        f"{row.views} views, {row.points:,} points, surface from {row.geometry}; the branches are {row.off:.3f} apart "
        f"(1 − cos), and {DISTILLED} is believed at {row.chosen:.0%} of the points."
    )
    return "\n\n".join([f"## {row.scene}, {row.operator} ({row.height} px), {row.vocabulary}", about, table])


def _gain(row: EnsembleFigures, name: str, over: str) -> str:
    found = row.gains.get(name, {}).get(over)
    return NOTHING if found is None else bracketed(found)


def draw(recipe: Recipe, store: str, out: Path, settings: DistilSettings | None = None) -> None:
    """Write a few views of a recipe's first scene, and what its first operator names in them, as one picture."""
    inputs = SceneInputs(read_scene(recipe.scenes[0]), open_store(store, create=True), recipe.image_height)
    inputs.decode_all(quiet)
    judge = Judge(inputs, Models.of(recipe).operators[0], recipe, settings)
    ids = judge.branches.surface.ids
    vocabulary = judge.vocabularies(judge.annotated([*range(0, len(ids), 2)]))[0]
    views = [judge.view(ids.index(name)) for name in spread(ids[1::2], _DRAWN_VIEWS)]
    rows = (RAW2D, FUSED, DISTILLED, ENSEMBLE)
    figure = Sheet(figsize=(2.4 * (2 + len(rows)), 2 * len(views)), layout="constrained")
    axes = figure.subplots(len(views), 2 + len(rows), squeeze=False)
    for line, view in zip(axes, views, strict=True):
        some = torch.nonzero(torch.isfinite(view.xyz).all(1))[:, 0]
        named = judge.on_view([(vocabulary, judge.on_points(vocabulary))], view, some)[vocabulary.name]
        line[0].imshow(inputs.frame(view.name).image.permute(1, 2, 0).numpy())
        for axis, labels in zip(line[1:], (view.labels[some], *(named[row] for row in rows)), strict=True):
            whole = torch.full((len(view.uv),), UNKNOWN_LABEL).index_copy(0, some, labels)
            axis.imshow(label_picture(whole.reshape(view.size)), interpolation="nearest")
    for axis, title in zip(axes[0], ("view", "classes", *rows), strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(out), dpi=72, pil_kwargs={"quality": 80})
