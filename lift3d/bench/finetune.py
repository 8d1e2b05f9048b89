"""``docs/results-finetune.md``: plain features of tuned encoders beside those of the encoder before, view by view.

Nothing is lifted here: every row is an encoder on the true views of scenes, by the measures of ``probe3d``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from safetensors import safe_open

from lift3d.bench.finetune_measures import error_values, label_values
from lift3d.bench.kept_figures import keep, kept
from lift3d.bench.pages import PairedInterval, paired, replayed_command
from lift3d.bench.probe3d import Values, chosen_pairs, probe_values, recall_values
from lift3d.bench.probe3d_measures import Cells
from lift3d.config import Recipe
from lift3d.domain.keys import parse_json
from lift3d.errors import ConfigError, NoOverlapError
from lift3d.operators.names import OperatorName
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.targets import choose_targets
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store, open_store
from lift3d.training.settings import operator_label

# What its figures lie under in a store.
BENCH = "finetune"


@dataclass(frozen=True, slots=True)
class TunedFigures:
    """Figures of one tuned encoder in one scene.

    Attributes:
        before: By metric, mean over views of the encoder before tuning.
        after: The same of the tuned one.
        gains: After less before, at the same views.
        tuned_by: The command that the file of the weights names; empty if it names none.
    """

    scene: str
    plain: str
    operator: str
    height: int
    targets: int
    pairs: int
    before: dict[str, float]
    after: dict[str, float]
    gains: dict[str, PairedInterval]
    tuned_by: str
    command: str
    date: str


def measure(recipe: Recipe, store: str) -> list[TunedFigures]:
    """Return figures of all operators but the first, which is the encoder before tuning, and keep them in the store.

    ConfigError if there is but one operator, SceneError if a view has no depth, NoOverlapError if no two views see the
    same.
    """
    if len(recipe.operators) < 2:
        raise ConfigError(
            f"Tuned encoders are held against the one before; got {', '.join(recipe.operators)} alone. Name that "
            "first, then the tuned ones: --operator PLAIN --operator TUNED."
        )
    opened, rows = open_store(store, create=True), []
    for location in recipe.scenes:
        for row in _of_scene(location, recipe.model_copy(update={"scenes": (location,)}), opened):
            keep(opened, BENCH, (row.scene, row.operator, row.height), row)
            rows.append(row)
    return rows


def measured_before(store: str) -> list[TunedFigures]:
    """Return all figures that a store keeps, by scene and operator; ConfigError if there are none."""
    return sorted(kept(store, BENCH, TunedFigures), key=lambda one: (one.scene, one.height, one.operator))


def _of_scene(location: str, recipe: Recipe, store: Store) -> Iterator[TunedFigures]:
    inputs = SceneInputs(read_scene(location), store, recipe.image_height, keeps_features=False)
    inputs.decode_all(quiet)
    names = [target.id for target in choose_targets(tuple(inputs.views.values()), recipe)]
    frames = [inputs.frame(name) for name in names]
    cells, pairs = [Cells.of(frame) for frame in frames], chosen_pairs(frames)
    if not pairs:
        raise NoOverlapError(f"'{location}': no two targets see the same. Choose a smaller --holdout.")
    labels = tuple(map(operator_label, recipe.operators))
    command = replayed_command(BENCH, recipe.model_copy(update={"operators": labels}))
    values: list[Values] = []
    for operator, name, label in zip(Models.of(recipe).operators, recipe.operators, labels, strict=True):
        maps = [inputs.features(operator, name)[0] for name in names]
        features = [one.read(own) for one, own in zip(cells, maps, strict=True)]
        values.append(
            error_values(cells, frames, pairs, maps)
            | recall_values(cells, pairs, features)
            | probe_values(cells, features)
            | label_values(cells, frames, maps)
        )
        if len(values) > 1:
            row = _row(inputs.scene.id, (labels[0], label), (values[0], values[-1]), len(pairs), recipe, command)
            yield replace(row, tuned_by=tuned_by(name))


def tuned_by(operator: str) -> str:
    """Return the command that made an operator's weights, as their file says it; empty if it says nothing."""
    weights = Path(OperatorName.parse(operator).option("weights", "")).expanduser()
    if weights.suffix != ".safetensors" or not weights.is_file():
        return ""
    with safe_open(weights, framework="pt") as held:
        about = parse_json((held.metadata() or {}).get("lift3d", "{}"))
    return str(about.get("command", ""))


def _row(
    scene: str, labels: tuple[str, str], values: tuple[Values, Values], pairs: int, recipe: Recipe, command: str
) -> TunedFigures:
    before, after = values
    known = {name: np.isfinite(before[name]) & np.isfinite(after[name]) for name in before}
    return TunedFigures(
        scene=scene,
        plain=labels[0],
        operator=labels[1],
        height=recipe.image_height,
        targets=len(next(iter(known.values()))),
        pairs=pairs,
        before={name: float(before[name][at].mean()) for name, at in known.items()},
        after={name: float(after[name][at].mean()) for name, at in known.items()},
        gains={name: paired(after[name][at] - before[name][at]) for name, at in known.items()},
        tuned_by="",
        command=command,
        date=datetime.now(UTC).date().isoformat(),
    )
