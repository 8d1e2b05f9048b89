"""The page of ``lift3d bench calibration``: constants that fit, figures of every scene, and the reliability diagram."""

import shlex
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from lift3d.bench.calibration import SHIPPED, Kind, Reliability, Samples, fitted, samples
from lift3d.bench.pages import filled_head, markdown_table
from lift3d.config import Recipe
from lift3d.results.pictures import Sheet
from lift3d.surface.confidence import Calibration

_HEAD = """# How sure, and how right

Generated; do not edit. Made by

```
{command}
```

on {date} with lift3d {version}, image height {height}, `heldout-{holdout}`: surface and answers come from the other
views. Of every cell of a held-out view that is covered and can be judged: confidence as it is stored, and whether it is
right. *Depth*: within 3 % of the computed one or the sensor's, which `sweep` never sees. *Labels*: the annotated one.
*Features*: the cosine to the network's own on the true view, a share of being right. `ECE` is the expected calibration
error over ten bins of equal width. `skill` is 1 − Brier score / that of saying the mean always: what confidence tells
of single cells; 0 is nothing. Constants were fitted on the computed scenes; the others show how far they carry.

![Reliability: confidence across, share right up.](pictures/calibration.svg)

"""
# A share of fewer cells than this is not drawn.
_FEWEST_DRAWN = 30
_FIT = """
## Constants

Log odds of being right are `offset + agreement · logit(agreement) + place · logit(evidence of the place)`: as they are
shipped, and as this command fits them.

"""


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """What ``lift3d bench calibration`` measured: scenes that constants are fitted on, others, and what fits best."""

    fitted_on: tuple[Reliability, ...]
    others: tuple[Reliability, ...]
    constants: dict[Kind, Calibration]


def measured(computed: Recipe, captured: Recipe | None, methods: Sequence[str], store: str) -> CalibrationFigures:
    """Ask all scenes of both recipes, with every method of geometry."""

    def of(recipe: Recipe | None) -> list[Samples]:
        places = [(location, method) for location in recipe.scenes for method in methods] if recipe else []
        return [one for location, method in places if recipe for one in samples(location, method, recipe, store)]

    own, others = of(computed), of(captured)
    constants = dict(fitted(own))
    return CalibrationFigures(tuple(map(Reliability.of, own)), tuple(map(Reliability.of, others)), constants)


def page(figures: CalibrationFigures, computed: Recipe, captured: Recipe | None) -> str:
    """Return the figures as Markdown."""
    places = [f"CAPTURES/{Path(one).name}" for one in (captured.scenes if captured else ())]
    own = [("operator", name) for name in (captured.operators if captured else ())]
    named = [*own, *(("plugin", name) for name in (captured.plugins if captured else ()))]
    options = [f"--{kind} {shlex.quote(name)}" for kind, name in named]
    command = " ".join(["lift3d bench calibration", *places, *options])
    head = filled_head(_HEAD, command, height=computed.image_height, holdout=computed.holdout)
    rows = [_row(one, "fitted on") for one in figures.fitted_on] + [_row(one, "other") for one in figures.others]
    columns = ["scene", "geometry", "operator", "of", "", "cells", "confidence", "right", "ECE ↓", "skill ↑"]
    constants = [
        [kind, *(f"{a:.2f} ({b:.2f})" for a, b in zip(astuple(SHIPPED[kind]), astuple(best), strict=True))]
        for kind, best in figures.constants.items()
    ]
    fit = markdown_table(["of", "offset (fit)", "agreement (fit)", "place (fit)"], constants)
    return "".join([head, markdown_table(columns, rows, 5), "\n", _FIT, fit, "\n"])


def _row(one: Reliability, role: str) -> list[str]:
    names = [one.scene, one.method, one.operator, one.kind, role, str(one.cells)]
    return [*names, *(f"{value:.3f}" for value in (one.confidence, one.right, one.error, one.skill))]


def draw(figures: CalibrationFigures, out: Path) -> None:
    """Write the reliability diagram as SVG: a panel per kind, a line per scene; dotted where constants were fitted."""
    figure = Sheet(figsize=(10, 3.9), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(SHIPPED), sharey=True), SHIPPED, strict=True):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        for rows, style in ((figures.fitted_on, ":"), (figures.others, "-")):
            for one in (one for one in rows if one.kind == kind):
                drawn = [found for found in one.bins if found[2] >= _FEWEST_DRAWN]
                label = f"{one.scene.split('-')[0]}, {one.method}" + (f", {one.operator}" if kind != "depth" else "")
                axes.plot(
                    [sure for sure, _, _ in drawn],
                    [right for _, right, _ in drawn],
                    style,
                    marker=".",
                    linewidth=1.0,
                    label=label,
                )
        axes.set(title=kind, xlabel="confidence", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(fontsize=5, loc="lower right")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(out), format="svg", metadata={"Date": None})
