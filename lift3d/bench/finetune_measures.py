"""What single views of a tuned encoder say of one surface point, and of what they see, beside matches and probes."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.bench.probe3d import Pair, Values, told
from lift3d.bench.probe3d_measures import Cells, read_at
from lift3d.domain.features import FeatureMap
from lift3d.domain.scene import UNKNOWN_LABEL, Frame
from lift3d.errors import SceneError
from lift3d.geometry.projection import project
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells
from lift3d.metrics.depth_surface import RELATIVE_TOLERANCE

ERROR, RELATIVE_ERROR, MIOU = "feature error", "feature error / spread", "mIoU"
# With fewer points that both see, a pair says nothing.
_LEAST_POINTS = 16


def sightings(a: Cells, b: Cells, frame_b: Frame) -> tuple[Int[Tensor, " point"], Float[Tensor, "point 2"]]:
    """Return the cells of a whose point b sees, by its own depth, and where in b that is."""
    known, size = a.is_known.nonzero()[:, 0], b.camera.size
    xyz = transform(b.camera.w2c, a.xyz[known])
    uv, is_in_front = project(xyz, b.camera.K)
    inside = ((uv >= 0) & (uv < torch.tensor([size.width, size.height]))).all(1) & is_in_front
    known, uv, z_depth = known[inside], uv[inside], xyz[inside, 2]
    if frame_b.z_depth is None:
        raise SceneError("Whether two views see one point is told by depth, and a view has none.")
    own = torch.where(frame_b.is_valid, frame_b.z_depth, torch.nan).flatten()
    own = own[nearest_cells(uv, size.height, size.width)].double()
    is_seen = (z_depth - own).abs() < RELATIVE_TOLERANCE * z_depth
    return known[is_seen], uv[is_seen].float()


def error_values(
    cells: Sequence[Cells], frames: Sequence[Frame], pairs: Sequence[Pair], maps: Sequence[FeatureMap]
) -> Values:
    """Return the mean cosine distance between two views of a point, by the view that is asked; NaN without a pair.

    The second figure is over the mean cosine distance between any two cells of all views: features that grow alike
    gain nothing by it.
    """
    features = [one.read(own) for one, own in zip(cells, maps, strict=True)]
    found: list[list[float]] = [[] for _ in cells]
    for pair in pairs:
        cell, uv = sightings(cells[pair.a], cells[pair.b], frames[pair.b])
        if len(cell) >= _LEAST_POINTS:
            cosine = F.cosine_similarity(features[pair.a][cell], read_at(maps[pair.b], uv), dim=1)
            found[pair.a].append(1 - float(cosine.mean()))
    error = np.array([np.mean(own) if own else np.nan for own in found])
    known = torch.cat([own[one.is_known] for one, own in zip(cells, features, strict=True)])
    spread = 1 - float(F.normalize(known.double(), dim=1).mean(0).square().sum())
    return {ERROR: error, RELATIVE_ERROR: error / spread}


def label_values(cells: Sequence[Cells], frames: Sequence[Frame], maps: Sequence[FeatureMap]) -> Values:
    """Return mIoU of linear probes for labels, fitted on every second other view; over the labels that a view has."""
    labels = [_labels_at(one, frame) for one, frame in zip(cells, frames, strict=True)]
    names = torch.tensor(sorted({*torch.cat(labels).tolist()} - {UNKNOWN_LABEL}), dtype=torch.long)
    if not len(names):
        return {}
    truths = [_one_hot(one, names) for one in labels]
    features = [one.read(own) for one, own in zip(cells, maps, strict=True)]
    found = np.full(len(cells), np.nan)
    for half in (0, 1):
        for view, said in told(truths, features, half, is_bounded=False).items():
            guess, truth = (one.argmax(1) for one in (said, truths[view][labels[view] != UNKNOWN_LABEL]))
            found[view] = np.mean([_iou(guess == one, truth == one) for one in {*truth.tolist()}])
    return {MIOU: found}


def _labels_at(cells: Cells, frame: Frame) -> Int[Tensor, " cell"]:
    size = frame.camera.size
    given = torch.full((size.height, size.width), UNKNOWN_LABEL) if frame.labels is None else frame.labels
    labels = torch.where(frame.is_valid, given, UNKNOWN_LABEL).flatten()
    return labels[nearest_cells(cells.uv, size.height, size.width)].long()


def _one_hot(labels: Int[Tensor, " cell"], names: Int[Tensor, " label"]) -> Float[Tensor, "cell label"]:
    return torch.where((labels != UNKNOWN_LABEL)[:, None], (labels[:, None] == names).double(), torch.nan)


def _iou(guess: Tensor, truth: Tensor) -> float:
    return float((guess & truth).sum() / (guess | truth).sum())
