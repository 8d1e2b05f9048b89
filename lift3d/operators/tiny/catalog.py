"""Which small models there are, and how each is built. Light: an implementation is imported when it is built."""

import importlib
from pathlib import Path

from lift3d.errors import UnknownNameError
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator

# Name after ``tiny:`` → the network and the operator that takes a name and the network.
TINY: dict[str, tuple[str, str, str]] = {
    "encoder": ("lift3d.operators.tiny.encoder", "EncoderNetwork", "TinyEncoder"),
    "clip": ("lift3d.operators.tiny.image_text", "ImageTextPair", "TinyClip"),
    "segmenter": ("lift3d.operators.tiny.segmenter", "SegmentationNetwork", "TinySegmenter"),
    "superresolution": ("lift3d.operators.tiny.superresolution", "SuperresolutionNetwork", "Superresolution"),
    "colorizer": ("lift3d.operators.tiny.colorizer", "ColorizerNetwork", "Colorizer"),
    "style": ("lift3d.operators.tiny.style", "StyleNetwork", "Style"),
    "depth": ("lift3d.operators.tiny.depth", "DepthNetwork", "Depth"),
}
WEIGHTS = Path(__file__).with_name("weights")


def build(name: OperatorName) -> Operator:
    """Build the operator ``tiny:NAME``."""
    from lift3d.operators.network_weights import load_weights, seeded

    if name.argument not in TINY:
        raise UnknownNameError.of("small model", name.argument, TINY)
    name.check(("style",) if name.argument == "style" else (), "a small model")
    module_name, network_class, operator_class = TINY[name.argument]
    module = importlib.import_module(module_name)
    # Weights are drawn before they are read; the caller's random numbers must not notice.
    with seeded(0):
        network = getattr(module, network_class)()
    load_weights(network, WEIGHTS / f"{name.argument}.safetensors")
    operator: Operator = getattr(module, operator_class)(name, network)
    return operator
