"""A device for tests, as strict as a GPU: it computes on the CPU, but is not it, and counts what a GPU would pay for.

What lies on it does not mix with the host's tensors and is not read by NumPy; what goes up, comes down, or must wait
for a value, is counted with the line that asked for it. It stands in PyTorch's place for others' devices, PrivateUse1.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import lift3d

DEVICE = torch.device("privateuseone", 0)
_PACKAGE = str(Path(lift3d.__file__).parent)
_HOST = torch.device("cpu")
# The shape of what these give, or the value itself, is known only when the device is done with all before it.
_WAITING = {
    *("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive", "masked_select", "equal"),
    *("repeat_interleave", "bincount", "is_nonzero"),
}
# What takes a number of the host's (a tensor without dimensions) beside tensors of the device; nothing else does.
_WITH_NUMBERS = {
    *("add", "sub", "rsub", "mul", "div", "pow", "remainder", "floor_divide", "maximum", "minimum", "atan2", "where"),
    *("eq", "ne", "lt", "le", "gt", "ge", "bitwise_and", "bitwise_or", "logical_and", "logical_or"),
    *("copy", "fill", "masked_fill", "index_put"),
}
_is_set_up = False


@dataclass
class Transfers:
    """What was paid for, by the line of the package that asked."""

    uploads: Counter[str] = field(default_factory=Counter)
    downloads: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    uploaded_bytes: int = 0
    downloaded_bytes: int = 0

    def downloads_by(self, *places: str) -> int:
        """How many downloads were asked for by modules whose path begins so."""
        return sum(count for line, count in self.downloads.items() if line.startswith(places))

    def waits_by(self, *places: str) -> int:
        """How often such modules waited for a value."""
        return sum(count for line, count in self.waits.items() if line.startswith(places))


class DeviceTensor(Tensor):
    """A tensor of the device: ``held`` is what it computes with."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> "DeviceTensor":
        # Views of what was made before inference mode share a counter with it, which what is made in that mode has not.
        with torch.inference_mode(False):
            own: DeviceTensor = Tensor._make_wrapper_subclass(
                cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
            )
        own.held = held
        return own

    def __repr__(self) -> str:
        return f"DeviceTensor({self.held!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert a device's tensor to numpy; use .cpu() first")
        return self.cpu().numpy()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of the device's mode")


class CountingDevice(TorchDispatchMode):
    """While it lasts, the device is there."""

    def __init__(self) -> None:
        super().__init__()
        _set_up()
        self.transfers = Transfers()

    def run(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [*_leaves(args), *_leaves(kwargs)]
        wanted = next((one for one in given if isinstance(one, torch.device)), None)
        if wanted in (None, _HOST) and not any(isinstance(one, DeviceTensor) for one in given):
            return func(*args, **kwargs)
        if _is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_"):
            self._count_copy(args, wanted)
        else:
            _refuse_mixture(name, given)
            self._count_waits(name, args)
        out = func(*_mapped(_held, args), **_mapped(_held, kwargs))
        if wanted == _HOST:
            return out
        known = {id(one.held): one for one in given if isinstance(one, DeviceTensor)}
        return _mapped(lambda one: known[id(one)] if id(one) in known else _lifted(one), out)

    def _count_copy(self, args: Any, wanted: Any) -> None:
        source = args[-1] if len(args) > 1 else args[0]
        source, target = (args[1], args[0].device) if len(args) > 1 else (args[0], wanted or args[0].device)
        here, there = source.device.type, torch.device(target).type
        if here == "cpu" and there != "cpu":
            self.transfers.uploads[_asked_by()] += 1
            self.transfers.uploaded_bytes += source.nbytes
        elif here != "cpu" and there == "cpu":
            self.transfers.downloads[_asked_by()] += 1
            self.transfers.downloaded_bytes += source.nbytes

    def _count_waits(self, name: str, args: Any) -> None:
        is_masked = name in ("index", "index_put_", "index_put") and any(
            isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1]
        )
        if is_masked and name != "index" and len(args[1]) == 1 and args[2].numel() == 1:
            # One number put where a mask says needs no list of places.
            is_masked = False
        if name in _WAITING or is_masked:
            self.transfers.waits[f"{_asked_by()} {name}"] += 1


@contextmanager
def counting_device() -> Iterator[Transfers]:
    """Let the device be there; yields what is counted."""
    # What is made of a list is then made on the host and goes up, which the mode sees.
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with CountingDevice() as device:
            yield device.transfers
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


# Without what PyTorch wraps around it for its compiler, which takes seconds to import.
CountingDevice.__torch_dispatch__ = CountingDevice.run  # type: ignore[method-assign]


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, tuple | list | dict):
        for one in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(one)
    else:
        yield tree


def _mapped(change: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _mapped(change, one) for key, one in tree.items()}
    return type(tree)(_mapped(change, one) for one in tree) if isinstance(tree, tuple | list) else change(tree)


def _held(one: Any) -> Any:
    if isinstance(one, torch.device):
        return _HOST
    return one.held if isinstance(one, DeviceTensor) else one


def _lifted(one: Any) -> Any:
    return DeviceTensor(one) if isinstance(one, Tensor) else one


@cache
def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _refuse_mixture(name: str, given: Sequence[Any]) -> None:
    """As CUDA does: of the host's, only numbers go along, and not everywhere."""
    least = 1 if name.strip("_") in _WITH_NUMBERS else 0
    foreign = [one for one in given if isinstance(one, Tensor) and not isinstance(one, DeviceTensor)]
    strange = [str(tuple(one.shape)) for one in foreign if one.ndim >= least]
    if strange:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device; the host's are: {strange}")


def _asked_by() -> str:
    frame = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "elsewhere"
    return f"{frame.f_code.co_filename.removeprefix(_PACKAGE)[1:]}:{frame.f_lineno}"


def _set_up() -> None:
    global _is_set_up
    if not _is_set_up:
        _setup_privateuseone_for_python_backend()
        _is_set_up = True
