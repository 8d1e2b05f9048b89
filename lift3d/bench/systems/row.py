"""One line of ``docs/systems.md``: a figure of one system on one scene, beside what it must be judged by."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SystemRow:
    """What one kind of system gives here on one scene.

    Attributes:
        part: The part of the bench that measured it.
        scene: What it was measured on, as people read it.
        metric: What the figures are, with their unit, e.g. "AP50".
        higher_is_better: How figures are ordered.
        figure: What is reached.
        floors: Figures of what it must be better than, by name.
        ceilings: Figures of the best that there can be on the same input, by name; empty where there is none.
        details: Other figures of the same answers, by name.
        command: The command that measures it.
        date: When it was measured, ISO 8601.
    """

    part: str
    scene: str
    metric: str
    higher_is_better: bool
    figure: float
    floors: dict[str, float]
    ceilings: dict[str, float] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)
    command: str = ""
    date: str = ""

    @property
    def is_above(self) -> bool:
        """Whether the figure is better than all floors."""
        sign = 1 if self.higher_is_better else -1
        return all(sign * self.figure > sign * floor for floor in self.floors.values())
