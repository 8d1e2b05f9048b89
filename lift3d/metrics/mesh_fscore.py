"""How near two surfaces are to each other, as those who reconstruct rooms count it: precision, recall and F-score.

Letters: accuracy is the mean distance from what is predicted to the nearest place of the reference, completeness that
from the reference to what is predicted; precision and recall are the shares of these that are below a threshold.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

from lift3d.errors import ConfigError

# World units, metres where a scene is in metres: the threshold and the voxel of ScanNet's evaluations.
THRESHOLD, VOXEL = 0.05, 0.01


@dataclass(frozen=True, slots=True)
class SurfaceScore:
    """Distances in world units, NaN where either surface is empty; shares in [0, 1], 0 of an empty prediction."""

    accuracy: float
    completeness: float
    precision: float
    recall: float

    @classmethod
    def of(
        cls, off: Float[ndarray, " point"], missed: Float[ndarray, " place"], threshold: float = THRESHOLD
    ) -> "SurfaceScore":
        """Return the score of distances from what is predicted to the reference, and from that to what is predicted."""
        if not len(off) or not len(missed):
            return cls(float("nan"), float("nan"), 0.0, 0.0)
        shares = (float((one < threshold).mean()) for one in (off, missed))
        return cls(float(off.mean()), float(missed.mean()), *shares)

    @property
    def fscore(self) -> float:
        """Harmonic mean of precision and recall; 0 if both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total > 0 else 0.0


def surface_score(
    predicted: Float[ndarray, "point 3"],
    reference: Float[ndarray, "place 3"],
    threshold: float = THRESHOLD,
    voxel: float = VOXEL,
) -> SurfaceScore:
    """Return how near two surfaces, as points on them, are to each other; both are thinned to one point per voxel.

    ConfigError if the reference is empty, or threshold and voxel are not positive.

    Source:
        Murez et al., Atlas, ECCV 2020, table 1 of the supplement; Yu et al., MonoSDF, NeurIPS 2022, appendix.
    """
    if not (threshold > 0 and voxel > 0):
        raise ConfigError(f"Threshold and voxel are lengths, got {threshold} and {voxel}; expected positive numbers.")
    if not len(reference):
        raise ConfigError("The reference surface is empty: nothing can be compared with it.")
    found, true = thinned(predicted, voxel), thinned(reference, voxel)
    if not len(found):
        return SurfaceScore.of(np.zeros(0), np.zeros(0))
    return SurfaceScore.of(nearest(found, true, threshold)[0], nearest(true, found, threshold)[0], threshold)


def nearest(
    points: Float[ndarray, "point 3"], places: Float[ndarray, "place 3"], threshold: float = THRESHOLD
) -> tuple[Float[ndarray, " point"], Int[ndarray, " point"]]:
    """Return the distance from each point to the nearest of some places, and which that is.

    Exact up to twice the threshold, beyond it a tenth too far at most: all places of a wall are about as far from a
    point in the middle of the room, and telling them apart takes long.
    """
    tree = cKDTree(places)
    distance, index = tree.query(points, distance_upper_bound=2 * threshold)
    is_far = ~np.isfinite(distance)
    if is_far.any():
        distance[is_far], index[is_far] = tree.query(points[is_far], eps=0.1)
    return distance, index


def thinned(points: Float[ndarray, "point 3"], voxel: float) -> Float[ndarray, "kept 3"]:
    """Return the mean of the points of each cube of a lattice that holds any."""
    if not len(points):
        return points
    # From the middle of a cube, so that points on a lattice do not fall to either side of its walls by rounding.
    cube = np.floor((points - points.min(0)) / voxel + 0.5).astype(np.int64)
    _, own, count = np.unique(np.ravel_multi_index(cube.T, cube.max(0) + 1), return_inverse=True, return_counts=True)
    sums = [np.bincount(own.reshape(-1), weights=points[:, axis]) for axis in range(3)]
    return np.stack(sums, axis=1) / count[:, None]


def points_on_triangles(
    xyz: Float[ndarray, "vertex 3"], faces: Int[ndarray, "face 3"], spacing: float
) -> Float[ndarray, "point 3"]:
    """Return points drawn evenly on triangles, always the same: two per square of a spacing, on average."""
    corners = xyz[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1) / 2
    count = int(np.ceil(2 * area.sum() / spacing**2))
    if not count:
        return np.zeros((0, 3))
    random = np.random.default_rng(0)
    places = np.searchsorted(area.cumsum(), np.sort(random.uniform(0, area.sum(), count)))
    chosen = corners[places.clip(max=len(faces) - 1)]
    share = random.dirichlet((1, 1, 1), count)
    drawn: Float[ndarray, "point 3"] = np.einsum("ijk,ij->ik", chosen, share)
    return drawn
