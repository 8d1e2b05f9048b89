"""What ``lift3d ingest`` does and shows: photographs become a posed scene; a posed scene says what it holds."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lift3d.cli.checks import checked, stages
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.ingest.diagnosis.finding import Finding
from lift3d.ingest.folder import MORE_OVERLAP, FoundCamera, IngestRecord, ingest
from lift3d.ingest.posed_scene import PosedScene, finding_lines, look_at, next_command
from lift3d.ingest.structure_from_motion import ENOUGH_SHARE, IngestOptions
from lift3d.scenes.catalog import PROCEDURAL, read_scene, recognizing
from lift3d.scenes.images import HEIC_SUFFIXES, SUFFIXES

__all__ = ["IngestOptions", "IngestedScene", "ingest_and_present"]

# Names in the text; the file has all of them.
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class IngestedScene:
    """A scene that was made of photographs, now or before, and the content of its ``ingest.json``."""

    place: Path
    record: IngestRecord
    is_new: bool
    findings: Sequence[Finding] | None = None

    def to_json(self) -> dict[str, object]:
        """Return the findings as JSON-ready values."""
        found = self.record.model_dump(mode="json")
        findings = [asdict(one) for one in self.findings or ()]
        return {"kind": "ingested", "scene": str(self.place), **found, "is_new": self.is_new, "findings": findings}

    def to_text(self) -> str:
        """Return the findings as lines, the next command last."""
        found = self.record
        registered, total = len(found.registered), found.photographs
        lines = [] if self.is_new else ["The scene of these photographs was there already; nothing was done."]
        thorough = ", with the thorough features" if found.is_thorough else ""
        lines.append(f"registered     {registered} of {total} photographs ({found.seconds:.0f} s{thorough})")
        if found.unregistered:
            lines.append(f"not registered {_some(found.unregistered)}")
        lines += [f"not used       {one.name}: {one.reason}" for one in found.skipped[:_SHOWN]]
        if len(found.skipped) > _SHOWN:
            lines.append(f"               and {len(found.skipped) - _SHOWN} more files")
        lines.append(
            f"points         {found.points} · seen in {found.median_track_length:g} views (median) · mean "
            f"reprojection error {found.mean_reprojection_error_px:.2f} px"
        )
        lines += [f"camera         {_lens(camera)}" for camera in found.cameras[:_SHOWN]]
        if len(found.cameras) > _SHOWN:
            lines.append(f"               and {len(found.cameras) - _SHOWN} more")
        lines += self._advice()
        lines += finding_lines(self.findings)
        lines.append(f"scene          {self.place}")
        return "\n".join([*lines, f"next           {next_command(str(self.place))}"])

    def _advice(self) -> list[str]:
        found = self.record
        if len(found.registered) >= ENOUGH_SHARE * found.photographs:
            return []
        if found.options.frames == found.photographs:
            lines = [f"to get more    Take more frames of the video: --frames {2 * found.photographs}."]
        else:
            lines = [f"to get more    {MORE_OVERLAP}."]
        if found.other_groups:
            groups = ", ".join(map(str, found.other_groups))
            lines.append(f"               Groups of {groups} photographs fit together, not with these: bridge them.")
        if found.matching != "exhaustive":
            lines.append("               Or compare all pairs: --matching exhaustive.")
        width = max(max(camera.height, camera.width) for camera in found.cameras)
        if width > found.options.image_size:
            lines.append(f"               Or compare them at full size: --image-size {width}.")
        if found.options.has_one_camera:
            lines.append("               Or, if several lenses were used: --many-cameras.")
        return lines


def ingest_and_present(
    source: str, out: Path | None, options: IngestOptions, *, checks: bool = True
) -> IngestedScene | PosedScene:
    """Make a scene of photographs or of a video, or look at a posed scene, with progress on standard error.

    ``checks`` says whether to look for what will hurt.
    """
    if _is_posed(source):
        if out is not None:
            raise ConfigError(_nothing_to_find(source))
        scene = read_scene(source)
        return replace(look_at(scene), findings=checked(scene) if checks else None)
    path = _photographs(source)
    if out is None:
        raise ConfigError(
            f"'{source}' has no camera poses yet. Say where the posed scene goes: "
            f"lift3d ingest {shlex.quote(source)} OUT"
        )
    with stages() as report:
        made, is_new = ingest(path, out, options, report)
    return IngestedScene(out, made, is_new, checked(read_scene(str(out))) if checks else None)


def _is_posed(source: str) -> bool:
    """Whether a reader knows the source; True, too, for what is no path at all, so that reading says why not."""
    path = Path(source).expanduser()
    if source.startswith(f"{PROCEDURAL}:") or "\0" in source or not source or not path.exists():
        return True
    return bool(recognizing(str(path.absolute())))


def _photographs(source: str) -> Path:
    path = Path(source).expanduser().absolute()
    if path.is_file() and path.suffix.lower() in (*SUFFIXES, *HEIC_SUFFIXES):
        raise SceneFormatError(
            f"'{source}' is one photograph. Give a folder with three or more of one scene, or a video."
        )
    return path


def _nothing_to_find(source: str) -> str:
    scene = read_scene(source)
    image = getattr(scene.views[0].source, "image", None)
    anew = (
        f" To find them anew, give the images alone: lift3d ingest {shlex.quote(str(Path(image).parent))} OUT."
        if image
        else ""
    )
    return (
        f"'{source}' has its {len(scene.views)} cameras already, so there is nothing to write to OUT. Leave OUT "
        f"away to see what it holds, or go on with: {next_command(source)}.{anew}"
    )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more (all in ingest.json)" if rest > 0 else "")


def _lens(camera: FoundCamera) -> str:
    focal = camera.params[0]
    return f"{camera.model} · {camera.height}×{camera.width} · focal length {focal:.1f} px"
