"""The last blocks of a vision transformer apart from the rest: what enters them is computed once, they run again."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.errors import ConfigError
from lift3d.operators.protocol import Operator
from lift3d.operators.timm_models import TimmOperator, is_vision_transformer


class Tail(nn.Module):
    """Copies of the last blocks of a vision transformer and of its final norm."""

    def __init__(self, blocks: Iterable[nn.Module], norm: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(copy.deepcopy(one) for one in blocks)
        self.norm = copy.deepcopy(norm)

    def forward(self, tokens: Float[Tensor, "image token channel"]) -> Float[Tensor, "image token channel"]:
        """Return the tokens that leave, of those that enter."""
        for block in self.blocks:
            tokens = block(tokens)
        left: Tensor = self.norm(tokens)
        return left


@dataclass(frozen=True, slots=True, eq=False)
class SplitEncoder:
    """An encoder whose blocks from ``first`` up to the stage that is taken are its tail."""

    operator: TimmOperator
    first: int

    @classmethod
    def of(cls, operator: Operator, count: int) -> "SplitEncoder":
        """Split off the last blocks; ConfigError if the operator is no vision transformer of timm with so many."""
        name = operator.spec.name
        if not isinstance(operator, TimmOperator):
            raise ConfigError(
                f"Operator '{name}' is no network of timm, whose last blocks could be tuned. Use timm:NAME, such as "
                "timm:vit_small_patch14_dinov2.",
                operator=name,
            )
        network = operator.network
        if not is_vision_transformer(network):
            raise ConfigError(
                f"Operator '{name}' is a {type(network).__name__}, which is no plain vision transformer: its last "
                "blocks do not take tokens alone. Use one such as timm:vit_small_patch14_dinov2.",
                operator=name,
            )
        there = operator.stage + 1
        if not 1 <= count <= there:
            raise ConfigError(
                f"Operator '{name}' has {there} blocks up to the features that are taken, of which {count} were to be "
                f"tuned. Tune 1 to {there}.",
                operator=name,
            )
        return cls(operator, there - count)

    @property
    def architecture(self) -> str:
        """What timm calls the network, whatever its weights."""
        return str(self.operator.network.pretrained_cfg["architecture"])

    def tail(self) -> Tail:
        """Return a copy of the tail, to be trained: without dropout, as features are computed."""
        network = self.operator.network
        return Tail(network.blocks[self.first : self.operator.stage + 1], network.norm).eval().requires_grad_(True)

    @contextmanager
    def listening(self) -> Iterator[list[Float[Tensor, "image token channel"]]]:
        """Give the block a list of what enters the tail at every run of the operator in the meantime."""
        entered: list[Tensor] = []
        hook = self.operator.network.blocks[self.first].register_forward_pre_hook(
            lambda block, inputs: entered.append(inputs[0])
        )
        try:
            yield entered
        finally:
            hook.remove()

    def features(self, tail: Tail, tokens: Float[Tensor, "token channel"], size: ImageSize) -> FeatureMap:
        """Return the features of an image of a size, of what enters the tail; ConfigError if its cells do not fit."""
        operator, placement = self.operator, self.operator.placement(size)
        left = tail(tokens[None])[0][int(operator.network.num_prefix_tokens) :]
        padded, stride = placement.padded, operator.lattice.stride
        rows, cols = round(padded.height / stride), round(padded.width / stride)
        if len(left) != rows * cols:
            raise ConfigError(
                f"Operator '{operator.spec.name}' has {len(left)} tokens for an image of {size}, expected one for each "
                f"of {rows}×{cols} cells: it drops or joins some. Use another network.",
                operator=operator.spec.name,
            )
        return placement.to_image(left.T.reshape(-1, rows, cols), operator.lattice)

    def merged(self, tail: Tail) -> dict[str, Tensor]:
        """Return the weights of the whole network with those of a tail in place of its own; all others are its own."""
        state: dict[str, Any] = dict(self.operator.network.state_dict())
        for name, tensor in tail.state_dict().items():
            part, _, rest = name.partition(".")
            if part == "blocks":
                number, _, rest = rest.partition(".")
                state[f"blocks.{self.first + int(number)}.{rest}"] = tensor
            else:
                state[name] = tensor
        return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
