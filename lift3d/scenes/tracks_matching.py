"""Keypoints of views and which of them match: the 2D half of sparse tracks. OpenCV's SIFT lives here.

Letters: uv pixels of a loaded frame, corner origin; a match is a pair of keypoint indices of views a and b.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Frame

# This much of the border of what is valid is not trusted, so that no keypoint sits on the edge of a mask or of
# an undistorted image.
_BORDER_PX = 8
_KEYPOINT_LIMIT = 2048
# Lowe 2004, §7.1: largest ratio of the best to the second-best distance.
_DISTANCE_RATIO = 0.8
_EPIPOLAR_PX = 2.0
# Ranks of the neighbours a view is matched with: the next ones for many matches, others for wide angles.
_NEIGHBOUR_RANKS = (1, 2, 3, 5, 8, 12, 18)
_LARGEST_TURN = np.cos(np.radians(60))


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """SIFT keypoints of one view; descriptors are bytes, a quarter of the memory of floats.

    ``place`` is the first keypoint at the same pixel: a place with several orientations is several keypoints.
    """

    uv: Float[Tensor, "keypoint 2"]
    place: Int[Tensor, " keypoint"]
    descriptors: UInt8[Tensor, "keypoint 128"]


def find_keypoints(frame: Frame) -> Keypoints:
    """Detect and describe keypoints on the valid pixels of a frame.

    Source:
        Lowe, Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004 (OpenCV's implementation).
    """
    import cv2  # A scene is planned without it.

    rgb = (frame.image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    size = 2 * _BORDER_PX + 1
    allowed = cv2.erode(
        frame.is_valid.numpy().astype(np.uint8), np.ones((size, size), np.uint8), borderType=cv2.BORDER_REPLICATE
    )
    # Without precise upscaling every keypoint is off by a quarter pixel to one side.
    sift = cv2.SIFT.create(nfeatures=_KEYPOINT_LIMIT, contrastThreshold=0.02, enable_precise_upscale=True)
    found, descriptors = sift.detectAndCompute(grey, allowed)
    if not found:
        return Keypoints(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 128, dtype=torch.uint8))
    # OpenCV's integer coordinates are pixel centres, ours are corners.
    uv = torch.tensor([one.pt for one in found], dtype=torch.float32) + 0.5
    _, first, of_first = np.unique(uv.numpy(), axis=0, return_index=True, return_inverse=True)
    place = torch.from_numpy(first[of_first.reshape(-1)])
    return Keypoints(uv, place, torch.from_numpy(descriptors).clamp(0, 255).to(torch.uint8))


def neighbour_pairs(cameras: Sequence[Camera]) -> list[tuple[int, int]]:
    """Return pairs of views likely to see the same: near in centre and viewing direction, at most 60° turned.

    Each view is paired with neighbours of several ranks, so that dense captures get wide angles too. Moving
    or scaling the world changes nothing.
    """
    centers = torch.stack([camera.center for camera in cameras])
    axes = torch.stack([camera.w2c[2, :3] for camera in cameras])
    distances = torch.linalg.norm(centers[:, None] - centers[None], dim=-1)
    spread = distances.median().clamp(min=1e-12)
    cosines = (axes @ axes.T).clamp(-1, 1)
    # Rounded, so that ties of a regular path are decided by the order of views and not by the last bit.
    score = (distances / spread + torch.acos(cosines)).mul(1e6).round()
    is_useful = (cosines > _LARGEST_TURN) & (distances > 1e-6 * spread)
    score = torch.where(is_useful, score, torch.inf)
    pairs: set[tuple[int, int]] = set()
    for a, order in enumerate(torch.sort(score, dim=1, stable=True).indices.tolist()):
        useful = [b for b in order if is_useful[a, b]]
        chosen = [useful[rank - 1] for rank in _NEIGHBOUR_RANKS if rank <= len(useful)]
        pairs.update((min(a, b), max(a, b)) for b in chosen)
    return sorted(pairs)


def match_keypoints(a: Keypoints, b: Keypoints, cameras: tuple[Camera, Camera]) -> Int[Tensor, "match 2"]:
    """Return the distinct matches that lie on each other's epipolar lines; cameras are at the size of the keypoints."""
    matches = distinct_matches(a, b)
    error = epipolar_error(a.uv[matches[:, 0]], b.uv[matches[:, 1]], cameras)
    return matches[error < _EPIPOLAR_PX]


def distinct_matches(a: Keypoints, b: Keypoints) -> Int[Tensor, "match 2"]:
    """Return mutual nearest neighbours that pass the ratio test, whatever the cameras.

    What match are places (keypoint indices, one per pixel).

    Source:
        Descriptors are compared by the Hellinger kernel: Arandjelović & Zisserman, CVPR 2012 (RootSIFT).
    """
    if min(len(a.uv), len(b.uv)) < 2:
        return torch.zeros(0, 2, dtype=torch.int64)
    # NumPy: torch looks for the places of largest values ten times slower.
    similarity = _hellinger(a.descriptors) @ _hellinger(b.descriptors).T
    rows, of_a = np.arange(len(similarity)), similarity.argmax(axis=1)
    best, best_of_b = similarity[rows, of_a], similarity.max(axis=0)
    similarity[rows, of_a] = -1
    is_distinct = (1 - best) < _DISTANCE_RATIO**2 * (1 - similarity.max(axis=1))
    keep = torch.from_numpy((best == best_of_b[of_a]) & is_distinct)
    of_a = torch.from_numpy(of_a)
    return torch.stack([a.place, b.place[of_a]], dim=1)[keep]


def epipolar_error(
    uv_a: Float[Tensor, "match 2"], uv_b: Float[Tensor, "match 2"], cameras: tuple[Camera, Camera]
) -> Float[Tensor, " match"]:
    """Return the larger distance of the two pixels from each other's epipolar line, pixels.

    Source:
        Hartley & Zisserman, Multiple View Geometry, 2nd ed., §9.2 and eq. 11.10.
    """
    a, b = cameras
    a2b = b.w2c @ a.c2w
    x, y, z = a2b[:3, 3].tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    fundamental = torch.linalg.inv(b.K).T @ cross @ a2b[:3, :3] @ torch.linalg.inv(a.K)
    xyw_a, xyw_b = (torch.cat([uv.double(), torch.ones(len(uv), 1).double()], dim=1) for uv in (uv_a, uv_b))
    line_b, line_a = xyw_a @ fundamental.T, xyw_b @ fundamental
    algebraic = (xyw_b * line_b).sum(-1).abs()
    slopes = torch.minimum(line_a[:, :2].norm(dim=-1), line_b[:, :2].norm(dim=-1))
    error: Tensor = algebraic / slopes.clamp(min=1e-12)
    return error.to(uv_a.dtype)


def _hellinger(descriptors: UInt8[Tensor, "keypoint 128"]) -> Float32[ndarray, "keypoint 128"]:
    values = descriptors.numpy().astype(np.float32)
    values /= values.sum(axis=1, keepdims=True).clip(min=1)
    return np.sqrt(values, out=values)
