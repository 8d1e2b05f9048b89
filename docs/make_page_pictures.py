"""Make viewer.webp and report.webp of the docs, of a computed scene: ``python docs/make_page_pictures.py``.

The viewer with a question asked, and the report at 1280 and at 390 pixels. Takes Playwright and a Chromium, as the
tests of pages do.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

import lift3d
from lift3d.report.scenes import ReportExtent
from lift3d.report.write import write_report
from lift3d.results.opened import open_lifted
from lift3d.viewer.command import running_viewer

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.support.browser import opened_page

PICTURES = Path(__file__).parent / "pictures"
# Seeds from 9000 on are those that no training saw.
SCENE, OPERATOR = "procedural:objects?seed=9001&views=24&height=240&width=320", "tiny:clip"
# The report says where it lies.
STORE = f"{tempfile.gettempdir()}/things"
WORDS = "purple ball"
HEIGHT = 800
# Milliseconds until a browser without a graphics card has drawn.
_SETTLES_IN = 6000


def viewer_picture() -> Image.Image:
    """Return the viewer with the points that some words find."""
    with running_viewer(open_lifted(STORE, operator=OPERATOR), 0) as viewer, opened_page(1280, HEIGHT) as (page, _):
        viewer.library.stage(viewer.library.first)
        page.goto(viewer.address)
        page.wait_for_timeout(_SETTLES_IN)
        viewer.sessions[-1].ask_words(WORDS)
        page.wait_for_timeout(_SETTLES_IN)
        return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def report_picture() -> Image.Image:
    """Return the beginning of the report, as a desk and as a phone have it, side by side."""
    report = Path(STORE, "report.html").resolve()
    write_report(STORE, ReportExtent(), report)
    shown = []
    for width in (1280, 390):
        with opened_page(width, HEIGHT) as (page, _):
            page.goto(report.as_uri())
            page.wait_for_timeout(_SETTLES_IN)
            shown.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    both = Image.new("RGB", (sum(one.width for one in shown) + 30, HEIGHT), "#888")
    both.paste(shown[0], (0, 0))
    both.paste(shown[1], (shown[0].width + 30, 0))
    return both


def main() -> None:
    """Write the pictures."""
    lift3d.lift(SCENE, OPERATOR, store=STORE, image_height=240)
    for name, picture in (("viewer", viewer_picture()), ("report", report_picture())):
        picture.save(PICTURES / f"{name}.webp", quality=40, method=6)


if __name__ == "__main__":
    main()
