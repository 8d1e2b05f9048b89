"""One training step of stage II: a feature space, its maps on the sources and on the true target, and the loss.

The loss is relative: the error of the corrected features over that of the shared weights, and how far they leave the
consensus of all views over how far the truth does. Geometry is stage I's and is not trained here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.features import FeatureMap
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame
from lift3d.domain.weights import BlendingWeights
from lift3d.lifters.corrective import Lift3D, corrected
from lift3d.lifters.networks.corrector import Corrector
from lift3d.lifters.tap_agreement import features_at
from lift3d.lifters.weights import weights_at
from lift3d.operators.protocol import Operator
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.weigh import lift_picture
from lift3d.training.density_step import guides_of
from lift3d.training.examples import Example
from lift3d.training.faults import draw_faults, with_faults
from lift3d.training.feature_spaces import FeatureSpace, draw_operator, rows_read, valid_at

# Errors below which a map is not worth fitting further.
_COSINE_FLOOR, _SQUARE_FLOOR = 1e-3, 1e-3
# The residual's answer and the plain head's are both trained, since both are catalogued.
_SEPARATE_SHARE = 0.5
# Cells of a target that one step looks at.
CELLS_AT_MOST = 512
# Feature spaces per target.
CASES = 2
# Ends the names of the same figures over the feature spaces of operators that were given.
OF_OPERATORS = "_operators"
_LEAST_COVERAGE = 0.5
# How often guides are made worse than random networks give them, and how far such an error reaches.
_MISLED_SHARE = 0.6
_FLAW_CELLS = 4
# Of given operators, whose few networks then stand for many; the other half is what lifting meets.
_MIXED_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One feature space at one target: its maps of the sources, the true target and the lifted picture (``guide``).

    Weights are shared ones, ``agreeing`` those by visibility, both at some rows of its grid, as is ``truth``;
    ``is_known`` has the cells of which the true target shows anything. ``is_of_operator``: of one that was given, not
    computed.
    """

    name: str
    weights: BlendingWeights
    agreeing: BlendingWeights
    sources: tuple[FeatureMap, ...]
    truth: Float[Tensor, "channel cell"]
    guide: FeatureMap
    is_known: Bool[Tensor, " cell"]
    is_of_operator: bool = False

    @property
    def counts(self) -> Bool[Tensor, " cell"]:
        """Cells that are trained on."""
        is_covered = (self.weights.coverage > _LEAST_COVERAGE) & (self.agreeing.coverage > _LEAST_COVERAGE)
        return is_covered & self.is_known

    def as_float(self) -> "Case":
        """Return the case in single precision; operators' maps are held in half."""
        *sources, guide = (replace(one, values=one.values.float()) for one in (*self.sources, self.guide))
        return replace(self, sources=tuple(sources), truth=self.truth.float(), guide=guide)


@dataclass(frozen=True, slots=True, eq=False)
class CorrectorBatch:
    """Several feature spaces at one target, whose geometry (stage I's proposal) is paid for once."""

    proposal: RayProposal
    cases: tuple[Case, ...]

    @property
    def seen_share(self) -> float:
        """Share of the cells that count, in the feature space that has the fewest."""
        return min(float(case.counts.float().mean()) for case in self.cases)


