"""The page of agreement between views: what is left of the 2D model's disagreement at a glance, then every figure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lift3d.bench.consistency import TRUTH, OperatorFigures
from lift3d.bench.pages import filled_head, markdown_table, number
from lift3d.bench.ratios import Figure
from lift3d.domain.records import RAW2D
from lift3d.tables.rendering import NOTHING

HEAD = """# Agreement between views

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

Runs as `lift3d run` makes them; all valid pixels count, holes as they were filled. `heldout-N`: every N-th view is a
target and no source of anything; `refine-N`: every N-th view is a target of a run in which each view is its own source,
too, which is the default of `lift3d run`. Brackets are 95 % intervals of the bootstrap over views or pairs of views.

- **left**: of the plain 2D answers' disagreement, what remains at long range (baseline angles of 15° to 45°) and short
  range (less than 15°), after the floor of the warp itself is taken from both. Blur agrees for free, so it is read with
- **sharpness**: contrast relative to the plain answer; and, for pictures, with
- **Gram**: distance of Gram matrices to the plain pictures of other views, over that among those; with
- **seam**: how much larger steps across borders of owners are than elsewhere, less the same of the plain picture.
- **truth**: mIoU of labels, PSNR of pictures that mean to restore the photograph; the plain answer's, the lifted one's,
  and the gain.

{missed} marks what misses its aim: left {aims};
sharpness of pictures 0.9 to 1.1, at least 0.9 without depth; Gram at most 1.15; coverage at least 0.95. Nearness to the
view's *own* 2D answer stands below, last: it is agreement with one noisy witness, one of those that disagree.
"""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should lie between."""

    low: float = -math.inf
    high: float = math.inf

    def is_met_by(self, figure: Figure) -> bool:
        """Whether a figure, as it is shown, lies there."""
        return math.isnan(figure.value) or self.low <= round(figure.value, 3) <= self.high


# What may be left at long range: of runs with depth, and from photographs alone.
_LEFT = {"refine": (0.15, 0.40), "image": (0.12, 0.33), "": (0.15, 0.35)}
_SHORT = 0.15
_MISSED = "✗"
_WORDS = "at most 12 % of pictures and 15 % of the rest (33 % and 35 % from photographs alone; `refine` 15 % and 40 %)"


def aims_of(row: OperatorFigures) -> dict[str, Aim]:
    """Return what the figures of an operator should be."""
    has_depth, is_refined = row.geometry == "sensor", row.protocol.startswith("refine")
    limits = _LEFT["refine" if is_refined else row.kind if row.kind in _LEFT else ""]
    aims = {"left_long": Aim(high=limits[0 if has_depth else 1]), "coverage": Aim(low=0.95)}
    if has_depth and row.kind == "image":
        aims["left_short"] = Aim(high=_SHORT)
    if row.kind in ("image", "embedding"):
        aims["sharpness"] = Aim(0.9, 1.1 if has_depth and row.kind == "image" else math.inf)
    if row.kind == "image":
        aims["gram"] = Aim(high=1.15)
    return aims


def page(rows: Sequence[OperatorFigures]) -> str:
    """Return the figures as Markdown: the commands, all at a glance, then a table per operator."""
    commands = "\n".join(dict.fromkeys(f"{row.command}  # {row.date}" for row in rows))
    head = filled_head(HEAD, commands, aims=_WORDS, missed=_MISSED)
    glance = markdown_table(
        ["scene", "surface", "targets", "operator", "lifter", *(one.title for one in _GLANCE)],
        [
            [row.scene, row.geometry, row.protocol, f"{row.operator} ({row.height} px)", lifter,
             *(_marked(row, lifter, one) for one in _GLANCE)]
            for row in rows
            for lifter in row.lifters
            if lifter != RAW2D
        ],
        label_count=5,
    )  # fmt: skip
    return "\n\n".join([head, "## At a glance", glance, *(_section(row) for row in rows)]) + "\n"


@dataclass(frozen=True, slots=True)
class _Column:
    key: str
    title: str
    text: Callable[[Figure], str]


def _share(figure: Figure) -> str:
    if math.isnan(figure.value):
        return NOTHING
    return f"{figure.value:.1%}" + ("" if math.isnan(figure.low) else f" [{figure.low:.0%}, {figure.high:.0%}]")


def _plain(figure: Figure) -> str:
    return NOTHING if math.isnan(figure.value) else number(figure.value)


def _signed(figure: Figure) -> str:
    if math.isnan(figure.value):
        return NOTHING
    return f"{figure.value:+.3f}" + ("" if math.isnan(figure.low) else f" [{figure.low:+.3f}, {figure.high:+.3f}]")


_GLANCE = (
    _Column("left_long", "left, 15–45° ↓", _share),
    _Column("left_short", "left, < 15° ↓", _share),
    _Column("sharpness", "sharpness", _plain),
    _Column("gram", "Gram ↓", _plain),
    _Column("seam", "seam ↓", _signed),
    _Column("truth", "truth ↑", _plain),
    _Column("coverage", "coverage", _plain),
)
_DETAILS = (
    _Column("warp_error_long", "warp 15–45° ↓", _plain),
    _Column("warp_floor_long", "floor", _plain),
    _Column("left_long", "left ↓", _share),
    _Column("warp_error_short", "warp < 15° ↓", _plain),
    _Column("warp_floor_short", "floor", _plain),
    _Column("left_short", "left ↓", _share),
    _Column("sharpness", "sharpness", _plain),
    _Column("gram", "Gram ↓", _plain),
    _Column("seam", "seam ↓", _signed),
    _Column("miou", "mIoU ↑", _plain),
    _Column("psnr", "PSNR true ↑", _plain),
    _Column("ssim", "SSIM true ↑", _plain),
    _Column("coverage", "coverage", _plain),
    _Column("psnr_2d", "PSNR own 2D", _plain),
    _Column("label_agreement_2d", "labels = own 2D", _plain),
    _Column("embedding_cosine_2d", "cos own 2D", _plain),
)


def _marked(row: OperatorFigures, lifter: str, column: _Column) -> str:
    """Return a figure at a glance, marked if it misses its aim."""
    own, plain = row.lifters[lifter], row.lifters[RAW2D]
    if column.key == "truth":
        name = next((one for one in ("miou", "psnr") if one in own), "")
        return f"{_plain(plain[name])} → {_plain(own[name])}, {_signed(own[f'{name}_gain'])}" if name else NOTHING
    if column.key not in own or (column.key == "sharpness" and row.kind == "labels"):
        return NOTHING
    aim, text = aims_of(row).get(column.key, Aim()), column.text(own[column.key])
    return text if aim.is_met_by(own[column.key]) else f"{text} {_MISSED}"


def _section(row: OperatorFigures) -> str:
    columns = [one for one in _DETAILS if any(one.key in own for own in row.lifters.values())]
    table = markdown_table(
        ["lifter", *(one.title for one in columns)],
        [
            [lifter, *(one.text(own[one.key]) if one.key in own else NOTHING for one in columns)]
            for lifter, own in row.lifters.items()
        ],
    )
    gains = [
        f"- {metric}: {lifter} − raw2d = {_signed(own[f'{metric}_gain'])}"
        for metric in TRUTH
        for lifter, own in row.lifters.items()
        if lifter != RAW2D and f"{metric}_gain" in own
    ]
    title = f"## {row.scene}, {row.geometry}, {row.operator} ({row.protocol}, {row.height} px)"
    return "\n".join([title, "", table, *(["", *gains] if gains else [])])
