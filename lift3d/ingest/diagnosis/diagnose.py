"""The diagnosis of a capture: everything that will hurt, worst first."""

from lift3d.domain.scene import Scene
from lift3d.ingest.diagnosis import cameras, pictures
from lift3d.ingest.diagnosis.evidence import Report, gather
from lift3d.ingest.diagnosis.finding import Finding


def diagnose(scene: Scene, report: Report = lambda done, total: None) -> tuple[Finding, ...]:
    """Look at the views of a posed scene, at most 120 of them, and say what will hurt when they are lifted.

    Nothing is written. ``report`` is told how far it is. What is not looked for: lens distortion that was not undone,
    things that move, mirrors.
    """
    evidence = gather(scene, report)
    return (*cameras.findings(scene, evidence), *pictures.findings(scene, evidence))
