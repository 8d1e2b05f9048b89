"""The figures of ``reliability`` as Markdown, and what was found as a picture."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from lift3d.bench.pages import bracketed, filled_head, markdown_table, number
from lift3d.bench.reliability import BELIEVED, JUDGED, KNOWN, ReliabilityFigures
from lift3d.pipeline.reliability import read_contradiction
from lift3d.pipeline.surface import read_surface
from lift3d.results.pictures import Sheet
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.surface.reliability import CONTRADICTED, is_contradicted
from lift3d.tables.rendering import NOTHING

HEAD = """# What passes through

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

Into a share of the source views something is pasted that is no part of the scene: a cut-out of a photograph, as wide as
0.8 of the image's shorter side, each time elsewhere (`distractors:share=0.2:CAPTURE` is such a capture); in computed
scenes a thing really stands before the camera (`procedural:room?movers=0.2`). Held-out views are as they were taken.
`{believed}` is the default run, `{judged}` the same with `--reliability`: where a view's features differ from what the
views beside it say together, by {contradicted} of what unrelated places differ by more than these differ themselves, it
is not asked. `{known}` masks what is pasted: what could be had. PSNR of held-out photographs in dB; brackets are a
95 % interval of the gain over views; disagreement is what held-out views differ by at long range, lower is better.

![Views with something before them, how far each contradicts others, and what is left](pictures/passers-by.webp)

Aims: +1.5 dB at 20 %, no more than 0.1 dB lost where nothing is pasted; {missed} marks what misses. How much
there is to gain, `{known}` tells. Thresholds were chosen on fox, bear and kitchen; that views beside judge, after
garden was looked at (all views together cost it 2 dB where nothing is pasted); the room had no say.

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
    scene = read_scene(row.location)
    is_cut = {name: is_contradicted(score).float() for name, score in scores.items()}
    views = sorted(surface.views, key=lambda view: -float(is_cut[view.id].mean()))[:_PICTURED]
    figure = Sheet(figsize=(2 * len(views), 5), layout="constrained")
    axes = figure.subplots(3, len(views), squeeze=False)
    for column, view in enumerate(views):
        image = scene.view(view.id).load(view.camera.size.height).image
        is_left_out = F.interpolate(is_cut[view.id][None, None], image.shape[1:])[0]
        left = torch.where(is_left_out > 0, 0.25 * image + 0.75, image)
        axes[0, column].imshow(image.permute(1, 2, 0).numpy())
        axes[1, column].imshow(scores[view.id].numpy(), cmap="magma", vmin=0, vmax=1)
        axes[2, column].imshow(left.permute(1, 2, 0).numpy())
    for axis in axes.flat:
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(path), dpi=72, pil_kwargs={"quality": 80})
