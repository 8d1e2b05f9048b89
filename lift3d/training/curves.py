"""The curves of a training run: each relative error over steps, of both stages, trained on and held out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lift3d.storage.whole_file import whole
from lift3d.training.corrector_step import OF_OPERATORS
from lift3d.training.train import read_history

CURVES = "curves.png"
# Figures that are ratios: 1 is no better than the reference that the card names for each.
_RELATIVE = ("relative_error", "residual_cosine", "residual_departure", "separate_cosine", "separate_departure")
_PANEL_INCHES = (5.5, 3.6)


def draw_curves(folder: Path) -> Path:
    """Draw what a run has done so far into its folder and return the picture's path."""
    history = read_history(folder)
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * max(1, len(history)), height), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (stage, entries) in enumerate(history.items()):
        _draw_stage(figure.add_subplot(1, len(history), number + 1), stage, entries)
    path = folder / CURVES
    with whole(path) as partial:
        figure.savefig(partial, dpi=120)
    return path


def _draw_stage(axes: Axes, stage: str, entries: Sequence[Mapping[str, float]]) -> None:
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    names = [name + end for name in _RELATIVE for end in ("", OF_OPERATORS) if f"validation_{name}{end}" in entries[-1]]
    for number, name in enumerate(names):
        for kind, line in (("train", ":"), ("validation", "-")):
            points = [(entry["step"], entry[f"{kind}_{name}"]) for entry in entries if f"{kind}_{name}" in entry]
            steps, values = zip(*points, strict=True) if points else ((), ())
            label = f"{name}, {'held out' if kind == 'validation' else 'trained on'}"
            axes.plot(steps, values, line, color=f"C{number}", label=label)
    axes.set(title=stage, xlabel="step", ylabel="error over that of the reference")
    axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
