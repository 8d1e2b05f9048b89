"""Weights of networks: seeded, from files, and their digest."""

import hashlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lift3d.domain.keys import digest_bytes
from lift3d.errors import ConfigError

# Layers under which checkpoints nest their state dict.
_NESTED_UNDER = ("state_dict", "model")
_NAMED_IN_MESSAGES = 3


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers from a seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def digest_weights(network: nn.Module) -> str:
    """Return a digest of everything a network has learned: names, shapes and values."""
    parts: list[bytes] = []
    for name, tensor in sorted(network.state_dict().items()):
        parts.append(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        parts.append(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest_bytes(*parts)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file, or one of torch.save with tensors only (no code is run).

    If a file of its name and ``.sha256`` lies beside it, as sha256sum writes one, the content must be what that says.
    """
    if not path.is_file():
        raise ConfigError(f"There is no weights file '{path}'; give a .safetensors file or weights=random.")
    _check_sum(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise ConfigError(f"Weights file '{path}' does not read as a state dict: {error}") from error
    for key in _NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(f"Weights file '{path}' holds no state dict (a mapping of names to tensors).")
    return dict(content)


def _check_sum(path: Path) -> None:
    beside = path.with_name(f"{path.name}.sha256")
    if not beside.is_file():
        return
    try:
        words = beside.read_text(encoding="ascii").split()
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise ConfigError(f"Weights file '{path}' cannot be held against '{beside.name}': {error}.") from error
    expected = words[0].lower() if words else "nothing"
    if found != expected:
        raise ConfigError(
            f"Weights file '{path}' is not what '{beside.name}' says: its SHA-256 is {found}, expected {expected:.64}. "
            "Get the file again, or remove the sum if another file is meant."
        )


def load_weights(network: nn.Module, path: Path, may_be_left: Sequence[str] = ()) -> None:
    """Load a file (see read_weights) into a network; ConfigError unless every parameter is there, in its shape.

    The file may also have what begins with ``may_be_left`` and the network has not, e.g. its classifier.
    """
    state = read_weights(path)
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    left = [name for name in state if name not in own and not name.startswith(tuple(may_be_left))]
    misfits = [name for name in own if name in state and own[name].shape != state[name].shape]
    troubles = {"lacks": missing, "has, unknown to the network,": left, "has in another shape": misfits}
    for what, names in troubles.items():
        if names:
            some = ", ".join(names[:_NAMED_IN_MESSAGES])
            raise ConfigError(
                f"Weights file '{path}' does not fit the network: it {what} {len(names)} of {len(own)} "
                f"entries ({some}, …). Give the state dict of exactly this network."
            )
    network.load_state_dict({name: state[name] for name in own})
