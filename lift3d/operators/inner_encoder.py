"""What operators that decide on another's features share: its name, its spec, and scores per cell at the pixels.

The other operator, the inner one, is named by the option ``of``. Its own options follow as they are, except that the
``&`` between two of them is written %26: ``strokes:cup.json?of=timm:test_vit?weights=random%26seed=1``. In the spec's
name every sign that has a meaning there is written as its code.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureMap
from lift3d.domain.keys import digest
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator, OperatorSpec

OPTION = "of"


def build_inner(name: OperatorName) -> Operator:
    """Build the operator that another's option ``of`` names.

    Raises:
        ConfigError: If it names none, or one whose answer is something else than its features.
        UnknownNameError: If no catalog has it.
    """
    inner_name = name.option(OPTION, "")
    if not inner_name:
        raise ConfigError(
            f"Operator '{name}' must say whose features it stands on, e.g. '{OPTION}=tiny:clip'; "
            "in the inner operator's own options '&' is written %26."
        )
    inner = build_operator(inner_name)
    if inner.spec.prediction_kind != "embedding":
        raise ConfigError(
            f"Operator '{name}' stands on dense features, but '{inner_name}' answers with "
            f"{inner.spec.prediction_kind}; expected an encoder, e.g. 'tiny:clip', 'hog' or 'timm:…'."
        )
    return inner


def identified(spec: OperatorSpec, inner: OperatorSpec, **content: str) -> OperatorSpec:
    """Return a spec whose digest covers the inner operator, and content that its name does not tell."""
    return replace(spec, weights_digest=digest({"inner": inner.identity, **content}))


def unit_cells(features: FeatureMap) -> Float[Tensor, "cell channel"]:
    """Return the features of the cells, row-major, at length 1: blending shortens vectors and must not matter."""
    return torch.nn.functional.normalize(features.values.flatten(1).T, dim=1)
