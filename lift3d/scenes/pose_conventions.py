"""Other conventions that poses may have been written in: what they were, had they been misread, and how to mend them.

A pose that is read in the wrong convention is still a rigid transform: only what views show tells. All of this is said
of c2w; turning the world changes nothing here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.rays import directions_z1
from lift3d.geometry.rigid import inverse
from lift3d.scenes.rotations import opencv_from_opengl
from lift3d.scenes.tracks_matching import Keypoints, distinct_matches, epipolar_error

Poses = Float[Tensor, "view 4 4"]

# Of pairs of views along the sequence, so many are asked, and so many matches tell enough.
_PAIRS, _FEWEST_MATCHES = 24, 40
_EPIPOLAR_PX = 2.0
# Rays under an angle of less than 0.3° come nearest to each other anywhere.
_FAR = 3e-5
# What fits has this share of the matches on epipolar lines and before both cameras, so many times what is read has.
_FITS, _FITS_BETTER = 0.5, 1.5


@dataclass(frozen=True, slots=True)
class PoseConvention:
    """What poses may be in truth.

    Attributes:
        said: What they would fit as, and what to do.
        reread: c2w as it is if poses were so, from c2w as it was read.
    """

    said: str
    reread: Callable[[Poses], Poses]


def _scalar_first(c2w: Poses) -> Poses:
    return requaternioned(c2w, [1, 2, 3, 0])


def _scalar_last(c2w: Poses) -> Poses:
    return inverse(requaternioned(inverse(c2w), [3, 0, 1, 2]))


def _mirrored(axis: int, c2w: Poses) -> Poses:
    """Return poses of the world that is mirrored along an axis, of cameras whose axis of the same name is turned."""
    flip = torch.eye(4, dtype=c2w.dtype, device=c2w.device)
    flip[axis, axis] = -1
    return flip @ c2w @ flip


def requaternioned(a2b: Poses, order: Sequence[int]) -> Poses:
    """Return transforms of quaternions (scalar last) whose numbers stand in another order."""
    from scipy.spatial.transform import Rotation

    given = Rotation.from_matrix(a2b[:, :3, :3].numpy(force=True)).as_quat()
    turned = a2b.clone()
    turned[:, :3, :3] = torch.as_tensor(Rotation.from_quat(given[:, list(order)]).as_matrix())
    return turned


_AXES = "with their y and z axes turned around (OpenGL's camera axes for OpenCV's)"
CONVENTIONS = (
    PoseConvention("as world-to-camera: invert them", inverse),
    PoseConvention(f"{_AXES}: turn these", opencv_from_opengl),
    PoseConvention(f"as world-to-camera, {_AXES}: invert and turn them", lambda one: opencv_from_opengl(inverse(one))),
    *(
        PoseConvention(
            f"in a mirrored (left-handed) world: flip its {name} axis, as of the camera", partial(_mirrored, axis)
        )
        for axis, name in enumerate("xyz")
    ),
    PoseConvention("with the scalar of their quaternions first: write it last", _scalar_first),
    PoseConvention("with the scalar of their quaternions last: write it first", _scalar_last),
    PoseConvention(
        f"with the scalar of their quaternions first, {_AXES}: mend both",
        lambda one: opencv_from_opengl(_scalar_first(one)),
    ),
    PoseConvention(
        "with the scalar of their quaternions first, as world-to-camera: mend both",
        lambda one: inverse(_scalar_first(one)),
    ),
)


def what_poses_would_fit(keypoints: Sequence[Keypoints], cameras: Sequence[Camera]) -> str:
    """Return a sentence on the convention in which poses would fit what views show; empty if in none, or as they are.

    Views are in the order of the scene, where neighbours are likely to see the same.
    """
    count = len(cameras)
    pairs = [(a, a + step) for step in (1, 2, 4) for a in range(count - step)]
    pairs = pairs[:: -(-len(pairs) // _PAIRS)] if pairs else []
    matches = [distinct_matches(keypoints[a], keypoints[b]) for a, b in pairs]
    total = sum(map(len, matches))
    if total < _FEWEST_MATCHES:
        return ""
    c2w = torch.stack([camera.c2w for camera in cameras])

    def share(read: Poses) -> float:
        both = zip(pairs, matches, strict=True)
        return sum(_fitting(keypoints, cameras, read, pair, own) for pair, own in both) / total

    shares = [share(one.reread(c2w)) for one in CONVENTIONS]
    best = max(range(len(shares)), key=shares.__getitem__)
    if shares[best] < max(_FITS, _FITS_BETTER * share(c2w)):
        return ""
    return f"The poses would fit {CONVENTIONS[best].said}."


def _fitting(
    keypoints: Sequence[Keypoints],
    cameras: Sequence[Camera],
    c2w: Poses,
    pair: tuple[int, int],
    matches: Int[Tensor, "match 2"],
) -> int:
    """Return how many matches of two views lie on each other's epipolar lines, and meet before both cameras."""
    if not len(matches):
        return 0
    own = tuple(Camera(cameras[at].K, inverse(c2w[at]), cameras[at].size) for at in pair)
    uv = [keypoints[at].uv[matches[:, side]] for side, at in enumerate(pair)]
    error = epipolar_error(uv[0], uv[1], (own[0], own[1]))
    return int(((error < _EPIPOLAR_PX) & is_ahead(uv, own)).sum())


def is_ahead(uv: Sequence[Float[Tensor, "match 2"]], cameras: Sequence[Camera]) -> Bool[Tensor, " match"]:
    """Whether the rays of matches come nearest to each other before both cameras, or far away where both look.

    Source:
        Closest points of two lines, by the normal equations of their distances along each.
    """
    a, b = (
        directions_z1(one.double(), camera.K) @ camera.c2w[:3, :3].T for one, camera in zip(uv, cameras, strict=True)
    )
    offset = cameras[1].center - cameras[0].center
    aa, bb, ab = (a * a).sum(1), (b * b).sum(1), (a * b).sum(1)
    determinant = aa * bb - ab * ab  # by aa · bb the square of the sine of their angle
    along_a = (a @ offset) * bb - (b @ offset) * ab
    along_b = (a @ offset) * ab - (b @ offset) * aa
    is_far = (ab > 0) & (determinant < _FAR * aa * bb)
    return is_far | ((along_a > 0) & (along_b > 0))
