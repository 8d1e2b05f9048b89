"""The loop that all small image-to-image models are trained by (Adam, a warm start, a cosine to rest), and its end."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

_WARM_SHARE = 0.03
# Gradients of single batches are at most a few; a rare larger one shall not undo the work of many.
_LARGEST_GRADIENT = 1.0


def descend(
    parameters: Iterable[nn.Parameter], loss_of: Callable[[int], Tensor], step_count: int, rate: float = 2e-3
) -> None:
    """Minimise a loss.

    Args:
        parameters: What is trained, in place.
        loss_of: Gives the loss of a step's batch by the number of the step.
        step_count: How many steps.
        rate: Largest learning rate.

    Source:
        Kingma & Ba, Adam, ICLR 2015; Loshchilov & Hutter, SGDR, ICLR 2017 (the cosine).
    """
    kept = list(parameters)
    optimizer = torch.optim.Adam(kept, lr=rate, betas=(0.9, 0.99))
    for step in range(step_count):
        for group in optimizer.param_groups:
            group["lr"] = rate * _share(step, step_count)
        optimizer.zero_grad(set_to_none=True)
        loss_of(step).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(kept, _LARGEST_GRADIENT)
        optimizer.step()


def _share(step: int, step_count: int) -> float:
    """Return which share of the largest rate a step takes."""
    warm = max(1, round(_WARM_SHARE * step_count))
    return min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / step_count))


def save_rounded(network: nn.Module, path: Path) -> None:
    """Round a network's weights to half precision, in place too so that what is measured is what ships; write them."""
    halves = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    network.load_state_dict({name: value.float() for name, value in halves.items()})
    save_file(halves, path)
