"""The one device that a worker computes on: decided once, and in force around a scene.

Inside, what PyTorch makes anew (``torch.zeros``, ``torch.as_tensor`` of an array) lies there, so no stage names it. On
the host stay cameras, which are small and in double precision, and what NumPy, SciPy and OpenCV do.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch

from lift3d.config import Execution
from lift3d.errors import ConfigError

HOST = torch.device("cpu")


def worker_device(execution: Execution) -> torch.device:
    """Return where a worker computes; ConfigError, which says why, if a GPU was asked for that it has not.

    ``auto`` is a GPU if there is one and the worker is this process, or has a share of it reserved.
    """
    may_have = execution.gpus_per_worker > 0 or not execution.is_distributed
    return named_device(execution.device if may_have or execution.device != "auto" else "cpu")


def named_device(name: str) -> torch.device:
    """Return the device of a name: auto, cpu, cuda or cuda:N; ConfigError as of ``worker_device``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"There is no device '{name}'; expected auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(
                f"Device '{name}' was asked for, and this process sees {count} CUDA devices: {_why(count)}. "
                "Mend that, or compute on --device cpu."
            )
    return device


def _why(count: int) -> str:
    """Return why there are no more devices, as far as PyTorch says."""
    if count:
        return f"they are cuda:0 to cuda:{count - 1}"
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides all of them; on Ray, --gpus-per-worker reserves them"
    try:
        torch.cuda.current_device()
    except (RuntimeError, AssertionError) as error:
        # Of a driver that is missing, or too old for this PyTorch.
        return " ".join(str(error).split("\n")[0].split()).rstrip(".")
    return "none answers"


@contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """Compute on a device, a GPU with equal bits from run to run; on the host nothing is changed."""
    with ExitStack() as stack:
        if device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
            stack.callback(torch.use_deterministic_algorithms, False)
            # Of running sums, whose order CUDA does not promise.
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        if device != HOST:
            stack.enter_context(device)
        yield


def on_host() -> AbstractContextManager[object]:
    """Make new tensors on the host, wherever the worker computes."""
    return nullcontext() if torch.get_default_device() == HOST else HOST
