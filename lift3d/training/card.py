"""The model card of a checkpoint: what it was trained on, for how long, where, how well, and what it cannot do."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lift3d.synthetic.families import FAMILIES
from lift3d.synthetic.training_scenes import HEIGHTS, VIEW_COUNT
from lift3d.training.captures import GivenCapture
from lift3d.training.corrector_step import OF_OPERATORS
from lift3d.training.feature_spaces import GivenEncoder
from lift3d.training.settings import TrainingSettings

History = Mapping[str, Sequence[Mapping[str, float]]]

# Of a target: those of held-out scenes lie within those that are trained on, and any number the lifter meets near them.
TRAINING_SOURCES, VALIDATION_SOURCES = (2, 10), (4, 8)
_VALIDATION = "validation_"
_UNTRAINED = "\n- Stage II is untrained: it is there to train others on its stage I."
_EXPLAINED = {
    "relative_error": "squared error of colours at held-out views over the untrained one",
    "surprise": "−log of the probability near the true depth, nats",
    "residual_cosine": "1 − cosine to the features of the true view over that of shared weights; whole corrector",
    "residual_square": "squared error to the features of the true view over that of shared weights; whole corrector",
    "separate_cosine": "1 − cosine over that of shared weights; new weights alone",
    "separate_square": "squared error over that of shared weights; new weights alone",
    "residual_departure": "squared distance to the consensus of all views over that of the true view; whole corrector",
    "separate_departure": "squared distance to the consensus of all views over that of the true view; new weights",
}


@dataclass(frozen=True, slots=True)
class Given:
    """What a training was given beside computed scenes; ``density_weights`` is the digest of the stage I it took."""

    encoders: tuple[GivenEncoder, ...]
    captures: tuple[GivenCapture, ...]
    density_weights: str


@dataclass(frozen=True, slots=True)
class Making:
    """How a checkpoint was made; parameters, seconds, and the first and last validation are by stage."""

    settings: TrainingSettings
    given: Given
    parameters: Mapping[str, int]
    seconds: Mapping[str, int]
    history: History

    def to_json(self) -> dict[str, Any]:
        """Return what the checkpoint's file says of it."""
        return {
            "settings": self.settings.identity,
            "command": self.settings.command,
            "machine": _machine(),
            "torch": torch.__version__,
            "sources": TRAINING_SOURCES,
            "validation_sources": VALIDATION_SOURCES,
            "parameters": self.parameters,
            "seconds": self.seconds,
            "history": self.history,
            **asdict(self.given),
        }

    def to_card(self, name: str) -> str:
        """Return the card of the checkpoint of this name, as Markdown."""
        settings, (fewest, most), (low, high) = self.settings, TRAINING_SOURCES, VALIDATION_SOURCES
        absent = {"no captured scene": self.given.captures, "no trained network": self.given.encoders}
        missing = ", ".join(words for words, given in absent.items() if not given)
        parts = [
            f"# {name}",
            "Weights of the lifter `lift3d`: coarse density proposal, then corrective aggregation of features. "
            "Licence: Apache-2.0, as the package.",
            "## Data",
            f"{settings.scenes:,} computed scenes of {VIEW_COUNT} views each, made from seed {settings.seed}: "
            f"{', '.join(FAMILIES)}. Image heights {', '.join(map(str, HEIGHTS))}; {fewest} to {most} sources per "
            "target. Feature spaces: random networks and hand-made descriptors with the faults of pretrained ones."
            + (f" {missing.capitalize()}." if missing else ""),
            *self._given(),
            "## Training",
            self._effort(),
            f"A step trains on {settings.processes} new example(s) and as many recent ones; kept is the moving "
            f"average. Machine: {_machine()}; torch {torch.__version__}. The command that makes it:",
            f"```bash\n{settings.command}\n```",
            self._figures(),
            f"Held out: {settings.validation_scenes} computed scenes of another seed, {low} to {high} sources. They "
            "are of the same families as those trained on; figures on captured scenes are in the results of the "
            "project.",
            "## Limits",
            "- Static scenes with given cameras. Things that move, mirrors and glass are seen as noise or not at all.\n"
            f"- Fewer than {fewest} or many more than {most} sources, images much larger than {max(HEIGHTS)} pixels, "
            "and wrong depth ranges are outside of what it was trained on.\n"
            "- It combines what sources show: what no source sees stays uncovered."
            + ("" if settings.corrector_steps else _UNTRAINED),
        ]
        return "\n\n".join(parts) + "\n"

    def _given(self) -> list[str]:
        settings, parts = self.settings, []
        if self.given.captures:
            names = ", ".join(f"{one.name} ({one.views} views)" for one in self.given.captures)
            parts.append(f"Captures, {settings.capture_share:.0%} of the examples: {names}. None is held out.")
        if self.given.encoders:
            rows = [f"| {one.name} | {one.licence} | {one.weights or '–'} |" for one in self.given.encoders]
            parts += [
                f"Encoders, {settings.operator_share:.0%} of stage II's feature spaces, without simulated faults, "
                "channels mixed at random in half of the draws:",
                "\n".join(["| encoder | licence | digest of its weights |", "|---|---|---|", *rows]),
            ]
        return parts

    def _effort(self) -> str:
        settings = self.settings
        rows = ["| | parameters | steps | learning rate | time |", "|---|---|---|---|---|"]
        for stage, title, steps, rate in (
            ("density", "stage I, density proposal", settings.density_steps, settings.density_rate),
            ("corrector", "stage II, corrector", settings.corrector_steps, settings.corrector_rate),
        ):
            effort = f"taken as it is from `{settings.identity.get('density_from')}` | none"
            if stage in self.seconds:
                effort = f"{rate:g} | {self.seconds[stage] / 60:.0f} min"
            rows.append(f"| {title} | {self.parameters[stage]:,} | {steps:,} | {effort} |")
        return "\n".join(rows)

    def _figures(self) -> str:
        rows = [
            f"| {stage} | {_explained(key)} | {entries[0][key]:.3f} | **{entries[-1][key]:.3f}** |"
            for stage, entries in self.history.items()
            for key in entries[-1]
            if key.startswith(_VALIDATION)
        ]
        head = "| stage | figure, mean over held-out scenes; less is better | untrained | trained |\n|---|---|---|---|"
        return "\n".join(["## Validation", "", head, *rows])


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} used to train, no GPU"


def _explained(key: str) -> str:
    figure = key.removeprefix(_VALIDATION)
    plain = figure.removesuffix(OF_OPERATORS)
    words = _EXPLAINED.get(plain, plain)
    return words if plain == figure else f"{words}; features of the encoders above"
