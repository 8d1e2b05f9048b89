"""Which metrics there are. Light: an implementation is imported when it is built."""

import importlib
from collections.abc import Sequence

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.metrics.protocol import Better, Metric

# In the order of the table, by the module that holds them.
_MODULES = {
    "fidelity": (*("feature_cosine", "label_agreement_2d", "psnr_2d", "scalar_error_2d", "embedding_cosine_2d"),),
    "image_quality": ("psnr", "ssim"),
    "segmentation": ("miou", "pixel_accuracy", "miou_scene", "mask_iou_transferred"),
    "scoring": ("coverage",),
    "sharpness": ("sharpness",),
    "consistency": ("warp_error_short", "warp_error_long", "warp_floor_short", "warp_floor_long"),
    "agreement": ("rho", "effective_rank", "label_kappa"),
    "depth_agreement": (
        *("depth_abs_rel", "depth_cross_short", "depth_cross_long"),
        *("direction_cross_short", "direction_cross_long"),
    ),
    "panoptic": ("pq", "pq_scene", "pq_2d"),
}
# Which way is better, as the implementations say: who shows figures imports none of them. The others are to grow.
_SIDES: dict[Better, tuple[str, ...]] = {
    "lower": (
        *("scalar_error_2d", "warp_error_short", "warp_error_long", "depth_abs_rel"),
        *("depth_cross_short", "depth_cross_long", "direction_cross_short", "direction_cross_long"),
    ),
    "neither": ("sharpness", "warp_floor_short", "warp_floor_long", "effective_rank"),
}
METRICS = {name: f"lift3d.metrics.{module}:{name}" for module, names in _MODULES.items() for name in names}

BETTER: dict[str, Better] = {
    **dict.fromkeys(METRICS, "higher"),
    **{name: side for side, names in _SIDES.items() for name in names},
}


def build_metrics(names: Sequence[str] | None = None) -> tuple[Metric, ...]:
    """Return metrics by name, each once, in the order asked for; None for the whole catalog.

    Names are the catalog's, or ``module:attribute`` of a metric of one's own. UnknownNameError if one is neither;
    ConfigError if it names nothing that is a metric, or two metrics share an id.
    """
    metrics = tuple(_build(name) for name in dict.fromkeys(METRICS if names is None else names))
    ids = [metric.spec.name for metric in metrics]
    if len(set(ids)) != len(ids):
        raise ConfigError(f"Metric ids must be unique in a run, got {', '.join(ids)}. Rename or drop one.")
    return metrics


def _build(name: str) -> Metric:
    if name not in METRICS and ":" not in name:
        raise UnknownNameError.of("metric", name, METRICS)
    module_name, _, attribute = METRICS.get(name, name).partition(":")
    try:
        metric = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"Metric '{name}' cannot be imported: {error}. Expected module:attribute.") from error
    if not isinstance(metric, Metric):
        raise ConfigError(f"'{name}' is a {type(metric).__name__}; expected a metric, see lift3d.metrics.figures.")
    return metric
