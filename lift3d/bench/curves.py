"""``lift3d bench curves``: how the fidelity of a learned lifter at held-out views depends on taps and on sources.

Fidelity is the mean cosine to the operator's own features of the true view. Neither the proposal nor the lifted picture
depends on the number of taps, so both are made once per target and number of sources.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from lift3d.bench.lifter_errors import CELL_COUNT, HeldOutScene, cells_to_count, is_picture, mean_error, psnr
from lift3d.bench.lifters import held_out
from lift3d.config import Recipe
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame
from lift3d.domain.target import Target
from lift3d.errors import ConfigError, NoOverlapError, UnknownNameError
from lift3d.lifters.catalog import LEARNED, SHARED_WEIGHTS
from lift3d.lifters.weights import TAP_COUNT, weights_at
from lift3d.operators.protocol import Operator
from lift3d.pipeline.encode import encode_view
from lift3d.tables.comparison import interval

TAP_COUNTS = (4, 8, 16, 24, 32, 48, 64)
SOURCE_COUNTS = (2, 3, 4, 6, 8, 10, 12)
# As many taps as there are candidates.
ALL = "all"
# What this many taps lose of the fidelity of all is judged by this limit.
JUDGED, LIMIT_PERCENT = TAP_COUNT, 0.5


def compared(lifter: str) -> tuple[str, ...]:
    """Return the names of a learned lifter and, before it, of its shared weights.

    Raises:
        UnknownNameError: If the lifter is not a learned one.
    """
    kind, mark, option = lifter.partition("?")
    if kind not in LEARNED:
        raise UnknownNameError.of("learned lifter", kind, LEARNED)
    return tuple(dict.fromkeys((SHARED_WEIGHTS.name + mark + option, lifter)))


def measure(
    recipe: Recipe,
    store: str,
    tap_counts: Iterable[int] = TAP_COUNTS,
    source_counts: Iterable[int] = SOURCE_COUNTS,
    cell_count: int = CELL_COUNT,
) -> dict[str, Any]:
    """Walk every scene of a recipe and return the figures, JSON-ready.

    Args:
        recipe: Scenes, operators, lifters that share a proposal, image height, sources of the sweep over taps.
        store: URL of the store that holds (and resumes) the features.
        tap_counts: Taps per cell to look at, besides those that are judged and all.
        source_counts: Sources per target to look at, with four taps for each.
        cell_count: Cells per target and operator that fidelity is the mean over.

    Raises:
        ConfigError: If a target could be its own source, the lifters do not share a proposal, or a count is below 1.
    """
    taps, sources = sorted({*tap_counts, JUDGED}), sorted(set(source_counts))
    if recipe.target_mode != "heldout" or recipe.targets is not None:
        raise ConfigError(
            f"Curves compare with the true view of targets that are no source; got target mode {recipe.target_mode} "
            f"and targets {recipe.targets}. Hold views out."
        )
    if min([*taps, *sources, cell_count]) < 1 or not sources:
        raise ConfigError(f"Curves need counts of 1 or more, got taps {taps}, sources {sources}, cells {cell_count}.")
    scenes = [
        _Curves(HeldOutScene(location, held_out(location, recipe), store), taps, sources, cell_count).figures()
        for location in recipe.scenes
    ]
    return {
        "recipe": recipe.model_dump(mode="json"),
        "tap_counts": taps,
        "source_counts": sources,
        "cells_per_target": cell_count,
        "judged": {"taps": JUDGED, "limit_percent": LIMIT_PERCENT},
        "scenes": scenes,
        "losses": [loss for scene in scenes for loss in _losses(scene)],
    }


def candidate_count(proposal: RayProposal, grid: FeatureGrid) -> int:
    """Return the smallest number of taps that holds all candidates of every cell, whichever way they are weighed."""
    # Each cell reads the samples of four guide cells.
    most = 4 * proposal.view_weight[0].numel()
    weighed = [weights_at(one, grid, tap_count=most) for one in (proposal, proposal.uniformly_weighted())]
    return max(1, *(int((one.weight > 0).sum(1).max()) for one in weighed))


@dataclass(frozen=True, slots=True, eq=False)
class _Lifting:
    """A target with some number of sources, and what does not depend on the number of taps."""

    target: Target
    proposal: RayProposal
    picture: Frame
    four_per_source: int


class _Curves:
    def __init__(
        self, scene: HeldOutScene, tap_counts: Sequence[int], source_counts: Sequence[int], cell_count: int
    ) -> None:
        self._scene, self._tap_counts, self._cell_count = scene, tap_counts, cell_count
        keys = {lifter.spec.proposal_key for lifter in scene.models.lifters}
        if len(keys) != 1:
            raise ConfigError(
                f"Curves are of lifters that share a proposal, got {', '.join(scene.recipe.lifters)}. Name a learned "
                f"lifter and its shared_weights, of one checkpoint."
            )
        # No more than there are: a scene of few views is measured with what it has.
        self._available = min(len(target.source_ids) for target in scene.targets(1))
        self._standard = min(scene.recipe.sources, self._available)
        self._source_counts = sorted({min(count, self._available) for count in source_counts})

    def figures(self) -> dict[str, Any]:
        scene = self._scene
        counts = sorted({self._standard, *self._source_counts})
        rows: list[dict[str, Any]] = []
        skipped: list[list[str]] = []
        for targets in zip(*(scene.targets(count) for count in counts), strict=True):
            try:
                liftings = {count: self._lifting(target) for count, target in zip(counts, targets, strict=True)}
            except NoOverlapError as error:
                skipped.append([targets[0].id, f"{error.reason}: {error}"])
                continue
            for operator in scene.models.operators:
                row = self._row(operator, liftings)
                if row is None:
                    skipped.append([targets[0].id, f"{operator.spec.name}: no valid cell is seen with every count"])
                else:
                    rows.append(row)
        return {
            "scene": scene.inputs.scene.id,
            "protocol": scene.recipe.protocol,
            "available_sources": self._available,
            "sources": self._standard,
            "source_counts": self._source_counts,
            "rows": rows,
            "skipped": skipped,
        }

    def _lifting(self, target: Target) -> _Lifting:
        proposal = self._scene.propose(self._scene.models.lifters[0], target)
        recipe = self._scene.recipe.model_copy(update={"sources": len(target.sources), "taps": None})
        return _Lifting(target, proposal, self._scene.picture(proposal), recipe.tap_count)

    def _row(self, operator: Operator, liftings: Mapping[int, _Lifting]) -> dict[str, Any] | None:
        scene, standard = self._scene, liftings[self._standard]
        truth = scene.inputs.features(operator, standard.target.id)[0]
        frame, grid = scene.inputs.frame(standard.target.id), truth.grid
        swept = {count: liftings[count] for count in self._source_counts}
        cells, covered = cells_to_count(frame, grid, [standard.proposal], self._cell_count)
        common, _ = cells_to_count(frame, grid, [one.proposal for one in swept.values()], self._cell_count)
        if not len(cells) or not len(common):
            return None
        guides = {count: encode_view(operator, one.picture)[0] for count, one in liftings.items()}
        # 1. Taps. Beyond all candidates there is only padding.
        most, guide = candidate_count(standard.proposal, grid), guides[self._standard]
        by_taps = {
            taps: self._figures(operator, standard, guide, truth, cells, taps)
            for taps in sorted({most, *(min(count, most) for count in self._tap_counts)})
        }
        # 2. Sources, on cells that are covered whatever their number.
        by_sources = {
            str(count): self._figures(operator, one, guides[count], truth, common, one.four_per_source)
            for count, one in swept.items()
        }
        return {
            "target": standard.target.id,
            "operator": operator.spec.name,
            "covered": covered,
            "candidates": most,
            "taps": {**{str(count): by_taps[min(count, most)] for count in self._tap_counts}, ALL: by_taps[most]},
            "sources": by_sources,
            "covered_by_sources": {
                str(count): cells_to_count(frame, grid, [one.proposal], 1)[1] for count, one in swept.items()
            },
        }

    def _figures(
        self,
        operator: Operator,
        lifting: _Lifting,
        guide: FeatureMap,
        truth: FeatureMap,
        cells: Int[Tensor, " pick"],
        taps: int,
    ) -> dict[str, dict[str, float]]:
        """Return each lifter's fidelity on the cells, and PSNR of the whole where it is a picture."""
        scene, target, figures = self._scene, lifting.target, {}
        state, frame = scene.state(operator, target), scene.inputs.frame(target.id)
        for lifter in scene.models.lifters:
            lifted = scene.lifted(operator, lifter, lifting.proposal, truth.grid, guide, state, taps)
            found = {"fidelity": 1 - mean_error(lifted, truth, cells)}
            if is_picture(operator, truth):
                found["psnr"] = psnr(lifted, truth, frame)
            figures[lifter.spec.name] = found
        return figures


def _losses(scene: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return, per operator and lifter, what the judged number of taps loses against all, paired over views."""
    losses = []
    for operator in dict.fromkeys(row["operator"] for row in scene["rows"]):
        taps = [row["taps"] for row in scene["rows"] if row["operator"] == operator]
        for lifter in taps[0][ALL]:
            pairs = [(one[ALL][lifter], one[str(JUDGED)][lifter]) for one in taps]
            relative = [100 * (whole["fidelity"] - some["fidelity"]) / whole["fidelity"] for whole, some in pairs]
            loss = {"scene": scene["scene"], "operator": operator, "lifter": lifter, "views": len(pairs)}
            loss["fidelity_percent"] = _with_interval(relative)
            if "psnr" in pairs[0][0]:
                loss["psnr_db"] = _with_interval([whole["psnr"] - some["psnr"] for whole, some in pairs])
            losses.append(loss)
    return losses


def _with_interval(differences: Sequence[float]) -> dict[str, float | None]:
    """Return the mean and its 95 % interval; None, which JSON has and NaN it has not, with fewer than two views."""
    values = np.array(differences)
    bounds = [None if np.isnan(bound) else bound for bound in interval(values)]
    return {"mean": float(values.mean()), "low": bounds[0], "high": bounds[1]}
