"""Running a module while it is probed: what its cuts give for images of noise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.domain.camera import ImageSize
from lift3d.operators.split.cuts import OUTPUT, Call, Cut, capture


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """How the module is run while it is probed."""

    model: nn.Module
    call: Call
    cuts: tuple[Cut, ...]
    read_answer: Callable[[Any], Tensor] | None

    def tensors(self, size: ImageSize) -> list[Tensor]:
        """Return the tensors at the cuts, and the answer if it is wanted, for an image of noise."""
        stops = self.read_answer is None and all(cut.module != OUTPUT for cut in self.cuts)
        with torch.no_grad():
            output, found = capture(self.model, self.call, self.noise(size), self.cuts, stops=stops)
        tensors = [found[cut] for cut in self.cuts]
        return tensors if self.read_answer is None else [*tensors, self.read_answer(output)]

    def shapes(self, size: ImageSize) -> list[tuple[int, ...]]:
        """Return their shapes."""
        return [tuple(one.shape) for one in self.tensors(size)]

    @property
    def places(self) -> list[str]:
        """Return what the tensors are, for messages."""
        return [*(f"Cut '{cut.text}'" for cut in self.cuts), *(["The answer"] if self.read_answer else [])]

    def noise(self, size: ImageSize, count: int = 1, seed: int = 0) -> Float[Tensor, "image 3 height width"]:
        """Return noise where the module is."""
        one = next(iter(self.model.parameters()), None)
        return noise(size, count, seed) if one is None else noise(size, count, seed).to(one.device)


def noise(size: ImageSize, count: int = 1, seed: int = 0) -> Float[Tensor, "image 3 height width"]:
    """Return images that excite everything a network looks for: coarse and fine noise, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 2 + size.height // 8, 2 + size.width // 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, (size.height, size.width), mode="bilinear", align_corners=False)
    return 0.6 * smooth + 0.4 * torch.rand(count, 3, size.height, size.width, generator=generator)
