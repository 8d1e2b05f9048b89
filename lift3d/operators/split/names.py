"""A split module by name: ``split:path/to/file.py:attribute?cuts=encoder.layer4,stem&prediction=image``.

The attribute (or ``split:module:attribute``) is a torch module, or a class or function without arguments that gives it.

cuts: submodules, with commas between; input and output are some, too. prediction, quantity, output, licence, enlarges,
input_size=HEIGHT,WIDTH, restores=1: as ``split.model.SplitOptions`` says. mean=R,G,B and std=R,G,B: normalisation of
images in [0, 1]. labels=NAME,NAME: names of label ids. seed: of weights that the module draws.
"""

from typing import Any

from torch import nn

from lift3d.errors import ConfigError
from lift3d.operators.catalog import loaded_attribute
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.plugin_guard import GuardedOperator
from lift3d.operators.preprocessing import Normalization
from lift3d.operators.protocol import Operator
from lift3d.operators.split.model import AS_IT_IS, SplitModel

_NAMED_OPTIONS = (
    *("cuts", "prediction", "quantity", "output", "licence", "mean", "std"),
    *("input_size", "enlarges", "restores", "labels", "seed"),
)


def build(name: OperatorName) -> Operator:
    """Build the operator ``split:FILE.py:ATTRIBUTE?cuts=…`` (or ``split:MODULE:ATTRIBUTE?…``)."""
    name.check(_NAMED_OPTIONS, "FILE.py:ATTRIBUTE of a torch module")
    # A module that is not loaded from weights draws them: always the same ones.
    with seeded(name.integer("seed", 0)):
        model = loaded_attribute(name.argument)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"Operator '{name}': '{name.argument}' gives a {type(model).__name__}; expected a torch module."
        )
    settings: dict[str, Any] = {
        key: name.option(key, "") for key in ("prediction", "quantity", "output", "licence") if name.option(key, "")
    }
    settings["normalization"] = Normalization(name.numbers("mean", AS_IT_IS.mean), name.numbers("std", AS_IT_IS.std))
    if name.option("input_size", ""):
        settings["input_size"] = name.numbers("input_size", (0, 0))
    if name.option("labels", ""):
        settings["label_names"] = tuple(name.option("labels", "").split(","))
    settings["enlarges"] = name.integer("enlarges", 1)
    settings["restores"] = name.integer("restores", 0) == 1
    return GuardedOperator(SplitModel(model, name.listed("cuts"), name=str(name), **settings))
