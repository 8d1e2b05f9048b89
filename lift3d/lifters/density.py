"""Stage I with its network: evidence to samples with sources weighed, in one differentiable step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.lifters.networks.density_proposal import DensityProposal
from lift3d.lifters.ray_evidence import EvidenceSamples, RayEvidence, strongest

_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """Stage I's answer: depth along rays, the strongest samples, each source's weight there, and state for stage II."""

    probability: Float[Tensor, "plane row col"]
    samples: EvidenceSamples
    preference: Float[Tensor, "source sample row col"]
    state: Float[Tensor, "state row col"]

    @property
    def color(self) -> Float[Tensor, "3 row col"]:
        """The guide colour that the sources give each cell: what training compares with the target's."""
        share = self.preference / self.preference.sum(0).clamp(min=_LEAST_WEIGHT)
        per_sample = (share[:, None] * self.samples.color).sum(0)
        return (per_sample * self.samples.probability).sum(1)


def estimate(network: DensityProposal, evidence: RayEvidence, sample_count: int) -> Density:
    """Run the network; differentiable in its parameters."""
    probability, places = network.density(evidence.volume)
    samples = strongest(evidence, probability, sample_count)
    at_samples = places.movedim(1, 0).gather(1, samples.plane[None].expand(places.shape[1], -1, -1, -1))
    weight = samples.visibility * samples.preference
    share = weight / weight.sum(0).clamp(min=_LEAST_WEIGHT)
    preference = weight * torch.exp(network.scores(samples.inputs, at_samples, share.detach()))
    return Density(probability, samples, preference, (at_samples * samples.probability).sum(1))
