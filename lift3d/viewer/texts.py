"""What the panel says, as HTML in which every name is escaped."""

from collections.abc import Collection
from html import escape

import numpy as np
import torch
from torch import Tensor

from lift3d.results.colours import label_picture, similarity_opacity, similarity_table, to_bytes
from lift3d.viewer.colouring import ColourMode
from lift3d.viewer.labels import Labels
from lift3d.viewer.viewed_scene import Colouring, ViewedScene

COLOURINGS: dict[Colouring, str] = {
    "photo": "photographs",
    "features": "what the model sees (features)",
    "prediction": "what the model answers (prediction)",
    "confidence": "how sure it is (confidence)",
    "depth": "depth",
    "views": "how many views see it",
    "owner": "which view shows it best",
    "things": "things (masks)",
}
SWITCH = {True: "Shown: lifted. Switch to plain 2D", False: "Shown: plain 2D. Switch to lifted"}
HELP = (
    "<b>Click a point</b>: where else is it like that? <b>Click a camera</b>: look through it. "
    "Drag to turn, right-drag to move, scroll to zoom. <b>Show as</b> a picture: rendered from where you are."
)
BOX = "<b>Shift-drag</b> draws a box: what is in it, and where else is it like that? The file has these points."
FILM = "A film goes along the cameras of the capture, or through views that you keep, two at least."
_SOFTWARE = "This browser draws without a graphics card: fewer points turn more smoothly."


def paragraph(content: str, colour: str = "#444") -> str:
    """Return a paragraph of the panel; the content is HTML."""
    style = f"padding:0.15em 0.75em 0.35em;font-size:0.85em;line-height:1.45;color:{colour};overflow-wrap:anywhere"
    return f'<div style="{style}">{content}</div>'


def summary(name: str, viewed: ViewedScene, count: int) -> str:
    """Say what is shown, with counts; the page is called as the element says."""
    shown = len(viewed.slices)
    views = f"{shown} cameras" if shown == viewed.view_count else f"{shown} of {viewed.view_count} cameras, evenly"
    points = f"{count:,} points" if count == viewed.cloud.found else f"{count:,} of {viewed.cloud.found:,} points"
    notes = [f"<b>{escape(name)}</b>: {views}, {points}."]
    if viewed.is_sketch:
        notes.append("This is a first look; all of it follows in a moment.")
    if not len(viewed.cloud):
        notes.append("No depth was found, so there are no points.")
    elif count == 0:
        notes.append("All are left out under Points and crop, or hidden under Labels.")
    if not viewed.photos:
        notes.append("The photographs cannot be read any more.")
    if viewed.plain is None:
        notes.append("These cameras took no picture, so there is no plain 2D answer.")
    step = max(place.step for place in viewed.slices)
    if step > 1:
        notes.append(f"Of the features, every {step}th in both directions is held.")
    said = paragraph(f'{" ".join(notes)} <span class="if-in-software">{_SOFTWARE}</span>')
    return f'<div data-page-title="{escape(name)}">{said}</div>'


def explanation(mode: ColourMode, words: str, limits: tuple[float, float] | None) -> str:
    """Say what the colours mean."""
    kind = "lifted" if mode.is_lifted else "plain 2D"
    if mode.area is not None and limits is not None:
        return paragraph(f"How alike the {kind} features are to the mean of the box (cosine).") + _scale(limits)
    if (mode.point is not None or mode.area is not None) and limits is None:
        return paragraph(f"At that point there is no {kind} answer to compare with. Click another.", "#a33")
    if mode.point is not None and limits is not None:
        return paragraph(f"How alike the {kind} features are to those at the magenta dot (cosine).") + _scale(limits)
    if mode.texts is not None and limits is not None:
        message = f"Where “{escape(words)}” is in the {kind} features; {limits[0]:.2f} is as much as anything else."
        return paragraph(message) + _scale(limits)
    meanings = {
        "photo": "The colours of the photographs, the mean of those that show a point.",
        "features": f"The {kind} features: three main directions as red, green and blue. Equal colours, equal meaning.",
        "prediction": f"The {kind} answers of the model, one palette for all views.",
        "confidence": "How sure the lifted answer is, from dark (0) to light (1).",
        "depth": "Near is dark, far is light: of points from the camera that shows them best, of a picture from here.",
        "views": "How many views see a point, from dark (few) to light (most).",
        "owner": "Which view shows a point best: each view has a colour.",
        "things": "Masks of things, the same from every view. They are listed under Labels.",
    }
    return paragraph(meanings[mode.colouring])


