"""Real 2D models whose feature spaces a training is given, beside those that are drawn.

Only names travel between processes; each process builds the operators of its own.
"""

import functools
from dataclasses import dataclass

import numpy as np

from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import COMPARABLE, Operator
from lift3d.training.settings import operator_label

# Colours are lifted as the picture is: nothing corrects them.
_CORRECTED = tuple(quantity for quantity in COMPARABLE if quantity != "color")


@dataclass(frozen=True, slots=True)
class GivenEncoder:
    """What a card says of an operator; ``weights`` is their digest."""

    name: str
    licence: str
    weights: str


@dataclass(frozen=True, slots=True)
class Encoders:
    """Operators to learn from, by name, and their share of the feature spaces; plug-ins may bring further ones."""

    names: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    share: float = 0.0

    def check(self) -> tuple[GivenEncoder, ...]:
        """Build all of them and return what a card says of each.

        Raises:
            ConfigError: If there is no such operator, one cannot be built, or one is never guided.
        """
        specs = [operator.spec for operator in _built(self.names, self.plugins)]
        for spec in specs:
            if spec.quantity not in _CORRECTED:
                raise ConfigError(
                    f"Operator '{spec.name}' gives {spec.quantity}, which cannot be compared between a view and a "
                    f"lifted picture, so stage II is never asked to correct it. Train on operators of "
                    f"{' or '.join(_CORRECTED)} quantities."
                )
        if len({spec.name for spec in specs}) < len(specs):
            raise ConfigError(f"Operators {', '.join(self.names)} name the same one twice; name each once.")
        return tuple(GivenEncoder(operator_label(one.name), one.licence, one.weights_digest) for one in specs)

    def draw(self, rng: np.random.Generator) -> Operator | None:
        """Draw one of them, or None for one that needs no weights."""
        if not self.names or rng.uniform() >= self.share:
            return None
        return self.numbered(int(rng.integers(len(self.names))))

    def numbered(self, number: int) -> Operator:
        """Return one of them; numbers go round."""
        return _built(self.names, self.plugins)[number % len(self.names)]


@functools.lru_cache(maxsize=2)
def _built(names: tuple[str, ...], plugins: tuple[str, ...]) -> tuple[Operator, ...]:
    return tuple(build_operator(name, plugins) for name in names)
