"""``lift3d masks``: masks of a scene as labelled points (.ply), or as plain JSON that readers of COCO understand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray
from rich.filesize import decimal

from lift3d.errors import ConfigError
from lift3d.results.cloud import Cloud
from lift3d.results.colours import label_picture, to_bytes
from lift3d.results.exports.files import K_WORDS, W2C_WORDS, check_free, world_words
from lift3d.results.exports.ply import write_ply
from lift3d.results.masks.scene_masks import SceneMasks
from lift3d.storage.whole_file import whole
from lift3d.surface.masks.merge import NO_MASK

FORMAT, VERSION = "lift3d-masks", 1


def write_masks(masks: SceneMasks, out: Path) -> str:
    """Write masks in the form that the suffix of a name means, there when it is whole; return the lines to print.

    ConfigError if ``out`` is there, cannot be written, or ends in neither .ply nor .json.
    """
    check_masks_name(out)
    try:
        with whole(out) as partial:
            _FORMS[out.suffix.lower()](masks, partial)
            byte_count = partial.stat().st_size
            check_free(out)
    except OSError as error:
        raise ConfigError(f"'{out}' cannot be written: {error}. Give a name in a folder that takes files.") from error
    inside = int((masks.ids != NO_MASK).sum())
    lines = [
        f"{masks.lifted.name} · {masks.source}: {len(masks)} masks, {decimal(byte_count)}",
        f"{inside} of {len(masks.ids)} points of the surface are in a mask; {len(masks.views)} views",
        world_words(masks.lifted),
        f"{out.suffix.lower()[1:]:8s} {out}",
    ]
    return "\n".join(lines)


def check_masks_name(out: Path) -> None:
    """Refuse a name that means no form, or that is taken, before anything is computed."""
    if out.suffix.lower() not in _FORMS:
        raise ConfigError(f"'{out}' is no name for masks; expected one that ends in {' or '.join(_FORMS)}.")
    check_free(out)


def run_lengths(mask: Bool[ndarray, "height width"]) -> dict[str, list[int]]:
    """Return a mask as COCO counts it: runs of 0, 1, 0, … down one column after the other, uncompressed."""
    pixels = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(pixels)) + 1
    counts = np.diff(np.concatenate([[0], ends, [pixels.size]])).tolist()
    # The first run is of 0, and may have no pixel.
    return {"size": [*mask.shape], "counts": [0, *counts] if pixels[:1].any() else counts}


def _write_ply(masks: SceneMasks, out: Path) -> None:
    points, ids = masks.points, masks.ids
    count = len(ids)
    cloud = Cloud(points.xyz, points.normals, torch.zeros(count, dtype=torch.long), torch.zeros(count, 2), points.found)
    rgb = to_bytes(label_picture(ids[None]))[0]
    sure = np.append(masks.confidence.numpy(), np.nan).astype(np.float32)[ids.numpy()]
    columns = {
        **dict(zip(("red", "green", "blue"), rgb.T, strict=True)),
        "label": ids.numpy().astype(np.int32),
        "confidence": sure,
    }
    comments = [f"lift3d masks: {masks.lifted.name}, {masks.source}", world_words(masks.lifted)]
    write_ply(out, cloud, columns, comments)


def _write_json(masks: SceneMasks, out: Path) -> None:
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(masks.to_pandas().to_dict("records")):
        xyz = masks.xyz[masks.ids == number]
        entries.append(
            {
                "id": number,
                "confidence": round(float(line["confidence"]), 6),
                "points": int(line["points"]),
                "center": xyz.mean(0).tolist(),
                "bounds": [xyz.amin(0).tolist(), xyz.amax(0).tolist()],
                "views": {},
            }
        )
    for view, labels in masks.label_maps():
        for number in np.unique(labels[labels != NO_MASK]).tolist():
            entries[number]["views"][view] = run_lengths(labels == number)
    cameras = {one.id: one.camera for one in masks.surface.views}
    whole_scene = {
        "format": FORMAT,
        "version": VERSION,
        "scene": masks.lifted.name,
        "operator": masks.source,
        "coordinates": world_words(masks.lifted),
        "w2c_is": W2C_WORDS,
        "K_is": K_WORDS,
        "views": [
            {
                "id": view,
                "height": cameras[view].size.height,
                "width": cameras[view].size.width,
                "K": cameras[view].K.tolist(),
                "w2c": cameras[view].w2c.tolist(),
            }
            for view in masks.views
            if view in cameras
        ],
        "masks": entries,
    }
    out.write_text(json.dumps(whole_scene, allow_nan=False) + "\n", encoding="utf-8")


_FORMS: dict[str, Callable[[SceneMasks, Path], None]] = {".ply": _write_ply, ".json": _write_json}
