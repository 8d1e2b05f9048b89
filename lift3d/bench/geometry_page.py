"""The page of ``lift3d bench geometry``: scenes, what confidence means, and what each part of the sweep gives."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lift3d.bench.geometry import GeometryRow, measure
from lift3d.bench.pages import filled_head, markdown_table
from lift3d.bench.patchmatchnet import PatchmatchNet
from lift3d.bench.patchmatchnet_scene import PatchmatchNetGeometry
from lift3d.surface.catalog import build_geometry
from lift3d.surface.neighbours import FUSED, MATCHED, AngleChoice
from lift3d.surface.protocol import GeometryMethod
from lift3d.surface.sweep import SweepConfig, SweepGeometry

_HEAD = """# The scene's surface

Generated; do not edit. Made by

```
{command}
```

on {date} with lift3d {version}, image height {height}. Geometry comes from photographs and poses alone: sensors' depth
is hidden, and where a reader takes the range of depth from it, the range is a guess from the cameras. Errors are
|z − z'| / z' over **all** cells of 2×2 pixels that have a reference, claimed or not: the sensor's or computed depth,
else points triangulated from at least 5° apart. `held out`: every 8th view is left out, and what the others show is
found without it. `patchmatchnet` is the published network (Wang et al., CVPR 2021), trained on DTU, with the neighbours
and ranges that its authors take from sparse points, and `patchmatchnet_fused` what three neighbours confirm of it.
Seconds are of one thread, everything but sparse points included.

"""

_CONFIDENCE = """

## What confidence means

Cells in eight groups of equal size, least sure first: mean confidence, and median error.

"""

_PARTS = """

## What each part gives

On the first scene, all views.

"""

# What each constant is when a part is left out or changed.
_PARTS_LEFT_OUT = {
    "as shipped": SweepConfig(),
    "no fusion: each view alone": SweepConfig(fused=replace(FUSED, count=0)),
    "fused with 8 views": SweepConfig(fused=replace(FUSED, count=8)),
    "fused with 48 views": SweepConfig(fused=replace(FUSED, count=48)),
    "matched with 4 views": SweepConfig(matched=replace(MATCHED, count=4)),
    "matched with 16 views": SweepConfig(matched=replace(MATCHED, count=16)),
    "matched at 5° to 20°": SweepConfig(matched=AngleChoice(5.0, 10.0, 20.0, 8)),
    "wider windows": SweepConfig(window_radius=2),
    "no smoothness along the image": SweepConfig(jump_penalties=(0.0, 0.0)),
    "cells of 4 pixels": SweepConfig(stride_px=4.0),
}

_TRIED = """

## What was tried and left out

On `kitchen`, while the method was being built (median error, share of cells within 3 %):

- Costs per view, before fusion: colours and gradients of `plane_sweep` 4.3 %, 39 %; zero-mean normalised correlation of
  3×3 and 5×5 windows 3.7 %, 43 %; brightness normalised in its own window and compared by absolute differences, on the
  cells' grid 3.4 %, 46 %, and twice as fine 3.2 %, 48 %, at half the time of correlation. A second, coarser window,
  chroma or plain brightness beside it gain nothing.
- Filling of cells with few votes, by edge-aware least squares of first or second order in disparity: 2.9 to 3.2 % and
  worse, everywhere; what views guess there is better than what their surroundings say.
- A second sweep of nine planes around the fused depth, with 8, 16 or 24 views at wider angles: 2.2 to 2.3 % and worse.
  One view's photographs are noisier than many views' votes.
- A second round of fusion: 2.17 to 2.13 %. Images of twice the height, with all windows twice as wide: no gain.
- Sparse tracks as anchors: their own median error against the sensor is 1.8 %, and finding them takes 0.6 s per view.
- Adjusting the poses to the tracks first: no gain at angles above 8°, and the scale drifts.
"""


def measured(
    locations: Sequence[str], methods: Sequence[str], image_height: int, holdout: int, network: Path | None = None
) -> tuple[list[GeometryRow], list[GeometryRow]]:
    """Return rows of all scenes, with all views and with some held out; and rows of the sweep's parts on the first.

    PatchmatchNet is beside them, with all views, if there are weights of it.
    """
    rows = []
    beside: list[GeometryMethod] = []
    if network is not None:
        loaded = PatchmatchNet.load(network)
        beside = [PatchmatchNetGeometry(loaded, is_fused=is_fused) for is_fused in (False, True)]
    for location in locations:
        built = [build_geometry(name) for name in methods]
        rows += measure(location, [*built, *beside], image_height, None)
        rows += [
            replace(row, method=f"{row.method}, held out") for row in measure(location, built, image_height, holdout)
        ]
    parts = [
        replace(measure(locations[0], [SweepGeometry(config)], image_height, None)[0], method=name)
        for name, config in _PARTS_LEFT_OUT.items()
    ]
    return rows, parts


def page(
    locations: Sequence[str],
    found: tuple[list[GeometryRow], list[GeometryRow]],
    image_height: int,
    network: Path | None = None,
) -> str:
    """Return the figures as Markdown."""
    rows, parts = found
    places = [f"CAPTURES/{Path(one).name}" if Path(one).is_dir() else shlex.quote(one) for one in locations]
    command = " ".join(["lift3d bench geometry", *places, "--image-height", str(image_height)])
    command += " --patchmatchnet WEIGHTS" if network else ""
    groups = markdown_table(
        ["scene", "method", *map(str, range(1, 9))],
        [[row.scene, row.method, *(f"{sure:.2f}: {_percent(error, 1)}" for sure, error in row.groups)] for row in rows],
        2,
    )
    return "".join(
        [
            filled_head(_HEAD, command, height=image_height),
            table(rows),
            _CONFIDENCE,
            groups,
            _PARTS,
            table(parts),
            _TRIED,
        ]
    )


def table(rows: Sequence[GeometryRow]) -> str:
    """Return one line per row."""
    columns = [
        "scene",
        "method",
        "views",
        "reference",
        "median ↓",
        "< 1 % ↑",
        "< 3 % ↑",
        "< 10 % ↑",
        "claimed",
        "s / view",
    ]
    return markdown_table(
        columns,
        [
            [row.scene, row.method, str(row.views), row.reference, _percent(row.median, 2)]
            + [_percent(share, 1) for share in (*row.within, row.claimed)]
            + [f"{row.cpu_s:.2f}"]
            for row in rows
        ],
        2,
    )


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"
