"""Which small models there are. Light: an implementation is imported when it is built."""

import importlib
from pathlib import Path

from lift3d.errors import UnknownNameError
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator

# Name after ``tiny:`` → factory that takes the parsed OperatorName.
TINY: dict[str, str] = {
    "encoder": "lift3d.operators.tiny.encoder:build",
    "clip": "lift3d.operators.tiny.image_text:build",
    "segmenter": "lift3d.operators.tiny.segmenter:build",
    "superresolution": "lift3d.operators.tiny.superresolution:build",
    "colorizer": "lift3d.operators.tiny.colorizer:build",
    "style": "lift3d.operators.tiny.style:build",
    "depth": "lift3d.operators.tiny.depth:build",
}
WEIGHTS = Path(__file__).with_name("weights")


def build(name: OperatorName) -> Operator:
    """Build the operator ``tiny:NAME``.

    Raises:
        UnknownNameError: If there is no such small model.
    """
    if name.argument not in TINY:
        raise UnknownNameError.of("small model", name.argument, TINY)
    module, attribute = TINY[name.argument].split(":")
    operator: Operator = getattr(importlib.import_module(module), attribute)(name)
    return operator
