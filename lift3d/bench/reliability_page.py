"""The figures of ``reliability`` as Markdown, and what was found as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from PIL import Image
from torch import Tensor

from lift3d.bench.pages import bracketed, filled_head, markdown_table, number
from lift3d.bench.reliability import BELIEVED, JUDGED, KNOWN, ReliabilityFigures
from lift3d.pipeline.reliability import read_contradiction
from lift3d.pipeline.surface import read_surface
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.surface.reliability import CONTRADICTED
from lift3d.tables.rendering import NOTHING

HEAD = """# What passes through

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

Into a share of the source views something is pasted that is no part of the scene: a cut-out of a photograph, as wide as
0.8 of the image's shorter side, each time elsewhere (`distractors:share=0.2:CAPTURE` is such a capture); in computed
scenes a thing really stands before the camera (`procedural:room?movers=0.2`). Held-out views are as they were taken.
`{believed}` is the default run, `{judged}` the same with `--reliability`: where a view's features differ from what all
other views say together, by {contradicted} of what unrelated places differ by more than these differ themselves, it is
not asked.
`{known}` masks what is pasted: what could be had. PSNR of held-out photographs in dB; the gain's brackets are its 95 %
interval over views; disagreement is what held-out views differ by at long range, lower is better.

![Views with something before them, how far each contradicts others, and what is left](pictures/passers-by.webp)

Aims: +1.5 dB at 20 %, no more than 0.1 dB lost where nothing is pasted; {missed} marks what misses.

## Passers-by

"""
_MISSED = "✗"
_COLUMNS = ("scene", "judges", "share", f"PSNR, {BELIEVED}", JUDGED, KNOWN, "gain, dB", f"disagreement, {BELIEVED}",
            JUDGED, KNOWN)  # fmt: skip
_PICTURED = 6


def page(rows: Sequence[ReliabilityFigures]) -> str:
    """Return the figures as Markdown."""
    commands = "\n".join(dict.fromkeys(f"{row.command}  # {row.date}" for row in rows))
    head = filled_head(
        HEAD, commands, believed=BELIEVED, judged=JUDGED, known=KNOWN, missed=_MISSED, contradicted=CONTRADICTED
    )
    return head + markdown_table(_COLUMNS, [_line(row) for row in rows], label_count=3) + "\n"


def _line(row: ReliabilityFigures) -> list[str]:
    mark = f" {_MISSED}" if is_missed(row) else ""
    figures = [[number(values.get(way), digits) if way in values else NOTHING for way in (BELIEVED, JUDGED, KNOWN)]
               for values, digits in ((row.psnr, 2), (row.error, 4))]  # fmt: skip
    scene = f"{row.scene}, {row.height} px, {row.targets} views"
    return [scene, ", ".join(row.judges), f"{row.share:.0%}", *figures[0], bracketed(row.gain, 2) + mark, *figures[1]]


def is_missed(row: ReliabilityFigures) -> bool:
    """Whether a row misses its aim."""
    return row.gain.mean < -0.1 if row.share == 0 else row.share == 0.2 and row.gain.mean < 1.5


def write_picture(row: ReliabilityFigures, store: str, path: Path) -> None:
    """Write views that contradict others most: photograph, how far it contradicts them, and what is believed."""
    opened = open_store(store)
    surface, scores = read_surface(opened, row.surface_path), read_contradiction(opened, row.surface_path)
    order = sorted(surface.views, key=lambda view: -float(torch.isnan(view.z_depth).float().mean()))
    scene, columns = read_scene(row.location), []
    for view in order[:_PICTURED]:
        image = scene.view(view.id).load(view.camera.size.height).image.permute(1, 2, 0).numpy()
        size = (image.shape[1], image.shape[0])
        score = _resized(scores[view.id].clamp(0, 1), size)[..., None].repeat(3, axis=2)
        is_cut = _resized((view.confidence == 0).float(), size)[..., None] > 0.5
        columns.append(np.concatenate([image, score, np.where(is_cut, 0.25 * image + 0.75, image)]))
    Image.fromarray((255 * np.concatenate(columns, axis=1)).astype(np.uint8)).save(path)


def _resized(values: Float[Tensor, "row col"], size: tuple[int, int]) -> Float32[ndarray, "height width"]:
    return np.asarray(Image.fromarray(values.numpy().astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
