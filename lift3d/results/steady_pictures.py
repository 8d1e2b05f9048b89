"""Predictions of one scene as pictures that can follow each other: one basis, one palette, one range of values."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.lifted import Prediction
from lift3d.results.colours import Picture, heat_picture, label_picture
from lift3d.results.lifted_scene import LiftedScene

# What stands on nothing that was seen; the grey that missing values have in every other picture.
HOLE_GREY = 0.5
# A range that reaches the few values that lie far out leaves the others one colour.
_RANGE_SHARES = (0.01, 0.99)


@dataclass(frozen=True, eq=False)
class SteadyPictures:
    """Draws predictions in the colours of one lifted scene, whichever camera they were lifted to.

    Attributes:
        scene: Its features and values decide on the colours.
    """

    scene: LiftedScene

    def of(self, prediction: Prediction) -> Picture:
        """Return a prediction as RGB at its own size, grey where it stands on nothing that was seen."""
        values, kind = prediction.values, prediction.kind
        if kind == "labels":
            picture = label_picture(values)
        elif kind == "masks":
            picture = label_picture(values.argmax(0))
        elif kind == "image":
            picture = values.clamp(0, 1).permute(1, 2, 0).float().numpy()
        elif kind == "scalar" or len(values) != len(self.scene.pca.mean):
            picture = heat_picture(_strength(prediction), self._limits)
        else:
            picture = self.scene.pca.picture(values)
        seen: Picture = np.where(prediction.is_valid.numpy()[..., None], picture, np.float32(HOLE_GREY))
        return seen

    @cached_property
    def _limits(self) -> tuple[float, float]:
        """Range of what is drawn as heat, over the plain answers where there are some."""
        ends = []
        for target in self.scene.targets:
            view = self.scene.plain(target) or self.scene.view(target)
            strength = _strength(view.prediction).numpy()
            known = strength[np.isfinite(strength)]
            if known.size:
                ends.append(np.quantile(known, _RANGE_SHARES))
        return (float(min(low for low, _ in ends)), float(max(high for _, high in ends))) if ends else (0.0, 1.0)


def _strength(prediction: Prediction) -> Float[Tensor, "row col"]:
    """Return scalars as they are, and how long the vectors of an embedding are that the scene's PCA does not know."""
    return prediction.values if prediction.kind == "scalar" else prediction.values.norm(dim=0)
