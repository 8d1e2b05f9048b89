"""The figures of the oracle as text: one table per operator, and one that says where features are lost."""

from collections.abc import Mapping, Sequence
from typing import Any

from lift3d.bench.oracle_rules import RULES

Figures = Mapping[str, Mapping[str, float | None]]

HEAD = """## Oracle: what weights could reach

Held-out views ({protocol}, image height {height}, {sources} sources, lifter `{lifter}`, {cells} seeded cells per target
that some source sees; means over targets). A rule below may look at the true view's own features; it chooses weights
over the raw source features at the lifter's taps by least squares, and is a bound, not a method. With few channels a
fit owes much to its freedom: what weights fitted to half of the channels do for the other half (`…_across`), or weights
fitted around a cell for the cell itself (`views_around`), is free of that.

{rules}

nMSE is the squared error over that of the mean feature; with three channels every cell can be matched by chance, so
read `views_window` and `views_around` there. Figures of rules that need depth are of the cells whose true depth is
known and seen by a source, beside those of the other rules on the same cells.
"""
LOSS_HEAD = """### {scene}: where it is lost, {taps} taps

1 − cos (nMSE for pictures, which choose views over 3×3 cells). `gap` = blended − best convex; `carries over` is the
share of it that weights keep which were fitted elsewhere (the other half of the channels or the cells around, whichever
keeps more). The gap is made of the choice of `views` and of `depth` along the ray. Beyond it, `surface` is what the
true surface as further candidates gains (where depth is known), `shift` what source cells around the taps gain, and the
rest is what no convex weights reach: context of the encoder, light, position.
"""
FIGURES = {"cosine_distance": ("1−cos", 4), "nmse": ("nMSE", 4), "psnr": ("PSNR dB", 2)}


def page(figures: Mapping[str, Any]) -> str:
    """Return a markdown section of what ``oracle.run`` found."""
    recipe = figures["recipe"]
    shown = [rule for rule in RULES if any(_has(scene, rule) for scene in figures["scenes"])]
    head = HEAD.format(
        protocol=figures["protocol"],
        height=recipe["image_height"],
        sources=recipe["sources"],
        lifter=recipe["lifters"][0],
        cells=figures["cells_per_target"],
        rules="\n".join(f"- `{rule}`: {RULES[rule]}" for rule in shown),
    )
    taps = str(figures["explained_tap_count"])
    return "\n".join([head, *(_scene(scene, taps) for scene in figures["scenes"])])


def losses(operator: Mapping[str, Any], taps: str) -> dict[str, Any]:
    """Return where one operator's features are lost: each number in the figure that ``figure`` names, or None."""
    rules, known = operator["taps"][taps]["rules"], operator["taps"][taps]["rules_known_depth"]
    is_picture = "psnr" in rules["blended"]
    figure = "nmse" if is_picture else "cosine_distance"
    views, best = ("views_window", "views_window") if is_picture else ("views", "convex")
    honest = [rule for rule in ("views_around", "convex_across") if rule in rules]

    def at(rule: str, where: Figures = rules) -> float | None:
        return where[rule][figure] if rule in where else None

    gap = _less(at("blended"), at(best))
    carried = max((gain for rule in honest if (gain := _less(at("blended"), at(rule))) is not None), default=None)
    return {
        "figure": figure,
        "blended": at("blended"),
        "best": at(best),
        "gap": gap,
        "carries_over": carried / gap if gap and carried is not None else None,
        "views": _less(at("blended"), at(views)),
        "depth": None if is_picture else _less(at(views), at(best)),
        "surface": None if is_picture else _less(at("convex", known), at("convex_true", known)),
        "shift": None if is_picture else _less(at("convex"), at("convex_neighbours")),
        "reencoded": at("reencoded"),
    }


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _scene(scene: Mapping[str, Any], taps: str) -> str:
    if not scene["operators"]:
        return f"### {scene['scene']}\n\nNothing to compare: {scene['skipped']}\n"
    rows = [_loss_row(operator, taps) for operator in scene["operators"]]
    columns = ["operator", "blended", "best", "gap", "carries over", "views", "depth", "surface", "shift", "reencoded"]
    parts = [LOSS_HEAD.format(scene=scene["scene"], taps=taps), _table(columns, rows)]
    for operator in scene["operators"]:
        seen = " / ".join(f"{at['taps_seen']:.1f}" for at in operator["taps"].values())
        parts += [
            f"\n### {scene['scene']} · {operator['operator']}\n",
            f"{operator['channels']} channels at stride {operator['stride_px']:.3g}, {len(operator['targets'])} "
            f"targets; {operator['covered_share']:.1%} of the valid cells are covered; taps with weight: {seen}.\n",
            _rules_table(operator, "rules"),
        ]
        if operator["known_depth_share"] > 0:
            known = f"\nThe {operator['known_depth_share']:.0%} of the cells whose true depth is known and seen:\n"
            parts += [known, _rules_table(operator, "rules_known_depth", taps)]
    if scene["skipped"]:
        parts.append("\nSkipped: " + "; ".join(f"{target} ({reason})" for target, reason in scene["skipped"]))
    return "\n".join(parts) + "\n"


def _loss_row(operator: Mapping[str, Any], taps: str) -> list[str]:
    found = losses(operator, taps)
    shown = [_number(found[name], 4) for name in ("blended", "best", "gap")]
    share = "–" if found["carries_over"] is None else f"{found['carries_over']:.0%}"
    rest = [_number(found[name], 4) for name in ("views", "depth", "surface", "shift", "reencoded")]
    return [operator["operator"], *shown, share, *rest]


def _rules_table(operator: Mapping[str, Any], block: str, only: str | None = None) -> str:
    of_taps = {taps: at[block] for taps, at in operator["taps"].items() if only in (None, taps)}
    present = [rule for rule in RULES if any(rule in rules for rules in of_taps.values())]
    names = [name for name in FIGURES if any(name in one for rules in of_taps.values() for one in rules.values())]
    # The picture's 1 − cos says little: all colours point much the same way.
    names = names[1:] if "psnr" in names else names
    columns = ["rule", *(f"{FIGURES[name][0]} @{taps}" for name in names for taps in of_taps)]

    def numbers(rule: str) -> list[str]:
        return [
            _number(rules.get(rule, {}).get(name), FIGURES[name][1]) for name in names for rules in of_taps.values()
        ]

    return _table(columns, [[rule, *numbers(rule)] for rule in present])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first, *others = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]

    def line(name: str, numbers: Sequence[str]) -> str:
        cells = [number.rjust(width) for number, width in zip(numbers, others, strict=True)]
        return "| " + " | ".join([name.ljust(first), *cells]) + " |"

    rule = line("-" * first, ["-" * (width - 1) + ":" for width in others])
    return "\n".join([line(columns[0], columns[1:]), rule, *(line(row[0], row[1:]) for row in rows)])


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _has(scene: Mapping[str, Any], rule: str) -> bool:
    return any(
        rule in at[block]
        for operator in scene["operators"]
        for at in operator["taps"].values()
        for block in ("rules", "rules_known_depth")
    )
