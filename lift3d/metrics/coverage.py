"""How much of a target view was lifted from at least one source."""

from lift3d.domain.scores import Score
from lift3d.metrics.counting import counted_cells
from lift3d.metrics.figures import undefined, view_metric
from lift3d.metrics.protocol import ViewEvidence


@view_metric("higher")
def coverage(evidence: ViewEvidence) -> Score:
    """Mean coverage of the first cut over cells that count: the share of the view that some source sees."""
    lifted = evidence.lifted.lifted[0]
    values = lifted.coverage[counted_cells(evidence.counts, lifted.features.grid)].double()
    if values.numel() == 0:
        return undefined("no-pixels", "no cell of the view counts")
    return Score(float(values.mean()), float(values.numel()))
