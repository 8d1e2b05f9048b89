"""An operator in one file, how strong edges are: ``--plugin edges_operator.py:OPERATOR --operator edges``."""

import torch
import torch.nn.functional as F

from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap
from lift3d.domain.lifted import Prediction
from lift3d.operators.protocol import OperatorSpec


class Edges:
    """Length of the gradient of brightness at every pixel."""

    spec = OperatorSpec(name="edges", stage_version=1, prediction_kind="scalar", channel_count=1)

    def encode(self, image):
        """Return one map at one cell per pixel, float32 and finite."""
        grey = F.pad(image.mean(dim=0)[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
        across, down = (grey[1:-1, 2:] - grey[1:-1, :-2]) / 2, (grey[2:, 1:-1] - grey[:-2, 1:-1]) / 2
        return (FeatureMap(torch.hypot(across, down)[None], FeatureGrid(*image.shape[-2:], 1.0, 1.0)),)

    def fit_scene(self, maps, views):
        """Nothing is learned of all views together."""
        return EMPTY_STATE

    def decode(self, features, state, size):
        """Return the channel itself: here the answer is what is lifted."""
        values = features[0].values[0]
        return Prediction("scalar", values, torch.ones_like(values, dtype=torch.bool))


OPERATOR = Edges()
