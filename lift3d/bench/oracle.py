"""``lift3d bench oracle``: what any rule for weights could reach at held-out views, and where the rest is lost.

The walk is the pipeline's own: the same targets, sources, proposal, taps and features; only the weights are chosen
with the true view in sight, on a seeded sample of cells. Figures are of the first cut, as the fidelity metrics are.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.bench.attainable import CellErrors, true_features
from lift3d.bench.oracle_causes import true_surface
from lift3d.bench.oracle_rules import TargetView, needs_depth, truncated
from lift3d.config import Recipe
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame
from lift3d.errors import ConfigError, NoOverlapError
from lift3d.lifters.weights import TAP_COUNT, weights_at
from lift3d.metrics.counting import counted_cells
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Operator
from lift3d.pipeline.blend import lift_features
from lift3d.pipeline.decode import filled_features
from lift3d.pipeline.encode import encode_view, target_grids
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.propose import propose
from lift3d.pipeline.targets import Target, choose_targets, select_sources
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store

TAP_COUNTS = (8, 16, 32, 64)
# Cells per target and operator. Over the dozen targets of a capture the error of a mean is 2 % of the figure or less.
CELL_COUNT = 192


def run(
    recipe: Recipe, store: str, tap_counts: Sequence[int] = TAP_COUNTS, cell_count: int = CELL_COUNT
) -> dict[str, Any]:
    """Measure every scene of a recipe and return the figures, JSON-ready; means are over targets.

    Args:
        recipe: Scenes, operators, one lifter, image height, sources and holdout; its metrics are not used.
        store: URL of the store that holds (and resumes) the features.
        tap_counts: Taps per cell to look at.
        cell_count: Cells per target and operator.

    Raises:
        ConfigError: If a target could be its own source or is no captured view, there is more than one lifter, or a
            count is below 1.
    """
    if recipe.target_mode != "heldout" or recipe.targets is not None or len(recipe.lifters) != 1:
        raise ConfigError(
            f"The oracle compares with the true view of targets that are no source, for one lifter; got target mode "
            f"{recipe.target_mode}, targets {recipe.targets} and lifters {', '.join(recipe.lifters)}. Hold views out."
        )
    if not tap_counts or min(tap_counts) < 1 or cell_count < 1:
        raise ConfigError(f"The oracle needs taps and cells, got taps={list(tap_counts)} and cells={cell_count}.")
    oracle = _Oracle(recipe, store, tuple(sorted(set(tap_counts))), cell_count)
    return {
        "recipe": recipe.model_dump(mode="json"),
        "protocol": recipe.protocol,
        "tap_counts": list(oracle.tap_counts),
        "explained_tap_count": explained(oracle.tap_counts),
        "cells_per_target": cell_count,
        "scenes": [oracle.scene(location) for location in recipe.scenes],
    }


def explained(tap_counts: Sequence[int]) -> int:
    """Return the tap count at which losses are explained: the product's own if it is there, else the largest."""
    return TAP_COUNT if TAP_COUNT in tap_counts else max(tap_counts)


