"""Files of camera trajectories: rows ``timestamp tx ty tz qx qy qz qw`` as TUM writes them, or rows of c2w matrices.

All are camera-to-world with OpenCV axes; a quaternion has its scalar last.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lift3d.errors import CameraError, SceneFormatError, brief
from lift3d.scenes.file_limits import read_text
from lift3d.scenes.rotations import rigid

# By numbers in a row: timestamps with quaternions, and matrices row by row, whose last row may be left away.
_TUM, _MATRICES = 8, {16: 4, 12: 3}
# Times within this are one: TUM's own limit, seconds.
SAME_TIME_S = 0.02
_LARGEST_NORM_ERROR = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Camera poses in the order of their times; of matrices, these are the numbers of their rows.

    Attributes:
        name: The file's.
        times: Ascending; seconds, or whole numbers from 0.
        rows: Positions and quaternions (scalar last), or matrices row by row.
        one_motion_s: Poses at most so far apart in time have another one between them.
    """

    name: str
    times: Float[ndarray, " pose"]
    rows: Float[ndarray, "pose number"]
    one_motion_s: float = 0.1

    @property
    def is_timed(self) -> bool:
        """Whether poses have timestamps; else each is of the frame that has its number."""
        return bool(self.rows.shape[1] == _TUM - 1)

    def at(self, time: float) -> tuple[Float[Tensor, "4 4"], bool]:
        """Return c2w at a time, and whether its rotation was repaired.

        Between two poses near in time it lies on the way from one to the other. CameraError if no pose is near enough,
        or the one that is is none.
        """
        after = int(np.searchsorted(self.times, time))
        near = [place for place in (after - 1, after) if 0 <= place < len(self.times)]
        nearest = min(near, key=lambda place: abs(self.times[place] - time))
        away = abs(float(self.times[nearest] - time))
        if not self.is_timed:
            if away:
                raise CameraError(f"'{self.name}' has {len(self.times)} poses, none of frame {time:g}.")
            matrix = self.rows[nearest].reshape(_MATRICES[self.rows.shape[1]], 4)
            return rigid(matrix)
        before, after = near[0], near[-1]
        gap = float(self.times[after] - self.times[before])
        if away > 1e-6 and 0 < gap <= self.one_motion_s and self.times[before] < time < self.times[after]:
            return _between(self.rows[[before, after]], (time - float(self.times[before])) / gap), False
        if away > SAME_TIME_S:
            raise CameraError(
                f"'{self.name}' has no pose within {SAME_TIME_S:g} s of {time:.6f}; the nearest is {away:.6g} s away. "
                "Are both of one clock, in seconds?"
            )
        return pose_of(self.rows[nearest]), False


def read_trajectory(path: Path) -> Trajectory:
    """Read a trajectory; rows that begin with # are comments, and one that is cut off or no numbers is of no pose.

    SceneFormatError if the file is none.
    """
    rows = read_rows(path)
    counts = Counter(map(len, rows))
    count = max(counts, key=counts.__getitem__, default=0)
    if count not in (_TUM, *_MATRICES):
        raise SceneFormatError(
            f"'{path}' should have 8 numbers in each row (timestamp, position, quaternion with its scalar last), or 16 "
            f"or 12 (a matrix), got {', '.join(map(str, sorted(counts)[:5])) or 'no rows'}."
        )
    numbers = np.array([_numbers(row, count) for row in rows], dtype=np.float64)
    if count != _TUM:
        return Trajectory(path.name, np.arange(len(numbers), dtype=np.float64), numbers)
    numbers = numbers[np.isfinite(numbers[:, 0])]
    numbers = numbers[np.argsort(numbers[:, 0], kind="stable")]
    if not len(numbers):
        raise SceneFormatError(f"'{path}' has no pose with a finite timestamp.")
    return Trajectory(path.name, numbers[:, 0], numbers[:, 1:])


def _numbers(row: list[str], count: int) -> list[float]:
    """Return the numbers of a row; of one that is damaged, NaN after its time."""
    found = []
    for word in row[:count]:
        try:
            found.append(float(word))
        except ValueError:
            found.append(math.nan)
    return found if len(row) == count else [*found[:1], *[math.nan] * (count - 1)]


def finite(word: str) -> float:
    """Return a number; ValueError if it is none, or not finite."""
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is not finite")
    return value


def read_rows(path: Path) -> list[list[str]]:
    """Return the words of each line that is no comment; SceneFormatError if the file is no text, or too large."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise SceneFormatError(f"'{path}' is not readable as text: {error}.") from error
    return [line.replace(",", " ").split() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def pose_of(row: Float[ndarray, "7"]) -> Float[Tensor, "4 4"]:
    """Return c2w of a position and a quaternion (scalar last); CameraError if that is none."""
    from scipy.spatial.transform import Rotation  # A scene is planned without it.

    norm = float(np.linalg.norm(row[3:]))
    if not np.isfinite(row).all() or abs(norm - 1) > _LARGEST_NORM_ERROR:
        raise CameraError(
            f"A pose should be a finite position and a quaternion of length 1, got {brief(row.tolist())}."
        )
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[:3, :3] = torch.from_numpy(Rotation.from_quat(row[3:]).as_matrix())
    c2w[:3, 3] = torch.from_numpy(row[:3])
    return c2w


def _between(rows: Float[ndarray, "2 7"], share: float) -> Float[Tensor, "4 4"]:
    """Return the pose a share of the way from one to another: straight, and turned about one axis."""
    _, _ = (pose_of(row) for row in rows)
    turned = rows[1].copy()
    # Of a quaternion and its negative, the nearer way.
    turned[3:] *= 1.0 if float(rows[0, 3:] @ rows[1, 3:]) >= 0 else -1.0
    mixed = (1 - share) * rows[0] + share * turned
    # Poses of one motion are near: a normalised mean is the rotation between them to a hundredth of their angle.
    mixed[3:] /= np.linalg.norm(mixed[3:])
    return pose_of(mixed)


def nearest_time(times: Sequence[float], time: float) -> int | None:
    """Return the place of the time, of ascending ones, that is nearest to another, if it is within SAME_TIME_S."""
    after = int(np.searchsorted(times, time))
    near = [place for place in (after - 1, after) if 0 <= place < len(times)]
    best = min(near, key=lambda place: abs(times[place] - time), default=None)
    return best if best is not None and abs(times[best] - time) <= SAME_TIME_S else None
