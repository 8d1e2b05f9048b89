"""What features of single views know of 3D, measured without training: matches between views, and linear probes.

Letters: a is the view whose cells are looked up, b the view they are looked for in; d1 and d2 are the distances of the
nearest and second nearest cell of b in feature space.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import Frame
from lift3d.errors import SceneError
from lift3d.geometry.holes import fill_from_nearest
from lift3d.geometry.projection import project, unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells, normalized_coordinates, read_planes

KEPT = 1000
# Of standardised channels, so that it means the same for every network; where raw features of DINOv2 do best on a
# capture, lifted ones rather with less.
RIDGE = 0.1
FITTED_CELLS = 10_000
# The scale of the protocol, and the rows that a small image has at least.
SCALE, FEWEST_ROWS = 0.25, 64
# A step in depth of a tenth from a cell to the one after the next is an edge, which has no normal.
EDGE = 0.1
_CELLS_AT_ONCE = 1024
_SMALLEST = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """What depth tells of the cells of a view that all features are read at; cells without depth are NaN.

    Attributes:
        xyz: In the world.
        normal: In the camera's frame, towards it; NaN at edges.
    """

    camera: Camera
    grid: FeatureGrid
    uv: Float[Tensor, "cell 2"]
    z_depth: Float[Tensor, " cell"]
    xyz: Float[Tensor, "cell 3"]
    normal: Float[Tensor, "cell 3"]

    @classmethod
    def of(cls, frame: Frame) -> "Cells":
        """Return cells at a quarter of the image's scale, or 64 rows where that is more; depth is read, not mixed."""
        size, camera = frame.camera.size, frame.camera
        if frame.z_depth is None:
            raise SceneError("Matches and probes are judged by depth, and a view has none. Choose a scene with depth.")
        grid = FeatureGrid.covering(size, max(1.0, min(1 / SCALE, size.height / FEWEST_ROWS)))
        uv = cell_centers(*grid.lattice).reshape(-1, 2)
        pixel = nearest_cells(uv, size.height, size.width)
        z_depth = torch.where(frame.is_valid, frame.z_depth, torch.nan).flatten()[pixel].double()
        xyz_cam = unproject(uv.double(), z_depth, camera.K)
        normal = normals(xyz_cam.reshape(*grid.shape, 3)).reshape(-1, 3)
        return cls(camera, grid, uv, z_depth, transform(camera.c2w, xyz_cam), normal)

    @property
    def is_known(self) -> Bool[Tensor, " cell"]:
        """Which have depth."""
        return torch.isfinite(self.z_depth)

    def read(self, features: FeatureMap) -> Float[Tensor, "cell channel"]:
        """Read features bicubically; where nothing is covered, those of the nearest cell that is."""
        return read_at(features, self.uv)


def read_at(features: FeatureMap, uv: Float[Tensor, "point 2"]) -> Float[Tensor, "point channel"]:
    """Read features bicubically at places in pixels; where nothing is covered, those of the nearest cell that is."""
    values = fill_from_nearest(features.values, torch.isfinite(features.values).all(0)).float()
    at = normalized_coordinates(uv, *features.grid.lattice)
    return read_planes(values, at[None, None], mode="bicubic").flatten(1).T.contiguous()


def normals(xyz: Float[Tensor, "row col 3"]) -> Float[Tensor, "row col 3"]:
    """Return unit normals of points in the camera's frame, towards it, by central differences; NaN at edges."""
    found = torch.full_like(xyz, torch.nan)
    right, down = xyz[1:-1, 2:] - xyz[1:-1, :-2], xyz[2:, 1:-1] - xyz[:-2, 1:-1]
    z_depth = xyz[1:-1, 1:-1, 2]
    is_smooth = torch.maximum(right[..., 2].abs(), down[..., 2].abs()) < EDGE * z_depth
    normal = F.normalize(torch.linalg.cross(down, right), dim=-1)
    found[1:-1, 1:-1] = torch.where(is_smooth[..., None], normal, torch.nan)
    return found


def matched(
    a: Float[Tensor, "cell_a channel"], b: Float[Tensor, "cell_b channel"], kept: int = KEPT
) -> tuple[Int[Tensor, " match"], Int[Tensor, " match"]]:
    """Return the cells of a whose nearest cell of b stands out most, and that cell.

    Source:
        Probe3D (El Banani et al., Probing the 3D Awareness of Visual Foundation Models, CVPR 2024): cosine distance,
        two nearest neighbours, weight 1 − d1/d2, the heaviest kept.
    """
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    weights, nearest = [], []
    for some in torch.split(a, _CELLS_AT_ONCE):
        cosine = some @ b.T
        first, index = cosine.max(1)
        second = cosine.scatter_(1, index[:, None], -1.0).amax(1)
        weights.append(1 - (1 - first).clamp(min=0) / (1 - second).clamp(min=_SMALLEST))
        nearest.append(index)
    chosen = torch.cat(weights).argsort(descending=True, stable=True)[:kept]
    return chosen, torch.cat(nearest)[chosen]


def match_errors(
    a: Cells, b: Cells, features_a: Float[Tensor, "cell channel"], features_b: Float[Tensor, "cell channel"]
) -> tuple[Float[Tensor, " match"], Float[Tensor, " match"]]:
    """Match cells that have depth, and return how far off they are by it.

    Returns:
        In the world's units, and in image heights of b (inf where the point of a lies behind it).
    """
    own, other = a.is_known.nonzero()[:, 0], b.is_known.nonzero()[:, 0]
    cell_a, cell_b = matched(features_a[own], features_b[other])
    cell_a, cell_b = own[cell_a], other[cell_b]
    uv, _ = project(transform(b.camera.w2c, a.xyz[cell_a]), b.camera.K)
    heights = (uv - b.uv[cell_b]).norm(dim=1).nan_to_num(torch.inf) / b.camera.size.height
    return (a.xyz[cell_a] - b.xyz[cell_b]).norm(dim=1), heights


def probed(
    x: Float[Tensor, "cell channel"],
    y: Float[Tensor, "cell value"],
    asked: Float[Tensor, "asked channel"],
    strength: float = RIDGE,
) -> Float[Tensor, "asked value"]:
    """Fit y by ridge regression on standardised x, in closed form, and return what it says of other features."""
    return fitted_probe(x, y, strength)(asked)


def fitted_probe(
    x: Float[Tensor, "cell channel"], y: Float[Tensor, "cell value"], strength: float = RIDGE
) -> Callable[[Float[Tensor, "asked channel"]], Float[Tensor, "asked value"]]:
    """Return what ``probed`` asks, fitted once."""
    x, y = x.double(), y.double()
    center, scale, level = x.mean(0), x.std(0).clamp(min=_SMALLEST), y.mean(0)
    z = (x - center) / scale
    gram = z.T @ z / len(z) + strength * torch.eye(z.shape[1], dtype=z.dtype)
    weight = torch.linalg.solve(gram, z.T @ (y - level) / len(z))
    return lambda asked: (asked.double() - center) / scale @ weight + level
