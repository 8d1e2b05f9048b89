"""``lift3d tracks``: tracks as a file of TAPVid-3D (.npz) or as a table, and files that say which points to follow.

TAPVid-3D keeps a video in an .npz: ``tracks_XYZ`` (view, point, 3) in the frame of each camera, ``visibility`` (view,
point), ``queries_xyt`` (point, 3), ``fx_fy_cx_cy`` (4), ``extrinsics_w2c`` (view, 4, 4), ``images_jpeg_bytes`` (view).
Its pixels have their origin at the outer corner of the first one, and its cameras look along z with y down, as here.
"""

import csv
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from rich.filesize import decimal

from lift3d.domain.records import counted
from lift3d.errors import ConfigError, ContractError, Lift3dError, brief
from lift3d.results.colours import to_bytes
from lift3d.results.exports.files import check_free, world_words
from lift3d.results.tracks import REASONS, Pixel, SceneTracks
from lift3d.storage.whole_file import whole

_JPEG_QUALITY = 95
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, csv.Error, EOFError)


@dataclass(frozen=True, eq=False)
class TrackFile:
    """What a file of TAPVid-3D holds.

    Attributes:
        xyz: Points in the frame of each view's camera; NaN where there is none.
        is_visible: Whether views see them.
        queries_xyt: Pixel and position of the view of each query.
        fx_fy_cx_cy: Intrinsics of the views, pixels.
        w2c: Of the views; None of a camera that stands still.
        images: Bytes of a JPEG of each view; empty where the file has none.
        extra: What ``lift3d tracks`` writes besides, by name.
    """

    xyz: Float[ndarray, "view point 3"]
    is_visible: Bool[ndarray, "view point"]
    queries_xyt: Float[ndarray, "point 3"]
    fx_fy_cx_cy: Float[ndarray, "4"]
    w2c: Float[ndarray, "view 4 4"] | None
    images: tuple[bytes, ...]
    extra: Mapping[str, Shaped[ndarray, "..."]]


def write_tracks(tracks: SceneTracks, out: Path) -> str:
    """Write tracks in the form that the suffix of a name means, there when it is whole; return the lines to print.

    ConfigError if ``out`` is there, cannot be written, or ends in none of .npz, .csv and .parquet.
    """
    check_tracks_name(out)
    try:
        with whole(out) as partial:
            notes = _FORMS[out.suffix.lower()](tracks, partial)
            byte_count = partial.stat().st_size
            check_free(out)
    except OSError as error:
        raise ConfigError(f"'{out}' cannot be written: {error}. Give a name in a folder that takes files.") from error
    seen = tracks.is_visible.sum(0)
    lines = [
        f"{tracks.lifted.name}: {counted(len(tracks), 'point')} in {counted(len(tracks.views), 'view')}, "
        f"{decimal(byte_count)}",
        f"a point is seen in {counted(round(float(np.median(seen))), 'view')} (median)",
        *(f"{name}: {tracks.reasons.count(name)} of {len(tracks)}, {words}" for name, words in REASONS.items()
          if name in tracks.reasons),
        *notes,
        world_words(tracks.lifted),
        f"{out.suffix.lower()[1:]:8s} {out}",
    ]  # fmt: skip
    return "\n".join(lines)


def check_tracks_name(out: Path) -> None:
    """Refuse a name that means no form, or that is taken, before anything is computed."""
    if out.suffix.lower() not in _FORMS:
        raise ConfigError(f"'{out}' is no name for tracks; expected one that ends in {', '.join(_FORMS)}.")
    check_free(out)


def read_tracks(path: Path | str) -> TrackFile:
    """Read a file of TAPVid-3D, its own or of ``lift3d tracks``; ContractError if it is none."""
    arrays = _arrays(Path(path))
    try:
        xyz, visible = arrays["tracks_XYZ"], arrays["visibility"].astype(bool)
        queries, lens = arrays["queries_xyt"], arrays["fx_fy_cx_cy"]
        w2c = arrays.get("extrinsics_w2c")
    except KeyError as error:
        raise ContractError(
            f"'{path}' has no array {error}; expected tracks_XYZ, visibility, … of TAPVid-3D."
        ) from None
    views, count = xyz.shape[:2] if xyz.ndim == 3 else (0, 0)
    expected = {"tracks_XYZ": (views, count, 3), "visibility": (views, count), "queries_xyt": (count, 3)}
    expected |= {"fx_fy_cx_cy": (4,)} | ({} if w2c is None else {"extrinsics_w2c": (views, 4, 4)})
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ContractError(f"'{path}': {name} has shape {arrays[name].shape}; expected {shape}.")
    extra = {name: one for name, one in arrays.items() if name not in (*expected, "images_jpeg_bytes")}
    images = tuple(bytes(one) for one in arrays.get("images_jpeg_bytes", ()))
    return TrackFile(xyz, visible, queries, lens, w2c, images, extra)


