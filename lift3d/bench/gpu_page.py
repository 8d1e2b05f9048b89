"""The page of ``lift3d bench gpu``."""

from shlex import quote

from rich.filesize import decimal

from lift3d.bench.gpu import GpuFigures
from lift3d.bench.pages import filled_head, markdown_table
from lift3d.config import Recipe

_HEAD = """# On a GPU

*Written by `{command}` on {date}, lift3d {version}: {name}.*

"""


def page(figures: GpuFigures, recipe: Recipe, device: str) -> str:
    """Return the page."""
    operators = " ".join(f"--operator {quote(name)}" for name in recipe.operators)
    command = (
        f"lift3d bench gpu {quote(recipe.scenes[0])} {operators} --image-height {recipe.image_height} --device {device}"
    )
    walks = [
        [
            f"{one.workers} × {one.device}",
            f"{one.views_per_second:.2f}",
            f"{one.seconds:.1f}",
            " · ".join(f"{stage} {seconds:.1f}" for stage, seconds in one.stages.items()),
            decimal(one.peak_bytes) if one.peak_bytes else "–",
        ]
        for one in figures.walks
    ]
    single = next(one for one in reversed(figures.walks) if one.workers == 1)
    rows = [
        [
            "operations of matrix products and convolutions",
            f"{figures.operations:.3g}",
            f"{figures.most_operations:.3g}/s",
        ],
        ["bytes of all operations", f"{figures.touched_bytes:.3g}", f"{figures.most_bytes:.3g}/s"],
    ]
    for row, count, most in zip(
        rows,
        (figures.operations, figures.touched_bytes),
        (figures.most_operations, figures.most_bytes),
        strict=True,
    ):
        row.append(f"{count / single.seconds / most:.1%}")
    return (
        filled_head(_HEAD, command, name=figures.name)
        + markdown_table(("workers", "views/s", "s", "s by stage", "peak of the device's memory"), walks)
        + f"\n\nThe last operator alone encodes {figures.encoder_views_per_second:.1f} views/s. By its plan a worker "
        + f"takes {decimal(figures.planned_bytes)} of the host's memory.\n\n"
        + markdown_table(("counted", "one walk", "the device's most", "share of it"), rows)
        + "\n"
    )
