"""A folder per view: predictions as images and exact arrays, features, depth, coverage; an index of them all."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lift3d.domain.lifted import LiftedView
from lift3d.results.exports.files import (
    K_WORDS,
    UNKNOWN_ID,
    W2C_WORDS,
    file_names,
    world_words,
    write_floats,
    write_ids,
    write_picture,
    write_share,
)
from lift3d.results.lifted_scene import LiftedScene
from lift3d.runs.progress import track

INDEX = "index.json"
VIEWS = "views"
_HALF_KINDS = ("image", "embedding", "masks")


def export_images(lifted: LiftedScene, out: Path) -> list[str]:
    """Write every view into a folder of its own and return what there is to say."""
    names = file_names(lifted.targets)
    entries: list[dict[str, Any]] = []
    for target in track(lifted.targets, "export"):
        view, folder = lifted.view(target), out / VIEWS / names[target]
        folder.mkdir(parents=True)
        _write_prediction(view, lifted, folder)
        _write_cuts(view, folder)
        # By their names, those of the second form of an array with its ending.
        files = {f"{one.stem}_tiff" if one.suffix == ".tiff" else one.stem: one for one in sorted(folder.iterdir())}
        entries.append(_entry(view, {name: one.relative_to(out).as_posix() for name, one in files.items()}))
    index = {
        "scene": lifted.name,
        "operator": lifted.operator,
        "lifter": lifted.lifter,
        "run": lifted.recipe.run_id,
        "conventions": {
            "w2c": W2C_WORDS,
            "K": K_WORDS,
            "grids": "the features of a cut: cell (row, col) is centred at origin + stride * (col + 0.5, row + 0.5)",
            "world": world_words(lifted),
            "missing": f"NaN in arrays of numbers, -1 in arrays of labels, {UNKNOWN_ID} in images of labels",
        },
        "views": entries,
    }
    (out / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return [f"{INDEX} names every file of every view, with K and w2c"]


def _write_prediction(view: LiftedView, lifted: LiftedScene, folder: Path) -> None:
    """Write the prediction exactly, as stored, and as images."""
    prediction = view.prediction
    kind, values = prediction.kind, prediction.values.numpy()
    # The store holds these as halves, so nothing is lost.
    exact = values.astype(np.float16) if kind in _HALF_KINDS else values
    np.save(folder / "prediction.npy", exact, allow_pickle=False)
    write_share(folder / "prediction_is_valid.png", prediction.is_valid.numpy())
    if kind == "labels":
        write_ids(folder / "labels.png", values)
    if kind == "scalar":
        write_floats(folder / "prediction.tiff", values)
    if kind == "image":
        write_picture(folder / "image.png", values.transpose(1, 2, 0))
    else:
        write_picture(folder / "preview.png", lifted.colours.picture(prediction))


def _write_cuts(view: LiftedView, folder: Path) -> None:
    """Write features, depth and coverage of every cut."""
    for cut, one in enumerate(view.lifted):
        np.save(folder / f"features_{cut}.npy", one.features.values.numpy().astype(np.float16), allow_pickle=False)
        np.save(folder / f"z_depth_{cut}.npy", one.z_depth.numpy(), allow_pickle=False)
        write_floats(folder / f"z_depth_{cut}.tiff", one.z_depth.numpy())
        write_share(folder / f"coverage_{cut}.png", one.coverage.numpy())
        if one.confidence is not None:
            write_share(folder / f"confidence_{cut}.png", one.confidence.numpy())


def _entry(view: LiftedView, files: dict[str, str]) -> dict[str, Any]:
    return {
        "id": view.target,
        "height": view.camera.size.height,
        "width": view.camera.size.width,
        "K": view.camera.K.tolist(),
        "w2c": view.camera.w2c.tolist(),
        "prediction_kind": view.prediction.kind,
        "grids": [one.features.grid.to_json() for one in view.lifted],
        "sources": list(view.source_ids),
        "files": files,
    }