class _Oracle:
    """Walks scenes."""

    def __init__(self, recipe: Recipe, store: str, tap_counts: tuple[int, ...], cell_count: int) -> None:
        self.tap_counts = tap_counts
        self._recipe, self._models, self._store = recipe, Models.of(recipe), open_store(store, create=True)
        self._cell_count = cell_count
        self._lifter = self._models.lifters[0]
        self._rgb = build_operator("rgb")

    def scene(self, location: str) -> dict[str, Any]:
        """Return the figures of one scene."""
        inputs = SceneInputs(read_scene(location), self._store, self._recipe.image_height)
        inputs.decode_all(quiet)
        depth_range = inputs.scene.depth_range
        targets = choose_targets(list(inputs.views.values()), self._recipe)
        targets = select_sources(targets, inputs.cameras(), self._recipe.sources, depth_range)
        found: dict[str, list[dict[str, Any]]] = {operator.spec.name: [] for operator in self._models.operators}
        skipped = []
        for target in targets:
            try:
                proposal = propose(self._lifter, target, inputs.frame, depth_range)
            except NoOverlapError as error:
                skipped.append([target.id, f"{error.reason}: {error}"])
                continue
            picture = self._lifted_picture(inputs, target, proposal)
            for operator in self._models.operators:
                figures = self._target(inputs, operator, target, proposal, picture)
                if figures is None:
                    skipped.append([target.id, f"{operator.spec.name}: no valid cell is seen by any source"])
                else:
                    found[operator.spec.name].append(figures)
        return {
            "scene": inputs.scene.id,
            "location": location,
            "target_count": len(targets),
            "skipped": skipped,
            "operators": [_of_operator(name, of_targets) for name, of_targets in found.items() if of_targets],
        }

    def _lifted_picture(self, inputs: SceneInputs, target: Target, proposal: RayProposal) -> Frame:
        """Return the target's picture as the lifter renders it: what a method that renders first would encode."""
        sources = [inputs.features(self._rgb, name) for name in proposal.source_ids]
        grids = target_grids(self._rgb, target.camera.size)
        lifted = lift_features(self._lifter, proposal, sources, grids, self._recipe.tap_count)
        image = filled_features(lifted)[0].values.clamp(0, 1)
        return Frame(image, torch.ones(image.shape[1:], dtype=torch.bool), target.camera)

    @torch.inference_mode()
    def _target(
        self, inputs: SceneInputs, operator: Operator, target: Target, proposal: RayProposal, picture: Frame
    ) -> dict[str, Any] | None:
        maps = [inputs.features(operator, name)[0] for name in proposal.source_ids]
        truth, frame = inputs.features(operator, target.id)[0], inputs.frame(target.id)
        weights = weights_at(proposal, truth.grid, tap_count=self.tap_counts[-1])
        is_valid = counted_cells(frame.is_valid, truth.grid).flatten()
        cells = _sampled(is_valid & (weights.coverage > 0), self._cell_count)
        if not len(cells):
            return None
        places = true_surface(frame, [inputs.frame(name) for name in proposal.source_ids], truth.grid)
        view = TargetView(self._lifter, proposal, maps, truth, places, is_valid, cells)
        reencoded = true_features(encode_view(operator, picture)[0], cells)
        spread = _spread(true_features(truth, torch.nonzero(is_valid)[:, 0]))
        is_picture = operator.spec.prediction_kind == "image" and truth.channel_count == 3
        taps = {}
        for tap_count in self.tap_counts:
            kept = truncated(weights, tap_count)
            with_neighbours = tap_count == explained(self.tap_counts)
            predicted = {**view.predictions(kept, with_neighbours=with_neighbours), "reencoded": reencoded}
            errors = {rule: CellErrors.of(one, view.wanted) for rule, one in predicted.items()}
            taps[str(tap_count)] = {
                "taps_seen": float((kept.weight[cells] > 0).sum(-1).double().mean()),
                "rules": {
                    rule: _figures(one, spread, is_picture) for rule, one in errors.items() if not needs_depth(rule)
                },
                "rules_known_depth": {
                    rule: _figures(one.at(view.is_known), spread, is_picture)
                    for rule, one in errors.items()
                    if bool(view.is_known.any())
                },
            }
        return {
            "target": target.id,
            "channels": truth.channel_count,
            "stride_px": truth.grid.stride_u,
            "covered_share": float((weights.coverage > 0)[is_valid].double().mean()),
            "known_depth_share": float(view.is_known.double().mean()),
            "taps": taps,
        }


def _sampled(is_wanted: Bool[Tensor, " cell"], count: int) -> Int[Tensor, " pick"]:
    cells = torch.nonzero(is_wanted)[:, 0]
    return cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))[:count]].sort().values


def _spread(whole: Float[Tensor, "cell channel"]) -> float:
    """Return the mean squared distance of features from their mean: what a constant answer loses."""
    whole = whole.double()
    return max(float((whole - whole.mean(0)).square().sum(-1).mean()), 1e-30)


def _figures(errors: CellErrors, spread: float, is_picture: bool) -> dict[str, float]:
    squared = float(errors.squared_error.nanmean())
    figures = {"cosine_distance": float(errors.cosine_distance.nanmean()), "nmse": squared / spread}
    return {**figures, "psnr": -10 * math.log10(max(squared / 3, 1e-10))} if is_picture else figures


def _of_operator(name: str, of_targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average over targets, each counting the same, and keep what is needed to pair views."""
    first = of_targets[0]
    taps = {}
    for tap_count in first["taps"]:
        at = [one["taps"][tap_count] for one in of_targets]
        taps[tap_count] = {
            "taps_seen": fmean(one["taps_seen"] for one in at),
            "rules": _mean_rules([one["rules"] for one in at]),
            "rules_known_depth": _mean_rules([one["rules_known_depth"] for one in at if one["rules_known_depth"]]),
        }
    pairs = ("blended", "convex", "reencoded")
    return {
        "operator": name,
        **{field: first[field] for field in ("channels", "stride_px")},
        **{field: fmean(one[field] for one in of_targets) for field in ("covered_share", "known_depth_share")},
        "taps": taps,
        "targets": {
            one["target"]: {count: {rule: at["rules"][rule] for rule in pairs} for count, at in one["taps"].items()}
            for one in of_targets
        },
    }


def _mean_rules(of_targets: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float | None]]:
    """Average each figure of each rule that says something about every target."""
    if not of_targets:
        return {}
    rules = [rule for rule in of_targets[0] if all(rule in one for one in of_targets)]
    return {
        rule: {figure: _mean(one[rule][figure] for one in of_targets) for figure in of_targets[0][rule]}
        for rule in rules
    }


def _mean(values: Iterable[float]) -> float | None:
    """Return the mean of the finite values: a target without any cell for a rule has no figure of it; JSON no NaN."""
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else None
