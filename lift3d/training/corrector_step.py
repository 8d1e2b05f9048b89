"""One training step of stage II: a feature space, its maps on the sources and on the true target, and the loss.

The loss is relative, as in stage I: the error of the corrected features over that of the shared weights. Geometry is
stage I's and is not trained here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.holes import fill_from_nearest
from lift3d.lifters.corrective import Lift3D, corrected
from lift3d.lifters.networks.corrector import Corrector
from lift3d.lifters.picture import blend_picture
from lift3d.lifters.tap_agreement import features_at
from lift3d.lifters.weights import weights_at
from lift3d.training.density_step import guides_of
from lift3d.training.examples import Example
from lift3d.training.faults import draw_faults, with_faults
from lift3d.training.feature_spaces import draw_feature_space

# Errors below which a map is not worth fitting further.
_COSINE_FLOOR, _SQUARE_FLOOR = 1e-3, 1e-3
# The residual's answer and the plain head's are both trained, since both are catalogued.
_SEPARATE_SHARE = 0.5
# Cells of a target that one step looks at, and how often the features are the colours themselves.
CELLS_AT_MOST = 512
# Feature spaces per target.
CASES = 2
# As the pipeline lifts the picture that guides.
PICTURE_TAPS = 16
PARTS = ("residual_cosine", "residual_square", "separate_cosine", "separate_square")
_LEAST_COVERAGE = 0.5
# How often guides are made worse than random networks give them, and how far such an error reaches.
_MISLED_SHARE = 0.6
_FLAW_CELLS = 4
PLAIN_COLORS = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One feature space at one target.

    Attributes:
        name: Of the space.
        weights: Shared weights at some rows of its grid.
        sources: Its maps of the sources.
        truth: Its map of the true target, at those rows.
        guide: Its map of the picture that the shared weights lift.
    """

    name: str
    weights: BlendingWeights
    sources: tuple[FeatureMap, ...]
    truth: Float[Tensor, "channel cell"]
    guide: FeatureMap


@dataclass(frozen=True, slots=True, eq=False)
class CorrectorBatch:
    """Several feature spaces at one target, whose geometry is paid for once.

    Attributes:
        proposal: Stage I's.
        cases: The feature spaces.
    """

    proposal: RayProposal
    cases: tuple[Case, ...]

    @property
    def seen_share(self) -> float:
        """Share of the cells that count, in the feature space that has the fewest."""
        return min(float((case.weights.coverage > _LEAST_COVERAGE).float().mean()) for case in self.cases)


