"""What a query found on the points of a scene: as numbers, a table, a map of any view, a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from lift3d.domain.lifted import LiftedView
from lift3d.errors import ConfigError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.results.cloud import Cloud
from lift3d.results.colours import heat_picture, to_bytes
from lift3d.results.exports.files import check_free
from lift3d.results.exports.ply import Columns, write_ply
from lift3d.scenes.ply_rows import PlyRows
from lift3d.storage.whole_file import whole
from lift3d.tables.schema import DataFrame

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_SUFFIXES = (".ply", ".parquet", ".csv")


def check_found_name(out: Path) -> None:
    """Refuse a name that means no form, or that is taken, before anything is computed."""
    if out.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"'{out}' is no name for what was found; expected one that ends in .ply, .parquet, .csv.")
    check_free(out)


@dataclass(frozen=True, eq=False)
class Found:
    """What is like a query, and how much.

    Attributes:
        query: The words, or the view and the pixel that was clicked.
        cloud: Points of the surface, world coordinates.
        likeness: Of each point: relevancy to words, in [0, 1], or cosine to what was clicked; smoothed over neighbours.
        threshold: What is above it is found.
        threshold_source: How it was chosen: never by labels.
        targets: The views that the points are read from, by ``cloud.view``.
    """

    query: str
    cloud: Cloud
    likeness: Float[ndarray, " point"]
    threshold: float
    threshold_source: str
    targets: tuple[str, ...]

    @property
    def selected(self) -> Bool[ndarray, " point"]:
        """Which points are found."""
        return self.likeness > self.threshold

    @property
    def peak(self) -> int:
        """The point that is most like the query."""
        return int(self.likeness.argmax())

    @property
    def position(self) -> Float[ndarray, "3"]:
        """Where that point is, world coordinates."""
        place: Float[ndarray, 3] = self.cloud.xyz[self.peak].numpy()
        return place

    @property
    def best_view(self) -> tuple[str, float, float]:
        """The view that shows that point best, and its pixel there."""
        u, v = self.cloud.uv[self.peak].tolist()
        return self.targets[int(self.cloud.view[self.peak])], u, v

    def seen_from(self, view: LiftedView) -> Float[ndarray, "row col"]:
        """Return the likeness of each cell of a lifted view: that of the point nearest to what it shows; NaN of none.

        Points do not depend on who looks, so maps of all views agree.
        """
        own = view.lifted[0]
        uv = cell_centers(*own.features.grid.lattice).double()
        xyz = transform(view.camera.c2w, unproject(uv, own.z_depth.double(), view.camera.K)).reshape(-1, 3)
        is_known = torch.isfinite(xyz).all(1).numpy()
        found = np.full(len(xyz), np.nan)
        found[is_known] = self.likeness[self._tree.query(xyz.numpy()[is_known])[1]]
        return found.reshape(own.features.grid.shape)

    def at(self, xyz: Float[ndarray, "place 3"]) -> Float[ndarray, " place"]:
        """Return the likeness at places, world coordinates: that of the nearest point; NaN of places beside them."""
        apart, nearest = self._tree.query(xyz)
        # As far from a point as points are from each other, and as much again.
        reach = 2 * float(np.median(self._tree.query(self.cloud.xyz.numpy(), k=2)[0][:, -1]))
        return np.where(apart <= reach, self.likeness[nearest], np.nan)

    def cut_out(self, onto: Path | str, out: Path | str) -> int:
        """Write the rows of a .ply (splats, a cloud, a mesh) that are found, with their likeness; return how many.

        SceneFormatError if the file is no PLY; ConfigError if none of its rows is found.
        """
        file = PlyRows(Path(onto))
        likeness = file.in_file(self.at(file.xyz.numpy()).astype(np.float32), np.nan)
        kept = likeness > self.threshold
        if not kept.any():
            raise ConfigError(
                f"Of the {len(file)} rows of '{onto}' none is where '{self.query}' was found. They may be in another "
                "world or unit, or the threshold too high: see lift3d query without a file."
            )
        with self._writing(Path(out)) as partial:
            file.write(partial, {"likeness": likeness}, [f"lift3d: {self.query}, {self.threshold_source}"], kept)
        return int(kept.sum())

    def to_pandas(self) -> DataFrame:
        """Return a row per point: x, y, z, nx, ny, nz, likeness, is_selected."""
        columns = dict(zip("xyz", self.cloud.xyz.numpy().T, strict=True))
        columns |= dict(zip(("nx", "ny", "nz"), self.cloud.normals.numpy().T, strict=True))
        return DataFrame({**columns, "likeness": self.likeness, "is_selected": self.selected})

    def summary(self) -> dict[str, object]:
        """Return what there is to say in one line: where, how large, how sure, where to look."""
        selected = self.cloud.xyz[torch.from_numpy(self.selected)].numpy()
        extent = np.ptp(selected, axis=0) if len(selected) else np.zeros(3)
        view, u, v = self.best_view
        return {
            "query": self.query,
            "likeness": float(self.likeness[self.peak]),
            "threshold": self.threshold,
            "threshold_source": self.threshold_source,
            "points": len(selected),
            "position": self.position.tolist(),
            "extent": extent.tolist(),
            "view": view,
            "u": u,
            "v": v,
        }

    def write(self, out: Path | str) -> None:
        """Write the points with their likeness: .ply in colours, .parquet or .csv; ConfigError for any other name."""
        path = Path(out)
        check_found_name(path)
        with self._writing(path) as partial:
            if path.suffix.lower() == ".ply":
                self._write_ply(partial)
            elif path.suffix.lower() == ".csv":
                self.to_pandas().to_csv(partial, index=False)
            else:
                self.to_pandas().to_parquet(partial, index=False)

    @contextmanager
    def _writing(self, out: Path) -> Iterator[Path]:
        check_free(out)
        try:
            with whole(out) as partial:
                yield partial
        except OSError as error:
            raise ConfigError(f"'{out}' cannot be written: {error}. Name a file in a folder that takes it.") from error

    def _write_ply(self, out: Path) -> None:
        low, high = float(self.likeness.min()), float(self.likeness.max())
        heat = heat_picture(torch.from_numpy(self.likeness)[None], (low, high))
        columns: Columns = dict(zip(("red", "green", "blue"), to_bytes(heat)[0].T, strict=True))
        said = f"threshold {self.threshold:.4f}, {self.threshold_source}"
        columns["likeness"] = self.likeness.astype(np.float32)
        columns["is_selected"] = self.selected.astype(np.uint8)
        write_ply(out, self.cloud, columns, [f"lift3d: {self.query}", said])

    @cached_property
    def _tree(self) -> "cKDTree":
        from scipy.spatial import cKDTree

        return cKDTree(self.cloud.xyz.numpy())
