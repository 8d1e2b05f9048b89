"""The card of a tuned encoder: from which, on what, for how long, how well, and how to use it."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lift3d.operators.names import OperatorName
from lift3d.training.settings import operator_label
from lift3d.training.tuning.settings import TuningSettings
from lift3d.training.tuning.views import TuningScene

_VALIDATION = "validation_"
_EXPLAINED = {
    "cosine": "1 − cosine to the lifted features, from the mean of all",
    "relative_cosine": "1 − cosine to the lifted features over 1 − cosine between cells of the view",
    "contrast": "cross entropy of telling a cell's lifted features from those of the view's others, nats",
    "length": "smooth L1 to the lifted features, in spreads of each channel",
    "stay": "1 − cosine to the features before",
}


@dataclass(frozen=True, slots=True)
class Tuning:
    """How weights were tuned: ``first`` and ``last`` are validations, before and after."""

    settings: TuningSettings
    architecture: str
    licence: str
    weights: str
    scenes: tuple[TuningScene, ...]
    parameters: int
    all_parameters: int
    seconds: int
    first: Mapping[str, float]
    last: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return what the file of the weights says of them."""
        return {
            "settings": self.settings.identity,
            "command": self.settings.command,
            "architecture": self.architecture,
            "licence": self.licence,
            "weights_before": self.weights,
            "scenes": [[scene.name, scene.content, len(scene.views)] for scene in self.scenes],
            "torch": torch.__version__,
            "seconds": self.seconds,
            "first": dict(self.first),
            "last": dict(self.last),
        }

    def to_card(self, name: str) -> str:
        """Return the card of the weights of this name, as Markdown."""
        settings, label = self.settings, operator_label(self.settings.operator)
        parts = [
            f"# {name}",
            f"Weights of `{label}`, the last {settings.blocks} block(s) and the final norm tuned so that features of a "
            "view predict the features that all other views of the scene give of the same places. All other weights "
            f"are those of before. Licence of the weights of before: {self.licence}; their digest: {self.weights}.",
            "## Use",
            f"```sh\n{_used(self, f'{name}.safetensors')}\n```",
            "## Data",
            self._scenes(),
            "## Training",
            f"{self.parameters:,} of {self.all_parameters:,} parameters, {settings.steps:,} steps of {settings.batch} "
            f"views (times {settings.processes} process(es)), learning rate {settings.rate:g}, {self.seconds / 60:.1f} "
            f"min; kept is the moving average. Machine: {platform.machine()}, torch {torch.__version__}. The command "
            "that makes it:",
            f"```sh\n{settings.command}\n```",
            self._figures(),
            f"Held out: every {settings.holdout}th view, of the scenes that are tuned on. Whether it helps on others, "
            "`lift3d bench finetune` tells.",
            "## Limits",
            "- Static scenes with given cameras; what the surface has wrong is learned, too.\n"
            f"- Tuned at {settings.image_height} rows; at other heights, measure before use.",
        ]
        return "\n\n".join(parts) + "\n"

    def _scenes(self) -> str:
        rows = [f"| {scene.name} | {len(scene.views)} |" for scene in self.scenes]
        return "\n".join(["| scene | views |", "|---|---|", *rows])

    def _figures(self) -> str:
        rows = [
            f"| {name} | {self.first[key]:.3f} | **{self.last[key]:.3f}** |"
            for key, name in ((f"{_VALIDATION}{part}", words) for part, words in _EXPLAINED.items())
        ]
        words = "figure, mean over held-out views; less is better; the last is how far it went"
        head = f"| {words} | before | after |\n|---|---|---|"
        return "\n".join(["## Validation", "", head, *rows])


def _used(made: Tuning, weights: str) -> str:
    """Return how runs name the tuned encoder, and how timm builds it."""
    name = OperatorName.parse(made.settings.operator)
    kept = tuple(pair for pair in name.options if pair[0] not in ("weights", "seed")) if name.kind == "timm" else ()
    tuned = OperatorName("timm", made.architecture, (("weights", weights), *kept))
    return "\n".join(
        [
            f"lift3d run SCENE --operator '{tuned}'",
            f"# timm.create_model('{made.architecture}', num_classes=0, checkpoint_path='{weights}')",
        ]
    )
