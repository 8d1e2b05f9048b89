"""A metric in one file: how far the mean brightness of a lifted picture is from that of the plain answer."""

from lift3d.domain.scores import Score
from lift3d.metrics.figures import undefined, view_metric


@view_metric("lower", kinds=("image",))
def brightness_gap(evidence):
    """|mean(lifted) − mean(plain)| over the pixels that both know, in [0, 1]."""
    lifted, plain = evidence.lifted.prediction, evidence.plain.prediction
    known = lifted.is_valid & plain.is_valid
    if not bool(known.any()):
        return undefined("no-pixels", "no pixel is known to both")
    gap = (lifted.values[:, known].mean() - plain.values[:, known].mean()).abs()
    return Score(float(gap), float(known.sum()))