def corrector_loss(network: Corrector, batch: CorrectorBatch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss and its parts, means over the feature spaces."""
    total, sums = torch.zeros(()), dict.fromkeys(PARTS, 0.0)
    for case in batch.cases:
        counts = case.weights.coverage > _LEAST_COVERAGE
        scale = _centred(case.truth, counts).square().mean()
        with torch.no_grad():
            shared = _errors(case.weights, case, counts, scale)
        for kind, share in (("residual", 1.0), ("separate", _SEPARATE_SHARE)):
            is_whole = kind == "residual"
            weights = corrected(network, batch.proposal, case.weights, case.sources, case.guide, with_residual=is_whole)
            cosine, square = _errors(weights, case, counts, scale)
            relative_cosine = (cosine + _COSINE_FLOOR) / (shared[0] + _COSINE_FLOOR)
            relative_square = (square + _SQUARE_FLOOR) / (shared[1] + _SQUARE_FLOOR)
            total = total + share * 0.5 * (relative_cosine + relative_square) / len(batch.cases)
            sums[f"{kind}_cosine"] += relative_cosine.item() / len(batch.cases)
            sums[f"{kind}_square"] += relative_square.item() / len(batch.cases)
    return total, sums


def _errors(weights: BlendingWeights, case: Case, counts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 − cosine and the squared error over the truth's variance."""
    features = features_at(weights, [one.values for one in case.sources], case.sources)
    found = (features * weights.weight).sum(-1)[:, counts]
    truth = case.truth[:, counts]
    cosine = 1 - F.cosine_similarity(found, truth, dim=0, eps=1e-6)
    return cosine.mean(), (found - truth).square().mean() / scale.clamp(min=1e-8)


def _centred(values: Float[Tensor, "channel cell"], counts: Tensor) -> Tensor:
    kept = values[:, counts]
    return kept - kept.mean(1, keepdim=True)


@torch.no_grad()
def prepare(lifter: Lift3D, example: Example, rng: np.random.Generator) -> CorrectorBatch:
    """Lift one target up to the weights in a few drawn feature spaces.

    Args:
        lifter: Gives stage I.
        example: Target and sources.
        rng: Decides the feature spaces, their faults and which rows of the target are looked at.

    Raises:
        NoOverlapError: If no source sees anything of the target's frustum.
    """
    target = example.target
    guides = guides_of(example)
    proposal = lifter.propose(target.camera, guides, example.depth_range)
    proposal = replace(proposal, source_is_valid=tuple(guide.is_valid for guide in guides))
    grid = FeatureGrid.covering(target.camera.size, 1.0)
    colors = weights_at(proposal, grid, tap_count=PICTURE_TAPS)
    picture = blend_picture(colors, [fill_from_nearest(frame.image, frame.is_valid) for frame in example.sources])
    is_covered = (colors.coverage > 0).reshape(grid.rows, grid.cols)
    lifted = replace(target, image=fill_from_nearest(picture, is_covered), is_valid=torch.ones_like(is_covered))
    frames = [target, lifted, *example.sources]
    return CorrectorBatch(proposal, tuple(_case(rng, proposal, frames) for _ in range(CASES)))


def _case(rng: np.random.Generator, proposal: RayProposal, frames: Sequence[Frame]) -> Case:
    """Encode the target, its lifted picture and the sources in one drawn space."""
    name, maps = _encoded(rng, frames)
    truth = maps[0]
    height = max(1, min(truth.grid.rows, CELLS_AT_MOST // truth.grid.cols))
    first = int(rng.integers(truth.grid.rows - height + 1))
    rows = slice(first, first + height)
    weights = weights_at(proposal, truth.grid, rows=rows)
    return Case(name, weights, tuple(maps[2:]), truth.values[:, rows].flatten(1), _misled(rng, maps[1]))


def _misled(rng: np.random.Generator, guide: FeatureMap) -> FeatureMap:
    """Add what a deep network makes of the flaws of a lifted picture: errors that spread over cells, and own ones.

    Random networks pass flaws on as small as they are; trained ones may not, and the corrector has to tell.
    """
    if rng.uniform() > _MISLED_SHARE:
        return guide
    values = guide.values
    strength = float(rng.uniform(0.1, 1.2)) * (values - values.mean((1, 2), keepdim=True)).square().mean().sqrt()
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    channels, rows, cols = values.shape
    coarse = torch.randn(channels, rows // _FLAW_CELLS + 2, cols // _FLAW_CELLS + 2, generator=generator)
    smooth = F.interpolate(coarse[None], size=(rows, cols), mode="bicubic", align_corners=True)[0]
    own = torch.randn(values.shape, generator=generator)
    share = float(rng.uniform())
    return replace(guide, values=values + strength * (share * smooth + (1 - share) * own))


def _encoded(rng: np.random.Generator, frames: Sequence[Frame]) -> tuple[str, list[FeatureMap]]:
    """Return maps of all frames in one drawn space; invalid pixels are grey."""
    images = torch.stack([torch.where(frame.is_valid, frame.image, 0.5) for frame in frames])
    if rng.uniform() < PLAIN_COLORS:
        grid = FeatureGrid.covering(frames[0].camera.size, 1.0)
        return "rgb", [FeatureMap(image, grid) for image in images]
    space = draw_feature_space(rng)
    return space.name, with_faults(space.encode_views(images), draw_faults(rng), rng)