def legend(labels: Labels | None, hidden: Collection[int]) -> str:
    """Return names and colours of labels, and their shares of what has one."""
    if labels is None or not labels.listed:
        return paragraph("This model predicts no labels. Find things merges what all views show into masks.")
    total = int((labels.ids >= 0).sum())
    lines = []
    for label, count in labels.listed:
        red, green, blue = to_bytes(label_picture(torch.tensor([[label]])))[0, 0].tolist()
        chip = (
            f'<span style="display:inline-block;width:0.8em;height:0.8em;background:rgb({red},{green},{blue})"></span>'
        )
        name = escape(labels.name(label))
        shown = f"{chip} {f'<s>{name}</s>' if label in hidden else name} <small>{count / total:.1%}</small>"
        lines.append(f'<div style="break-inside:avoid">{shown}</div>')
    return paragraph(f'<div style="columns:8em;column-gap:1em">{"".join(lines)}</div>')


def boxed(count: int, total: int, extent: float, labels: Labels | None, chosen: Tensor) -> str:
    """Say what is in a box that was drawn."""
    said = f"{count:,} of {total:,} points, {extent:.3g} across in units of the capture."
    if labels is not None and count:
        ids, counts = torch.unique(labels.ids[chosen], return_counts=True)
        best = int(ids[counts.argmax()])
        said += f" Most: <b>{escape(labels.name(best)) if best >= 0 else 'no label'}</b>."
    return paragraph(said)


def unlike_left(left: ColourMode, right: Colouring, model: str = "") -> str:
    """Say in what the right side of a picture is unlike the left: a question, colours, or a model of another run."""
    said = f"That run lifted another model: <b>{escape(model)}</b>. " if model else ""
    if left.is_asking:
        said += f"What is asked is shown on the left alone. Right: {COLOURINGS[right]}."
    elif left.colouring != right:
        said += f"Not there on the right, which shows: {COLOURINGS[right]}."
    return paragraph(said) if said else ""


def reading(name: str, share: float) -> str:
    """Say how far reading a scene is; the page is called as it is."""
    said = f"Reading <b>{escape(name)}</b>: photographs, surface, answers of the model. {share:.0%}"
    return f'<div data-page-title="{escape(name)}">{paragraph(said)}</div>'


def trouble(message: str) -> str:
    """Return an error as the panel shows it."""
    return paragraph(escape(message), "#a33")


def through(target: str) -> str:
    """Say which camera is looked through."""
    return paragraph(f"You look through camera <b>{escape(target)}</b>.")


def _scale(limits: tuple[float, float]) -> str:
    colours = torch.cat([similarity_table(), similarity_opacity()[:, None]], dim=1)[:256:17].tolist()
    stops = ",".join(f"rgba({red},{green},{blue},{shown / 256:.2f})" for red, green, blue, shown in colours)
    low, high = (f"{value:.2f}" for value in np.asarray(limits).tolist())
    bar = f'<div style="height:0.7em;border-radius:0.3em;background:linear-gradient(to right,{stops})"></div>'
    ends = f"<span>unlike {low} and less</span><span>alike {high} and more</span>"
    return paragraph(f'{bar}<div style="display:flex;justify-content:space-between">{ends}</div>')
