"""What a posed scene holds, in words: what a reader understood of somebody's files, before anything is run on them."""

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lift3d.domain.scene import Frame, Scene, View
from lift3d.errors import ImageError
from lift3d.ingest.diagnosis.finding import Finding
from lift3d.scenes.catalog import PROCEDURAL, recognizing

# Enough to see labels in a picture, and quick whatever the size of the file.
_LOOK_HEIGHT = 64
_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class PosedScene:
    """What was found in a posed scene, of which headers alone were decoded, and its first view, small.

    There is none where that does not decode; ``problem`` says why. ``findings`` are what will hurt, None if
    nobody looked.
    """

    scene: Scene
    first: Frame | None
    problem: str
    findings: Sequence[Finding] | None = None

    @property
    def has_instances(self) -> bool:
        """Whether the first view has them."""
        return self.first is not None and self.first.instances is not None

    @property
    def image_sizes(self) -> dict[str, int]:
        """How many views have each size, the commonest first."""
        sizes = (view.camera.size for view in self.scene.views)
        return dict(Counter(f"{size.height}×{size.width}" for size in sizes).most_common())

    @property
    def lenses(self) -> dict[str, int]:
        """How many views have each kind of lens, the commonest first."""
        return dict(Counter(map(_lens, self.scene.views)).most_common())

    @property
    def horizontal_fields_deg(self) -> tuple[float, float]:
        """The narrowest and the widest view."""
        fields = [_horizontal_field_deg(view) for view in self.scene.views]
        return round(min(fields), 1), round(max(fields), 1)

    def to_json(self) -> dict[str, object]:
        """Return the findings as JSON-ready values."""
        scene = self.scene
        return {
            "kind": "posed",
            "scene": scene.id,
            "location": scene.location,
            "format": _format_of(scene.location),
            "views": len(scene.views),
            "image_sizes": self.image_sizes,
            "lenses": self.lenses,
            "horizontal_fields_deg": self.horizontal_fields_deg,
            "views_with_depth": sum(view.source.has_depth for view in scene.views),
            "views_with_labels": sum(view.source.has_labels for view in scene.views),
            "label_names": {str(key): name for key, name in scene.label_names.items()},
            "has_instances": self.has_instances,
            "points": None if scene.points is None else len(scene.points),
            "depth_range": [scene.depth_range.near, scene.depth_range.far],
            "first_view_problem": self.problem,
            "notes": list(scene.notes),
            "findings": [asdict(one) for one in self.findings or ()],
            "dropped": [{"view": one.id, "reason": one.reason, "message": one.message} for one in scene.dropped],
        }

    def to_text(self) -> str:
        """Return the findings as lines, the next command last."""
        scene, (narrow, wide) = self.scene, self.horizontal_fields_deg
        fields = f"{narrow:.0f}°" if wide - narrow < 1 else f"{narrow:.0f}° to {wide:.0f}°"
        named = f", {len(scene.label_names)} named classes" if scene.label_names else ""
        near, far = scene.depth_range.near, scene.depth_range.far
        lines = [
            f"scene          {scene.id} (read as {_format_of(scene.location)})",
            f"views          {len(scene.views)}, {_counted(self.image_sizes)} (height×width)",
            f"cameras        {_counted(self.lenses)}; {fields} wide",
            f"depth          {_of([view.source.has_depth for view in scene.views])}",
            f"labels         {_of([view.source.has_labels for view in scene.views])}{named}",
            f"instances      {'yes' if self.has_instances else 'none'}",
            f"sparse points  {'none' if scene.points is None else len(scene.points)}",
            f"depth range    {near:.4g} to {far:.4g} world units",
            *(f"note           {sentence}" for sentence in scene.notes),
            *(f"dropped        {one.id} ({one.reason}): {one.message}" for one in scene.dropped[:_SHOWN]),
        ]
        if len(scene.dropped) > _SHOWN:
            lines.append(f"               and {len(scene.dropped) - _SHOWN} more views")
        if self.problem:
            lines.append(f"first view     {self.problem}")
        lines += finding_lines(self.findings)
        return "\n".join([*lines, f"next           {next_command(scene.location)}"])


def look_at(scene: Scene) -> PosedScene:
    """Say what a scene holds; the first view is decoded, of the others the headers alone."""
    try:
        return PosedScene(scene, scene.views[0].load(_LOOK_HEIGHT), "")
    except ImageError as error:
        return PosedScene(scene, None, str(error))


def finding_lines(findings: Sequence[Finding] | None) -> list[str]:
    """Return a line for each thing that will hurt, or one that says that nothing was found; none if nobody looked."""
    if findings is None:
        return []
    return [f"will hurt      {one}" for one in findings] or ["will hurt      nothing that was found"]


def next_command(location: str) -> str:
    """Return a command that lifts a scene at once, with what comes with the package."""
    stem = Path(location.removeprefix(f"{PROCEDURAL}:").partition("?")[0]).absolute().name or "scene"
    scene, store = shlex.quote(location), shlex.quote(f"{stem}-run")
    return f"lift3d run {scene} --store {store}"


def _format_of(location: str) -> str:
    return PROCEDURAL if location.startswith(f"{PROCEDURAL}:") else recognizing(location)[0]


def _lens(view: View) -> str:
    distortion = getattr(view.source, "distortion", None)
    return "pinhole" if distortion is None else f"{distortion.model} (undone when read)"


def _horizontal_field_deg(view: View) -> float:
    """Return the angle between the left and the right edge of the image."""
    K, width = view.camera.K, view.camera.size.width
    fx, cx = float(K[0, 0]), float(K[0, 2])
    return math.degrees(math.atan2(cx, fx) + math.atan2(width - cx, fx))


def _counted(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return f"all {next(iter(counts))}"
    shown = ", ".join(f"{count} {name}" for name, count in list(counts.items())[:_SHOWN])
    return shown + (f" and {len(counts) - _SHOWN} more kinds" if len(counts) > _SHOWN else "")


def _of(has_some: Sequence[bool]) -> str:
    count = sum(has_some)
    if not count:
        return "none"
    return "all views" if count == len(has_some) else f"{count} of {len(has_some)} views"
