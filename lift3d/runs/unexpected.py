"""Exceptions that are none of ours, as errors that say what a scheduler is to do: one rule for serial and Ray."""

import traceback

from lift3d.errors import ContractError, Lift3dError, OutOfMemoryError, WorkerLostError

# What CUDA says after which nothing in the process works any more; torch need not be imported to look for it.
_DEVICE_LOST = ("cuda error", "device-side assert", "cublas_status", "cudnn_status")


def own_error(error: BaseException, scene: str | None = None) -> Lift3dError:
    """Return what an exception of any class means for the scene that was at work.

    Args:
        error: What was raised.
        scene: Which scene it was.
    """
    if isinstance(error, Lift3dError):
        return error
    said = str(error).lower()
    # torch raises its own class, or a RuntimeError that says so in words.
    if isinstance(error, MemoryError) or "out of memory" in said:
        return OutOfMemoryError(
            f"A scene does not fit: {first_line(error)} Lower --image-height or --sources, or use fewer --workers.",
            scene=scene,
        )
    if any(words in said for words in _DEVICE_LOST):
        return WorkerLostError(
            f"The device of a worker failed: {first_line(error)} The worker is replaced; look at the node.", scene=scene
        )
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in frames)
    return ContractError(
        f"{type(error).__name__}: {first_line(error)}{where} This is a defect of an operator, a lifter, a metric or "
        "of lift3d, not of the scene.",
        scene=scene,
    )


def first_line(error: BaseException) -> str:
    """Return the first line of a message as a sentence."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text if text.endswith(".") else f"{text}."
