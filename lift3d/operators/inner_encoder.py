"""What operators that decide on another's features share: its name, its spec, and scores per cell at the pixels.

The other operator, the inner one, is named by the option ``of``. Its own options follow as they are, except that the
``&`` between two of them is written %26: ``strokes:cup.json?of=timm:test_vit?weights=random%26seed=1``. In the spec's
name every sign that has a meaning there is written as its code.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import ViewId, digest
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Movable, Operator, OperatorSpec

OPTION = "of"


def build_inner(name: OperatorName) -> Operator:
    """Build the operator that another's option ``of`` names; ConfigError unless its answer is its features."""
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


class StandsOnInner:
    """An operator whose features, and what they promise, are the inner operator's; it decides cell by cell.

    ``own`` says what is decided on its features: name, kind of the prediction, labels. The digest covers the inner
    operator and ``content``, which is what the own name does not tell.
    """

    def __init__(self, inner: Operator, own: OperatorSpec, **content: str) -> None:
        spec = inner.spec
        self._inner = inner
        self.spec = replace(
            own,
            quantity=spec.quantity,
            licence=spec.licence,
            channel_count=spec.channel_count,
            stride_px=spec.stride_px,
            leaks=spec.leaks,
            weights_digest=digest({"inner": spec.identity, **content}),
            decodes_cells=True,
        )

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on."""
        if isinstance(self._inner, Movable):
            self._inner.to(device)

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the inner operator's features."""
        return self._inner.encode(image)

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the inner operator's state."""
        return self._inner.fit_scene(maps, views)


def unit_cells(features: FeatureMap) -> Float[Tensor, "cell channel"]:
    """Return the features of the cells, row-major, at length 1: blending shortens vectors and must not matter."""
    return torch.nn.functional.normalize(features.values.flatten(1).T, dim=1)