def read_points(path: Path) -> list[Pixel]:
    """Read which points to follow: .csv with columns view, u, v; .json, a list of such; .npz of ``lift3d tracks``.

    ConfigError if the file cannot be read as one of these.
    """
    readers: dict[str, Callable[[Path], list[Any]]] = {".csv": _from_csv, ".json": _from_json, ".npz": _from_npz}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"'{path}' is no file of points; expected one that ends in {', '.join(readers)}.")
    try:
        return [(str(view), float(u), float(v)) for view, u, v in readers[path.suffix.lower()](path)]
    except _UNREADABLE as error:
        raise ConfigError(
            f"'{path}' cannot be read as points ({type(error).__name__}: {brief(str(error))}); expected view, u and v "
            'of each: .csv with these columns, .json [["0003", 80, 60], …], or .npz of lift3d tracks.'
        ) from error


def _from_csv(path: Path) -> list[Any]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return [(row["view"], row["u"], row["v"]) for row in csv.DictReader(lines, skipinitialspace=True)]


def _from_json(path: Path) -> list[Any]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [(one["view"], one["u"], one["v"]) if isinstance(one, dict) else one for one in entries]


def _from_npz(path: Path) -> list[Any]:
    arrays = _arrays(path)
    return [(arrays["views"][int(t)], u, v) for u, v, t in arrays["queries_xyt"].tolist()]


def _arrays(path: Path) -> dict[str, Shaped[ndarray, "..."]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (*_UNREADABLE, AttributeError) as error:
        raise ContractError(f"'{path}' cannot be read as an .npz of plain arrays: {error}.") from error


def _write_npz(tracks: SceneTracks, out: Path) -> list[str]:
    K = torch.stack([camera.K for camera in tracks.cameras]).numpy()
    notes = (
        [] if (K[:1] == K).all() else ["the views have lenses of their own: fx_fy_cx_cy is the first one's, K has all"]
    )
    images, said = _images(tracks)
    np.savez(
        out,
        tracks_XYZ=np.stack([tracks.xyz_in(view).astype(np.float32) for view in tracks.views]),
        visibility=tracks.is_visible,
        queries_xyt=np.column_stack([tracks.query_uv, tracks.query_view]),
        fx_fy_cx_cy=K[0, [0, 1, 0, 1], [0, 1, 2, 2]],
        extrinsics_w2c=torch.stack([camera.w2c for camera in tracks.cameras]).numpy(),
        **images,
        tracks_uv=np.stack([tracks.uv_in(view).astype(np.float32) for view in tracks.views]),
        confidence=tracks.confidence,
        tracks_world=tracks.xyz,
        reasons=np.array(tracks.reasons),
        views=np.array(tracks.views),
        K=K,
    )
    return notes + said


def _images(tracks: SceneTracks) -> tuple[dict[str, Any], list[str]]:
    """Return the photographs as JPEG, if they may be read; bytes of one length, so that nothing is pickled."""
    jpegs = []
    for view in tracks.views:
        try:
            frame = tracks.lifted.scene.view(view).load(tracks.lifted.recipe.image_height)
        except Lift3dError as error:
            return {}, [f"without images_jpeg_bytes: {error}"]
        pixels = np.ascontiguousarray(to_bytes(frame.image.permute(1, 2, 0).numpy())[..., ::-1])
        jpegs.append(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes())
    return {"images_jpeg_bytes": np.array(jpegs)}, []


def _write_csv(tracks: SceneTracks, out: Path) -> list[str]:
    tracks.to_pandas().to_csv(out, index=False)
    return []


def _write_parquet(tracks: SceneTracks, out: Path) -> list[str]:
    tracks.to_pandas().to_parquet(out, index=False)
    return []


_FORMS: dict[str, Callable[[SceneTracks, Path], list[str]]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
