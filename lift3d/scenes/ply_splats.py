"""Files of splats, in the layout of 3D Gaussian splatting: read, and written again as they are with what was found."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.scenes.ply import reading_ply
from lift3d.scenes.ply_rows import PlyRows

_SPLAT = ("opacity", *(f"scale_{axis}" for axis in range(3)), *(f"rot_{part}" for part in range(4)))
# Colours seen from everywhere alike are 0.5 plus so many times the first coefficient.
_CONSTANT_HARMONIC = 0.28209479177387814
_VIEWED, _TURNED = "f_dc_", "f_rest_"


@dataclass(frozen=True, slots=True, eq=False)
class Splats:
    """Gaussians of 3D Gaussian splatting, world coordinates; opacity in (0, 1).

    Scales are standard deviations along their own axes, which quaternions (w, x, y, z) of any length turn.

    Source:
        The files of Kerbl et al., 3D Gaussian splatting, SIGGRAPH 2023: logits of opacity, logarithms of scales.
    """

    xyz: Float[Tensor, "splat 3"]
    opacity: Float[Tensor, " splat"]
    scale: Float[Tensor, "splat 3"]
    rotation: Float[Tensor, "splat 4"]


class SplatFile(PlyRows):
    """The rows of a file of splats, in its order; SceneFormatError as of points, or if they are no splats."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with reading_ply(path):
            missing = [name for name in _SPLAT if name not in self.names]
            if missing:
                raise ValueError(f"its vertices have no {', '.join(missing)}, so they are no splats; points need none")
            values = self._columns((*"xyz", *_SPLAT))
        self.is_finite = torch.isfinite(values).all(1)
        self._values = values[self.is_finite]

    @property
    def splats(self) -> Splats:
        """Those that are finite, in the file's order."""
        values = self._values
        return Splats(values[:, :3], values[:, 3].sigmoid(), values[:, 4:7].exp(), values[:, 7:])

    def coloured(
        self, rgb: Float[np.ndarray, "row 3"], is_seen: Bool[np.ndarray, " row"]
    ) -> dict[str, Float[np.ndarray, " row"]]:
        """Return the columns that make splats have colours in [0, 1], the same from everywhere, where they are seen."""
        rows = self._data["vertex"].data
        wanted = {f"{_VIEWED}{axis}": (rgb[:, axis] - 0.5) / _CONSTANT_HARMONIC for axis in range(3)}
        wanted |= {name: np.zeros(len(rows)) for name in rows.dtype.names if name.startswith(_TURNED)}
        return {
            name: np.where(is_seen, values, rows[name] if name in rows.dtype.names else 0.0).astype("f4")
            for name, values in wanted.items()
        }

    @property
    def colours(self) -> Float[Tensor, "splat 3"]:
        """Of the splats, in [0, 1], as seen from everywhere; grey without any."""
        names = [f"{_VIEWED}{axis}" for axis in range(3)]
        if not {*names} <= {*self.names}:
            return torch.full((len(self._values), 3), 0.5, dtype=torch.float64)
        known = self._columns(names)[self.is_finite]
        return (0.5 + _CONSTANT_HARMONIC * known).clamp(0, 1)


def read_ply_splats(path: Path) -> Splats:
    """Read the splats of a file; those that are not finite are left out. Errors as of SplatFile."""
    return SplatFile(path).splats
