"""Files of points, meshes or splats of a user's own: read, and written again as they are with what was found."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from plyfile import PlyData, PlyElement
from torch import Tensor

from lift3d.scenes.ply import ply_header, reading_ply, vertex_columns

_NORMALS = ("nx", "ny", "nz")
_CORNERS = ("vertex_indices", "vertex_index")


class PlyRows:
    """The vertices of a file, in its order; SceneFormatError as of points."""

    def __init__(self, path: Path) -> None:
        with reading_ply(path):
            self.names = ply_header(path).vertex
            self._data = PlyData.read(str(path))
            values = self._columns("xyz")
        # Rows that are not finite stay in the file, and are seen nowhere.
        self.is_finite: Bool[Tensor, " row"] = torch.isfinite(values).all(1)

    def __len__(self) -> int:
        return len(self.is_finite)

    @property
    def xyz(self) -> Float[Tensor, "point 3"]:
        """Of those that are finite, in the file's order."""
        return self._columns("xyz")[self.is_finite]

    @property
    def normals(self) -> Float[Tensor, "point 3"]:
        """Unit normals of those that are finite; 0 where the file has none."""
        if not {*_NORMALS} <= {*self.names}:
            return torch.zeros(int(self.is_finite.sum()), 3, dtype=torch.float64)
        return torch.nn.functional.normalize(self._columns(_NORMALS)[self.is_finite].nan_to_num(0.0), dim=1)

    def in_file(
        self, values: Shaped[np.ndarray, " point *rest"], missing: float | int
    ) -> Shaped[np.ndarray, " row *rest"]:
        """Return what is of the finite rows as of all rows."""
        rows = np.full((len(self), *values.shape[1:]), missing, dtype=values.dtype)
        rows[self.is_finite.numpy()] = values
        return rows

    def own(self, name: str) -> Shaped[np.ndarray, " row"] | None:
        """Return a column of the file, if it has one of that name."""
        return self._data["vertex"].data[name] if name in self.names else None

    def write(
        self,
        out: Path,
        columns: Mapping[str, Shaped[np.ndarray, " row"]],
        comments: Sequence[str] = (),
        kept: Bool[np.ndarray, " row"] | None = None,
    ) -> None:
        """Write the rows as they are, or those that are kept, with columns added, or in place of those of their name.

        Faces stay if all their corners do. Without columns, comments or anything left out, the file is the same, bit
        for bit, if its header is in the form that 3DGS writes.
        """
        rows = self._data["vertex"].data
        order = self._data.byte_order
        more = {name: values.astype(values.dtype.newbyteorder(order)) for name, values in columns.items()}
        # A column in place of another may be wider than it.
        taken = [(name, more[name].dtype.str if name in more else kind) for name, kind in rows.dtype.descr]
        added = [(name, values.dtype.str) for name, values in more.items() if name not in rows.dtype.names]
        whole = np.empty(len(rows), dtype=[*taken, *added])
        for name in rows.dtype.names:
            whole[name] = rows[name]
        for name, values in more.items():
            whole[name] = values
        changed = {"vertex": PlyElement.describe(whole if kept is None else whole[kept], "vertex")}
        if kept is not None and "face" in self._data:
            changed["face"] = _faces_of(self._data["face"], kept)
        elements = [changed.get(one.name, one) for one in self._data.elements]
        header = [
            *self._data.comments,
            *(" ".join(one.encode("ascii", "backslashreplace").decode().split()) for one in comments),
        ]
        PlyData(elements, self._data.text, order, header, self._data.obj_info).write(str(out))

    def _columns(self, names: Sequence[str]) -> Float[Tensor, "row property"]:
        return torch.as_tensor(vertex_columns(self._data, names))


def _faces_of(faces: PlyElement, kept: Bool[np.ndarray, " row"]) -> PlyElement:
    """Return the faces of which all corners are kept, by their new numbers."""
    name = next(one for one in _CORNERS if one in faces.data.dtype.names)
    number = np.cumsum(kept) - 1
    chosen = np.array([bool(kept[corners].all()) for corners in faces[name]], dtype=bool)
    rows = faces.data[chosen].copy()
    for place, corners in enumerate(rows[name]):
        rows[name][place] = number[corners].astype(corners.dtype)
    return PlyElement.describe(rows, "face")
