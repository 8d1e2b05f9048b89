"""Which metrics there are. Light: an implementation is imported when it is built."""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lift3d.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from lift3d.metrics.protocol import Metric

METRICS: dict[str, str] = {
    "feature_cosine": "lift3d.metrics.fidelity:feature_cosine",
    "feature_relative_error": "lift3d.metrics.fidelity:feature_relative_error",
    "label_agreement_2d": "lift3d.metrics.fidelity:label_agreement_2d",
    "psnr_2d": "lift3d.metrics.fidelity:psnr_2d",
    "scalar_error_2d": "lift3d.metrics.fidelity:scalar_error_2d",
    "scalar_relative_error_2d": "lift3d.metrics.fidelity:scalar_relative_error_2d",
    "embedding_cosine_2d": "lift3d.metrics.fidelity:embedding_cosine_2d",
    "psnr": "lift3d.metrics.image_quality:psnr",
    "ssim": "lift3d.metrics.image_quality:ssim",
    "miou": "lift3d.metrics.segmentation:miou",
    "pixel_accuracy": "lift3d.metrics.segmentation:pixel_accuracy",
    "miou_scene": "lift3d.metrics.segmentation:miou_scene",
    "mask_iou_transferred": "lift3d.metrics.mask_signals:mask_iou_transferred",
    "coverage": "lift3d.metrics.coverage:coverage",
    "sharpness": "lift3d.metrics.sharpness:sharpness",
    "warp_error_short": "lift3d.metrics.consistency:warp_error_short",
    "warp_error_long": "lift3d.metrics.consistency:warp_error_long",
    "warp_floor_short": "lift3d.metrics.consistency:warp_floor_short",
    "warp_floor_long": "lift3d.metrics.consistency:warp_floor_long",
    "rho": "lift3d.metrics.agreement:rho",
    "effective_rank": "lift3d.metrics.agreement:effective_rank",
    "label_kappa": "lift3d.metrics.agreement:label_kappa",
    "depth_abs_rel": "lift3d.metrics.depth_agreement:depth_abs_rel",
    "depth_cross_short": "lift3d.metrics.depth_agreement:depth_cross_short",
    "depth_cross_long": "lift3d.metrics.depth_agreement:depth_cross_long",
    "direction_cross_short": "lift3d.metrics.direction_agreement:direction_cross_short",
    "direction_cross_long": "lift3d.metrics.direction_agreement:direction_cross_long",
    "pq": "lift3d.metrics.panoptic:pq",
    "pq_scene": "lift3d.metrics.panoptic:pq_scene",
    "pq_2d": "lift3d.metrics.panoptic:pq_2d",
}


def known_metrics() -> tuple[str, ...]:
    """Return the names of the catalog, in the order of the table."""
    return tuple(METRICS)


def build_metrics(names: Sequence[str] | None = None) -> "tuple[Metric, ...]":
    """Return metrics by name, each once, in the order asked for.

    Args:
        names: Catalog names, or ``module:attribute`` of a metric of one's own; None for the whole catalog.

    Raises:
        UnknownNameError: If a name is neither.
        ConfigError: If ``module:attribute`` names nothing that is a metric, or two metrics share an id.
    """
    metrics = tuple(_build(name) for name in dict.fromkeys(known_metrics() if names is None else names))
    ids = [metric.spec.name for metric in metrics]
    if len(set(ids)) != len(ids):
        raise ConfigError(f"Metric ids must be unique in a run, got {', '.join(ids)}. Rename or drop one.")
    return metrics


def _build(name: str) -> "Metric":
    if name not in METRICS and ":" not in name:
        raise UnknownNameError.of("metric", name, METRICS)
    module_name, _, attribute = METRICS.get(name, name).partition(":")
    try:
        metric = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"Metric '{name}' cannot be imported: {error}. Expected module:attribute.") from error
    if not (hasattr(metric, "spec") and callable(getattr(metric, "score", None))):
        raise ConfigError(f"'{name}' is a {type(metric).__name__}; expected a metric, see lift3d.metrics.protocol.")
    return cast("Metric", metric)
