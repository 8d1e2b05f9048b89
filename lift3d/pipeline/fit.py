"""Fit: what an operator needs to know of all views; kept in the store, read by every shard and later run."""

from collections.abc import Collection

import torch
from torch import Tensor

from lift3d.domain.features import SceneState
from lift3d.domain.keys import ViewId
from lift3d.errors import ContractError
from lift3d.operators.protocol import Operator, OperatorSpec
from lift3d.pipeline.digests import fit_digest
from lift3d.pipeline.inputs import SceneFeatures, SceneInputs
from lift3d.pipeline.tracks import views_to_fit_on
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store
from lift3d.storage.products import open_product, understood, write_product

_STATE_TYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.float32, torch.float64),
}


def fitted_state(inputs: SceneInputs, operator: Operator, names: Collection[ViewId]) -> SceneState:
    """Return what an operator fits on some views of a scene, and on nothing else.

    An empty state, which most operators have, is not stored. ContractError if the operator fits what cannot be stored.
    """
    maps = SceneFeatures(inputs, operator, names)
    digests = {name: inputs.digests[name] for name in maps}
    path = layout.state_path(inputs.scene.id, operator.spec.name, fit_digest(operator.spec, digests))
    if committed(inputs.store, path) is None:
        state = operator.fit_scene(maps, views_to_fit_on(inputs, digests))
        if state.is_empty:
            return state
        write_state(inputs.store, path, state, operator.spec)
        inputs.computed["states"] += 1
    return read_state(inputs.store, path)


def write_state(store: Store, path: str, state: SceneState, operator: OperatorSpec) -> None:
    """Commit what an operator fitted: arrays of one type and shape in one, for names may be those of hundreds of views.

    ContractError if an array is of a type that readers of Zarr do not know.
    """
    alike: dict[tuple[torch.dtype, tuple[int, ...]], list[str]] = {}
    for name, one in sorted(state.arrays.items()):
        if one.dtype not in _STATE_TYPES:
            raise ContractError(
                f"Operator '{operator.name}' fits '{name}' as {one.dtype}; expected booleans, integers of NumPy, "
                "float16, float32 or float64. Convert it in fit_scene.",
                operator=operator.name,
            )
        alike.setdefault((one.dtype, tuple(one.shape)), []).append(name)
    arrays = {
        f"values_{number}": (
            tuple(f"axis_{number}_{axis}" for axis in range(1 + len(shape))),
            torch.stack([state.arrays[name] for name in names]).numpy(force=True),
        )
        for number, ((_, shape), names) in enumerate(alike.items())
    }
    attrs = {
        "what": "What an operator fitted on all views of a scene: values_N, one along the first axis for each names[N]",
        "operator": operator.name,
        "operator_identity": operator.identity,
        "names": [*alike.values()],
    }
    write_product(store, path, arrays, attrs)


def read_state(store: Store, path: str) -> SceneState:
    """Read what write_state committed, bit for bit and type by type."""
    product = open_product(store, path)
    arrays: dict[str, Tensor] = {}
    with understood(product, "The state"):
        for number, names in enumerate(product.attrs["names"]):
            # Each in memory of its own, as it was when it was fitted.
            own = (one.clone() for one in torch.as_tensor(product.array(f"values_{number}")))
            arrays |= zip(map(str, names), own, strict=True)
    return SceneState(arrays)
