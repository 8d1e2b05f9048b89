"""Features that are themselves the answer: what decode gives for networks without a head."""

import torch

from lift3d.domain.features import FeatureMap
from lift3d.domain.lifted import Prediction


def embedding_of(features: FeatureMap) -> Prediction:
    """Return a feature map as a prediction, on its own grid."""
    is_valid = torch.ones(features.grid.rows, features.grid.cols, dtype=torch.bool)
    return Prediction("embedding", features.values, is_valid)