def corrector_loss(network: Corrector, batch: CorrectorBatch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss and its parts, means over the feature spaces.

    Half of it is fidelity, the error against the truth over that of the shared weights. Half is agreement: how far
    the answer leaves the consensus of all views that see the surface, over how far the truth itself does. Their sum
    is least between the two: a view's own truth is what views disagree on.
    """
    total = torch.zeros(())
    parts: dict[str, list[float]] = {}
    for case in (one.as_float() for one in batch.cases):
        loss, figures = _loss_of(network, batch.proposal, case)
        total = total + loss / len(batch.cases)
        ending = OF_OPERATORS if case.is_of_operator else ""
        for name, value in figures.items():
            parts.setdefault(name + ending, []).append(value)
    return total, {name: sum(values) / len(values) for name, values in parts.items()}


def _loss_of(network: Corrector, proposal: RayProposal, case: Case) -> tuple[Tensor, dict[str, float]]:
    counts = case.counts
    truth = case.truth[:, counts]
    with torch.no_grad():
        scale = (truth - truth.mean(1, keepdim=True)).square().mean().clamp(min=1e-8)
        shared = _errors(_blended(case.weights, case, counts), truth, scale)
        consensus = _blended(case.agreeing, case, counts)
        own = _errors(truth, consensus, scale)
    answers = corrected(network, proposal, case.agreeing, case.weights, case.sources, case.guide)
    total, figures = torch.zeros(()), {}
    for kind, weights, share in zip(("separate", "residual"), answers, (_SEPARATE_SHARE, 1.0), strict=True):
        found = _blended(weights, case, counts)
        fidelity = _relative(_errors(found, truth, scale), shared)
        departure = _relative(_errors(found, consensus, scale), own)
        total = total + share * 0.5 * (sum(fidelity) + sum(departure))
        for name, value in zip(("cosine", "square", "departure"), (*fidelity, departure[1]), strict=True):
            figures[f"{kind}_{name}"] = value.item()
    return total, figures


def _blended(weights: BlendingWeights, case: Case, counts: Tensor) -> Float[Tensor, "channel counted"]:
    features = features_at(weights, [one.values for one in case.sources], case.sources)
    return (features * weights.weight).sum(-1)[:, counts]


def _errors(
    found: Float[Tensor, "channel counted"], wanted: Float[Tensor, "channel counted"], scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Return 1 − cosine and the squared error in units of the truth's variance."""
    cosine = 1 - F.cosine_similarity(found, wanted, dim=0, eps=1e-6)
    return cosine.mean(), (found - wanted).square().mean() / scale


def _relative(errors: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    cosine, square = (
        (error + floor) / (of + floor)
        for error, of, floor in zip(errors, reference, (_COSINE_FLOOR, _SQUARE_FLOOR), strict=True)
    )
    return cosine, square


@torch.no_grad()
def prepare(
    lifter: Lift3D, example: Example, rng: np.random.Generator, operators: Sequence[Operator | None] = (None,) * CASES
) -> CorrectorBatch:
    """Lift some rows of a target up to the weights in feature spaces, an operator's each or (None) a drawn one's."""
    target, guides = example.target, guides_of(example)
    proposal = lifter.propose(target.camera, guides, example.depth_range)
    proposal = replace(proposal, source_is_valid=tuple(guide.is_valid for guide in guides))
    frames = [target, lift_picture(proposal, example.sources), *example.sources]
    return CorrectorBatch(proposal, tuple(_case(rng, proposal, frames, one) for one in operators))


def _case(rng: np.random.Generator, proposal: RayProposal, frames: Sequence[Frame], given: Operator | None) -> Case:
    """Encode the target, its lifted picture and the sources in one space; on a drawn one faults are simulated."""
    operator = given or draw_operator(rng)
    encoded = [encode_view(operator, frame) for frame in frames]
    if operator.spec.quantity == "color":
        maps = [one[0] for one in encoded]
    else:
        space = FeatureSpace.draw(rng, encoded[0], 1.0 if given is None else _MIXED_SHARE)
        maps = [space.of(one) for one in encoded]
        maps = with_faults(maps, draw_faults(rng), rng) if given is None else maps
    truth, guide, *sources = maps
    height = max(1, min(truth.grid.rows, CELLS_AT_MOST // truth.grid.cols))
    first = int(rng.integers(truth.grid.rows - height + 1))
    rows = slice(first, first + height)
    weights, agreeing = (weights_at(one, truth.grid, rows=rows) for one in (proposal, proposal.uniformly_weighted()))
    *kept, guide = rows_read([*sources, _misled(rng, guide) if given is None else guide], (weights, agreeing))
    is_known, values = valid_at(frames[0].is_valid, weights.grid), truth.values[:, rows].flatten(1)
    return Case(operator.spec.name, weights, agreeing, tuple(kept), values, guide, is_known, given is not None)


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
