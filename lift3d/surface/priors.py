"""Operators that complete stereo: built once per process, and what a surface made with one depends on. Light."""

import functools
from collections.abc import Sequence
from dataclasses import replace

import torch

from lift3d.domain.keys import digest
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Movable, Operator
from lift3d.surface.catalog import SWEEP
from lift3d.surface.protocol import GeometryMethod, GeometrySpec

# Raised when the same stereo and the same depth of a network would give another surface.
_VERSION = 1
# Quantities that tell how far away a pixel is.
QUANTITIES = ("depth", "disparity")


def prior_operator(name: str, plugins: Sequence[str] = ()) -> Operator:
    """Return the operator of a name; UnknownNameError if there is none, ConfigError if it gives no depth."""
    operator = _built(name, tuple(plugins))
    # What lies in files may be another by now.
    return _built.__wrapped__(name, tuple(plugins)) if operator.spec.is_precomputed else operator


def completed_spec(name: str, plugins: Sequence[str] = ()) -> GeometrySpec:
    """Return what there is to know of stereo that is completed by an operator: another one is another surface."""
    spec = prior_operator(name, plugins).spec
    return replace(SWEEP, content=digest({"prior": spec.identity, "quantity": spec.quantity, "version": _VERSION}))


def completed_sweep(name: str, plugins: Sequence[str] = ()) -> GeometryMethod:
    """Return stereo that is completed by an operator, which computes where new tensors lie."""
    from lift3d.surface.prior import PriorGeometry

    operator = prior_operator(name, plugins)
    if isinstance(operator, Movable):
        operator.to(torch.get_default_device())
    return PriorGeometry(completed_spec(name, plugins), operator)


@functools.lru_cache(maxsize=2)
def _built(name: str, plugins: tuple[str, ...]) -> Operator:
    operator = build_operator(name, plugins)
    if operator.spec.quantity not in QUANTITIES:
        raise ConfigError(
            f"'{name:.200}' cannot complete stereo: it gives {operator.spec.quantity}, expected depth or disparity. "
            "Give --geometry sweep?prior= a model of depth, such as tiny:depth or transformers:FOLDER."
        )
    return operator
