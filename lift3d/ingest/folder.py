"""Photographs or a video → a folder in COLMAP's layout, whole or not at all.

It holds ``images/``, ``sparse/0/`` and ``ingest.json``. Everything is made in a sibling folder that takes the name of
the scene when it is finished.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from glob import escape
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import psutil
from pydantic import BaseModel, ConfigDict

from lift3d.domain.keys import digest, slug
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.ingest.photographs import Photograph, Report, Skipped, copy_photographs, find_photographs
from lift3d.ingest.structure_from_motion import (
    FEWEST_VIEWS,
    Found,
    IngestOptions,
    MatchingPairs,
    reconstruct,
)
from lift3d.ingest.video_frames import copy_frames
from lift3d.scenes.colmap_log import pycolmap
from lift3d.scenes.file_limits import digest_file, read_text
from lift3d.scenes.images import HEIC_SUFFIXES

INGEST_FILE = "ingest.json"
# Changes whenever the same photographs would give another folder.
_VERSION = 3
# Of more photographs all pairs are several times those that are likely to show the same.
_MOST_EXHAUSTIVE = 40
_FROZEN = ConfigDict(frozen=True)
# Larger than any video that somebody walks around a scene with.
_MOST_FILE_BYTES = 2**40
MORE_OVERLAP = (
    "Take more photographs with more overlap (each thing in three or more of them), by small steps sideways rather "
    "than by turning on the spot; keep them sharp and the scene still"
)


class FoundCamera(BaseModel):
    """A lens that was found, in COLMAP's model and parameters."""

    model_config = _FROZEN
    model: str
    height: int
    width: int
    params: tuple[float, ...]


class IngestRecord(BaseModel):
    """What ``ingest.json`` says of a scene.

    ``identity`` is the digest of what it depends on; ``photographs`` counts those that were read, ``skipped`` are files
    that were not; ``registered`` are those whose cameras were found, ``other_groups`` counts those that fit together,
    but not with these; a point is seen in ``median_track_length`` views.
    """

    model_config = _FROZEN
    source: str
    identity: str
    options: IngestOptions
    matching: MatchingPairs
    photographs: int
    registered: tuple[str, ...]
    unregistered: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    other_groups: tuple[int, ...]
    is_thorough: bool
    points: int
    mean_reprojection_error_px: float
    median_track_length: float
    cameras: tuple[FoundCamera, ...]
    seconds: float
    versions: dict[str, str]


def ingest(source: Path, out: Path, options: IngestOptions, report: Report) -> tuple[IngestRecord, bool]:
    """Make a posed scene of photographs or a video; return the content of its ``ingest.json``, and whether it is new.

    A folder that holds the finished scene of the same photographs and options is left as it is. ConfigError if ``out``
    holds something else, lies in the folder of photographs, or cannot be written; SceneFormatError if there are fewer
    than three photographs, or the cameras of fewer than three are found.
    """
    names = _names(source)
    _require_apart(source, out)
    asked = replace(options, frames=None) if names else options
    report("reading", 0, 1)
    identity = digest([_VERSION, asdict(asked), _content(source, names), *_readable(names)])
    report("reading", 1, 1)
    finished = _finished(out, identity)
    if finished is not None:
        return finished, False
    with _workplace(out) as place:
        scene, work = place / "scene", place / "work"
        work.mkdir()
        began = time.monotonic()
        photographs, skipped = _gather(source, names, scene / "images", options, report)
        matching = _matching(options, len(photographs), is_video=not names)
        found = reconstruct(photographs, scene / "images", work, options, matching, report)
        _require_views(found, len(photographs), options, skipped)
        (scene / "sparse/0").mkdir(parents=True)
        model = found.models[0]
        model.write_binary(str(scene / "sparse/0"))
        registered = sorted(model.images[key].name for key in model.reg_image_ids())
        tracks = [point.track.length() for point in model.points3D.values()]
        record = IngestRecord(
            source=source.name,
            identity=identity,
            options=asked,
            matching=found.matching,
            photographs=len(photographs),
            registered=tuple(registered),
            unregistered=tuple(sorted({one.name for one in photographs} - set(registered))),
            skipped=tuple(skipped),
            other_groups=tuple(int(other.num_reg_images()) for other in found.models[1:]),
            is_thorough=found.is_thorough,
            points=int(model.num_points3D()),
            mean_reprojection_error_px=round(float(model.compute_mean_reprojection_error()), 3),
            median_track_length=float(np.median(tracks or [0])),
            cameras=_cameras(model),
            seconds=round(time.monotonic() - began, 1),
            versions={name: metadata.version(name) for name in ("lift3d", "pycolmap")},
        )
        (scene / INGEST_FILE).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        # An empty folder of that name may be there; a full one is refused by the system itself.
        os.replace(scene, out)
    return record, True


def _names(source: Path) -> list[str]:
    """Return the photographs of a folder; none for a video."""
    if not source.is_dir():
        return []
    names = find_photographs(source)
    if not names:
        entries = sorted(path.name for path in source.iterdir())
        held = f"It holds: {', '.join(entries[:8])}{' …' if len(entries) > 8 else ''}." if entries else "It is empty."
        raise SceneFormatError(
            f"'{source}' holds no photograph (.jpg, .png, .webp, .tif), not in its folders either. {held} "
            "Give the folder of the photographs, or a video file."
        )
    return names


