"""What a posed scene holds, in words: what a reader understood of somebody's files, before anything is run on them."""

import math
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift3d.domain.scene import Frame, Scene, View
from lift3d.errors import ImageError
from lift3d.scenes.catalog import PROCEDURAL, READERS, reader

# Enough to see labels in a picture, and quick whatever the size of the file.
_LOOK_HEIGHT = 64
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class PosedScene:
    """What was found in a posed scene; ``content`` is JSON-ready."""

    content: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the findings as JSON-ready values."""
        return {"kind": "posed", **self.content}

    def to_text(self) -> str:
        """Return the findings as lines, the next command last."""
        found = self.content
        near, far = found["depth_range"]
        lines = [
            f"scene          {found['scene']} (read as {found['format']})",
            f"views          {found['views']}, {_counted(found['image_sizes'])} (height×width)",
            f"cameras        {_counted(found['lenses'])}; {_fields(found['horizontal_fields_deg'])} wide",
            f"depth          {_of(found['views_with_depth'], found['views'])}",
            f"labels         {_of(found['views_with_labels'], found['views'])}"
            + (f", {len(found['label_names'])} named classes" if found["label_names"] else ""),
            f"instances      {'yes' if found['has_instances'] else 'none'}",
            f"sparse points  {found['points'] if found['points'] is not None else 'none'}",
            f"depth range    {near:.4g} to {far:.4g} world units",
            *(f"note           {sentence}" for sentence in found["notes"]),
            *(f"dropped        {one['view']} ({one['reason']}): {one['message']}" for one in found["dropped"][:_SHOWN]),
        ]
        if len(found["dropped"]) > _SHOWN:
            lines.append(f"               and {len(found['dropped']) - _SHOWN} more views")
        if found["first_view_problem"]:
            lines.append(f"first view     {found['first_view_problem']}")
        return "\n".join([*lines, f"next           {next_command(found['location'])}"])


def look_at(scene: Scene) -> PosedScene:
    """Say what a scene holds; the first view is decoded, of the others the headers alone."""
    first, problem = _first_frame(scene)
    with_depth = sum(view.source.has_depth for view in scene.views)
    fields = [_horizontal_field_deg(view) for view in scene.views]
    return PosedScene(
        {
            "scene": scene.id,
            "location": scene.location,
            "format": _format_of(scene.location),
            "views": len(scene.views),
            "image_sizes": _counts(f"{view.camera.size.height}×{view.camera.size.width}" for view in scene.views),
            "lenses": _counts(map(_lens, scene.views)),
            "horizontal_fields_deg": [round(min(fields), 1), round(max(fields), 1)],
            "views_with_depth": with_depth,
            "views_with_labels": sum(view.source.has_labels for view in scene.views),
            "label_names": {str(key): name for key, name in scene.label_names.items()},
            "has_instances": first is not None and first.instances is not None,
            "points": None if scene.points is None else len(scene.points),
            "depth_range": [scene.depth_range.near, scene.depth_range.far],
            "first_view_problem": problem,
            "notes": list(scene.notes),
            "dropped": [{"view": one.id, "reason": one.reason, "message": one.message} for one in scene.dropped],
        }
    )


def next_command(location: str) -> str:
    """Return a command that lifts a scene at once, with what comes with the package."""
    stem = Path(location.removeprefix(f"{PROCEDURAL}:").partition("?")[0]).absolute().name or "scene"
    return f"lift3d run {shlex.quote(location)} --operator rgb --operator hog --store runs/{shlex.quote(stem)}"


def _first_frame(scene: Scene) -> tuple[Frame | None, str]:
    try:
        return scene.views[0].load(_LOOK_HEIGHT), ""
    except ImageError as error:
        return None, str(error)


def _format_of(location: str) -> str:
    if location.startswith(f"{PROCEDURAL}:"):
        return PROCEDURAL
    return next(name for name in READERS if name != PROCEDURAL and reader(name).recognizes(location))


def _lens(view: View) -> str:
    distortion = getattr(view.source, "distortion", None)
    return "pinhole" if distortion is None else f"{distortion.model} (undone when read)"


def _horizontal_field_deg(view: View) -> float:
    """Return the angle between the left and the right edge of the image."""
    K, width = view.camera.K, view.camera.size.width
    fx, cx = float(K[0, 0]), float(K[0, 2])
    return math.degrees(math.atan2(cx, fx) + math.atan2(width - cx, fx))


def _counts(names: Any) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _counted(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return f"all {next(iter(counts))}"
    shown = ", ".join(f"{count} {name}" for name, count in list(counts.items())[:_SHOWN])
    return shown + (f" and {len(counts) - _SHOWN} more kinds" if len(counts) > _SHOWN else "")


def _fields(degrees: list[float]) -> str:
    low, high = degrees
    return f"{low:.0f}°" if high - low < 1 else f"{low:.0f}° to {high:.0f}°"


def _of(count: int, total: int) -> str:
    if not count:
        return "none"
    return "all views" if count == total else f"{count} of {total} views"
