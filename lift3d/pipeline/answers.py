"""What operators say of single views, decoded once and kept for whoever asks again."""

import torch

from lift3d.domain.features import SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.operators.protocol import Operator
from lift3d.pipeline.digests import operator_digest
from lift3d.pipeline.inputs import BoundedCache, SceneInputs

# What views say of themselves is asked for twice, as the plain answer and on the surface, soon one after the other.
KEPT_BYTES = 2**28


class Answers:
    """The frozen decoder on a view's own features."""

    def __init__(self, inputs: SceneInputs) -> None:
        self._inputs = inputs
        self._kept: BoundedCache[Prediction] = BoundedCache(lambda one: one.values.nbytes, KEPT_BYTES)

    def of(self, operator: Operator, state: SceneState, view: ViewId) -> Prediction:
        """Return the answer of a view."""
        return self._kept.get(operator_digest(operator.spec) + view, lambda: self._decoded(operator, state, view))

    def _decoded(self, operator: Operator, state: SceneState, view: ViewId) -> Prediction:
        with torch.inference_mode():
            features, size = self._inputs.features(operator, view), self._inputs.frame(view).camera.size
            return operator.decode(features, state, size)
