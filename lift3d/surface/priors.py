"""Operators that complete stereo before planes do, built once per process; what tells such surfaces apart. Light."""

import functools
from collections.abc import Sequence
from dataclasses import replace

import torch

from lift3d.domain.keys import digest
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import Movable, Operator
from lift3d.surface.catalog import PLANAR
from lift3d.surface.protocol import GeometryMethod, GeometrySpec

# Raised when the same stereo and the same depth of a network would give another surface.
_VERSION = 2
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
    return replace(PLANAR, content=digest({"prior": spec.identity, "quantity": spec.quantity, "version": _VERSION}))


def completed_planar(name: str, plugins: Sequence[str] = ()) -> GeometryMethod:
    """Return stereo that is completed by an operator, which computes where new tensors lie, and then by planes."""
    from lift3d.surface.planar import PlanarGeometry
    from lift3d.surface.prior import PriorGeometry

    operator = prior_operator(name, plugins)
    if isinstance(operator, Movable):
        operator.to(torch.get_default_device())
    spec = completed_spec(name, plugins)
    return PlanarGeometry(spec, PriorGeometry(spec, operator))


@functools.lru_cache(maxsize=2)
def _built(name: str, plugins: tuple[str, ...]) -> Operator:
    operator = build_operator(name, plugins)
    if operator.spec.quantity not in QUANTITIES:
        raise ConfigError(
            f"'{name:.200}' cannot complete stereo: it gives {operator.spec.quantity}, expected depth or disparity. "
            "Give --geometry planar?prior= a model of depth, such as tiny:depth or transformers:FOLDER."
        )
    return operator
