"""What many scenes need: costs measured on this machine, prices and throughputs assumed and named."""

from dataclasses import dataclass

from lift3d.bench.scene_costs import SceneCosts

_HOUR_S = 3600.0
_TIB, _GIB = 2.0**40, 2.0**30


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What was not measured here. Money is US dollars.

    Attributes:
        scenes: How many.
        encoder: Of the operator whose features are lifted.
        encoder_images_per_s: On one GPU. timm's published inference table (torch 2.9.1, RTX 4090, DINOv2-B at 518).
        feature_bytes: Of one view: 37×37 cells of 768 channels, float16.
        gpu_hour: Of one such GPU, on-demand cloud price, rounded.
        core_hour: Of one CPU core, spot price, rounded.
        gib_month: Object storage (S3 Standard, us-east-1).
        put_per_thousand: PUT and LIST requests, the same price list.
        get_per_thousand: GET and HEAD requests, the same price list.
    """

    scenes: int = 1_000_000
    encoder: str = "DINOv2-B/14 at 518 px"
    encoder_images_per_s: float = 350.0
    feature_bytes: int = 37 * 37 * 768 * 2
    gpu_hour: float = 2.5
    core_hour: float = 0.02
    gib_month: float = 0.023
    put_per_thousand: float = 0.005
    get_per_thousand: float = 0.0004


def cost_section(costs: SceneCosts, overhead: float, assumed: Assumptions) -> str:
    """Return the section of the page that says what so many scenes need.

    Args:
        costs: Measured on this machine, of a light operator: what lifting, scoring and storing cost without an encoder.
        overhead: Measured share that orchestration adds to a scene's time.
        assumed: What was not measured here.
    """
    scene, requests, scenes, views = costs.whole, costs.requests, assumed.scenes, costs.views
    core_hours = scenes * scene.seconds * (1.0 + overhead) / _HOUR_S
    gpu_hours = scenes * views / assumed.encoder_images_per_s / _HOUR_S
    features_gib = scenes * views * assumed.feature_bytes / _GIB
    products_gib = scenes * scene.byte_count / _GIB
    kept_over_computed = features_gib * assumed.gib_month / (gpu_hours * assumed.gpu_hour)
    rows = [
        ("encode on GPUs", f"{gpu_hours:,.0f} GPU-hours", gpu_hours * assumed.gpu_hour),
        ("lift, decode, score on CPU cores", f"{core_hours:,.0f} core-hours", core_hours * assumed.core_hour),
        (
            "PUT and LIST",
            f"{scenes * requests.put:,} requests",
            _priced(scenes * requests.put, assumed.put_per_thousand),
        ),
        (
            "GET and HEAD",
            f"{scenes * requests.get:,} requests",
            _priced(scenes * requests.get, assumed.get_per_thousand),
        ),
        ("products, per month", f"{products_gib * _GIB / _TIB:,.1f} TiB", products_gib * assumed.gib_month),
        (
            "encoder features, per month if kept",
            f"{features_gib * _GIB / _TIB:,.1f} TiB",
            features_gib * assumed.gib_month,
        ),
    ]
    return "\n".join(
        [
            f"## What {scenes:,} scenes of {views} views need",
            "",
            f"Measured here: `{costs.operator}` with `{costs.lifter}` at {costs.image_height} px, one thread, scenes "
            "of few and of many views; a scene costs "
            f"{costs.per_scene.seconds:.2f} s + {costs.per_view.seconds:.3f} s per view of one core, "
            f"{costs.per_scene.byte_count / 1024:.0f} KiB + {costs.per_view.byte_count / 1024:.0f} KiB per view. "
            f"One of {views} small views took {requests.put} PUT and LIST, and {requests.get} GET; "
            "features were not kept. "
            f"Orchestration adds {100 * overhead:.1f} %.",
            "",
            "| what | how much | dollars |",
            "|---|---:|---:|",
            *(f"| {what} | {amount} | {dollars:,.0f} |" for what, amount, dollars in rows),
            "",
            f"Assumed, not measured: encoder {assumed.encoder} at {assumed.encoder_images_per_s:.0f} images/s per GPU "
            f"(timm's published table, RTX 4090), {assumed.gpu_hour:g} $ per GPU-hour, {assumed.core_hour:g} $ per "
            f"core-hour, {assumed.gib_month:g} $ per GiB-month, {assumed.put_per_thousand:g} $ per 1,000 PUT, "
            f"{assumed.get_per_thousand:g} $ per 1,000 GET; the linear fit of seconds and bytes is extrapolated "
            f"to {views} views. Lifting "
            "was measured on a CPU core only; on a GPU it was not measured. Features are a cache: at these prices "
            f"keeping them a month costs {kept_over_computed:.0f} times what computing them again does.",
        ]
    )


def _priced(requests: int, per_thousand: float) -> float:
    return requests / 1000.0 * per_thousand