def _require_apart(source: Path, out: Path) -> None:
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(
            f"OUT '{out}' lies in the folder of the photographs '{source}', which is never written to. "
            "Choose a folder beside it."
        )


def _content(source: Path, names: Sequence[str]) -> list[list[str]]:
    """Return what the scene depends on: names and digests of its files; unreadable ones are skipped later, by name."""
    content = []
    for path, name in [(source / name, name) for name in names] or [(source, source.name)]:
        try:
            content.append([name, digest_file(path, _MOST_FILE_BYTES)])
        except OSError as error:
            if not names:
                raise ConfigError(f"'{source}' cannot be read: {error.strerror}. Check its rights.") from error
            content.append([name, "unreadable"])
    return content


def _finished(out: Path, identity: str) -> IngestRecord | None:
    """Return what a folder says of itself if it is this very scene; None if there is room; ConfigError else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / INGEST_FILE).is_file():
        raise ConfigError(f"OUT '{out}' exists already and is not empty. Choose another folder, or remove it first.")
    try:
        said = IngestRecord.model_validate_json(read_text(out / INGEST_FILE))
    except (OSError, ValueError, SceneFormatError) as error:
        raise ConfigError(
            f"'{out / INGEST_FILE}' is not readable: {error}. Remove '{out}' or choose another OUT."
        ) from error
    if said.identity != identity:
        raise ConfigError(
            f"OUT '{out}' holds the scene of other photographs or options, or of another lift3d (source "
            f"'{said.source}', {json.dumps(asdict(said.options))}). Choose another folder, or remove it first."
        )
    return said


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that goes away in the end; those of processes that were killed go, too."""
    host = slug(platform.node() or "host")
    prefix = f".{out.name}.ingest-{host}-"
    place = out.absolute().parent / f"{prefix}{os.getpid()}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for old in place.parent.glob(f"{escape(prefix)}*"):
            process = old.name.removeprefix(prefix)
            if process.isdigit() and (int(process) == os.getpid() or not psutil.pid_exists(int(process))):
                shutil.rmtree(old, ignore_errors=True)
        place.mkdir()
        yield place
    except OSError as error:
        raise ConfigError(
            f"'{out}' cannot be written: {error.strerror or error}. Choose a folder where you may write and that has "
            "room for a copy of the photographs."
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _readable(names: Sequence[str]) -> list[str]:
    """Return what else decides which of the photographs are read: what is installed."""
    has_heic = any(name.lower().endswith(HEIC_SUFFIXES) for name in names)
    return ["phone"] if has_heic and find_spec("pillow_heif") is not None else []


def _gather(
    source: Path, names: Sequence[str], images: Path, options: IngestOptions, report: Report
) -> tuple[list[Photograph], list[Skipped]]:
    skipped: list[Skipped] = []
    if names:
        photographs, skipped = copy_photographs(source, names, images, report)
    else:
        photographs = copy_frames(source, options.frames, images, report)
    if len(photographs) < FEWEST_VIEWS:
        why = f" Not used: {'; '.join(f'{one.name} ({one.reason})' for one in skipped[:3])}." if skipped else ""
        raise SceneFormatError(
            f"'{source}' gives {len(photographs)} usable photographs; at least {FEWEST_VIEWS} of one scene are needed, "
            f"and twenty or more are better.{why} {MORE_OVERLAP}."
        )
    return photographs, skipped


def _matching(options: IngestOptions, count: int, *, is_video: bool) -> tuple[MatchingPairs, MatchingPairs]:
    """Return which pairs are compared at first, and where that finds few."""
    if options.matching != "auto":
        return (cast(MatchingPairs, options.matching),) * 2
    if is_video:
        # Who walks around something comes back to where nothing of the frames just before is seen.
        return "sequential", "similar"
    return ("exhaustive" if count <= _MOST_EXHAUSTIVE else "similar",) * 2


def _require_views(found: Found, count: int, options: IngestOptions, skipped: Sequence[Skipped]) -> None:
    if found.view_count >= FEWEST_VIEWS:
        return
    unread = f" {len(skipped)} more did not decode." if skipped else ""
    raise SceneFormatError(
        f"The cameras of {found.view_count} of {count} photographs were found; at least {FEWEST_VIEWS} are needed."
        f"{unread} {MORE_OVERLAP}. If they show enough of the same things already, try --matching exhaustive, an "
        f"--image-size above {options.image_size}, or --many-cameras if several lenses were used."
    )


def _cameras(model: pycolmap.Reconstruction) -> tuple[FoundCamera, ...]:
    used = sorted({model.images[key].camera_id for key in model.reg_image_ids()})
    return tuple(
        FoundCamera(
            model=camera.model_name,
            height=camera.height,
            width=camera.width,
            params=tuple(round(float(value), 6) for value in camera.params),
        )
        for camera in (model.cameras[key] for key in used)
    )
