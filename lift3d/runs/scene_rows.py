"""The rows of one scene of a run: its scores, and a row for everything of it that has no figure."""

from collections.abc import Mapping
from typing import Any

from lift3d.config import Recipe
from lift3d.domain.records import SceneRecord
from lift3d.domain.scores import ScoreRow
from lift3d.pipeline.score import ALL_PIXELS
from lift3d.storage.documents import read_document
from lift3d.storage.location import Store


def scene_rows(store: Store, recipe: Recipe, record: SceneRecord) -> list[ScoreRow]:
    """Return the rows of a scene under the name it has itself.

    Args:
        store: With the score documents that the record names.
        recipe: Of the run.
        record: The scene's record.

    Raises:
        ProductMissingError: If a score document is gone.
        DamagedProductError: If one is damaged.
    """
    scored = [fields for path in record.scores for fields in read_document(store, path)]
    rows = [_row(fields, recipe.run_id, record.scene) for fields in scored]
    return rows + _rows_without_value(record, recipe)


def _rows_without_value(record: SceneRecord, recipe: Recipe) -> list[ScoreRow]:
    """Rows of what has no figure: a failed scene, dropped views, lifters that cannot run on the scene."""
    dropped: dict[str, str] = {}
    for view in record.dropped:
        # Files may list a view several times; it has one row.
        dropped.setdefault(view.id, f"{view.reason}: {view.message}")
    missing = [(view, "", "", "view", sentence) for view, sentence in dropped.items()]
    if not record.is_ok:
        missing.append(("", "", "", "scene", record.reason))
    missing += [
        ("", product.operator, product.lifter, "lifter", product.reason) for product in record.lifted if product.reason
    ]
    return [
        ScoreRow(
            run=recipe.run_id,
            scene=record.scene,
            target=target,
            other="",
            operator=operator,
            lifter=lifter,
            target_mode=recipe.row_target_mode,
            metric=f"usable_{what}",
            protocol=f"{record.protocol}/{ALL_PIXELS}" if record.protocol else "",
            threshold_source="",
            scoring_geometry="none",
            value=float("nan"),
            weight=0.0,
            coverage=float("nan"),
            outcome="failed" if what == "scene" else "skipped",
            reason=reason,
        )
        for target, operator, lifter, what, reason in missing
    ]


def _row(fields: Mapping[str, Any], run_id: str, scene: str) -> ScoreRow:
    """Rebuild a stored row: numbers that were missing are NaN again, the run and the scene's name are this one's."""
    numbers = {name: float("nan") if fields[name] is None else fields[name] for name in ("value", "weight", "coverage")}
    return ScoreRow(**{**fields, **numbers, "run": run_id, "scene": scene})
