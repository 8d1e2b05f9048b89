"""Batches prepared ahead of time, in processes of their own: in order, and as ordinary memory.

A batch crosses as one run of bytes. Sharing its tensors would keep a file descriptor open for each of them, and a
training that holds some dozens of batches would run out of these, or of shared memory in a container.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lift3d.errors import Lift3dError, WorkerLostError


def in_background(prepare: Callable[[int], Any], numbers: range, workers: int) -> Iterator[Any]:
    """Yield the batches of some numbers in order; prepared in this process if there are no workers.

    Errors of ours that preparing a batch raised are raised, or WorkerLostError if a process that prepares is gone.
    """
    if not workers:
        yield from map(prepare, numbers)
        return
    loader: DataLoader[bytes] = DataLoader(
        _Packed(prepare),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=4,
        worker_init_fn=_single_threaded,
        # Started anew: a copy of this process would inherit, and stumble over, what is left of others' threads.
        multiprocessing_context="spawn",
    )
    stream = iter(loader)
    # Until it says that it is at its end: only then has it dismissed its processes.
    while (content := _next(stream)) is not None:
        # These bytes come from a process of our own.
        batch = torch.load(io.BytesIO(content), weights_only=False)
        if isinstance(batch, Lift3dError):
            raise batch
        yield batch


@dataclass(frozen=True, slots=True)
class _Packed(Dataset[bytes]):
    """Batches as bytes; an error of ours is a batch that says so, since the loader would rewrite its message."""

    prepare: Callable[[int], Any]

    def __getitem__(self, number: int) -> bytes:
        try:
            batch = self.prepare(number)
        except Lift3dError as error:
            batch = error
        stream = io.BytesIO()
        torch.save(batch, stream)
        return stream.getvalue()


def _next(stream: Iterator[bytes]) -> bytes | None:
    try:
        return next(stream, None)
    except RuntimeError as error:
        # The loader's words for a process that was killed; any other error of a worker is a defect and stays one.
        if "DataLoader worker" not in str(error) or "exited unexpectedly" not in str(error):
            raise
        raise WorkerLostError(
            f"A process that prepares examples is gone ({error}). Memory may have run out: use fewer workers, and "
            "run the same command again, which goes on from the last saved step."
        ) from error


def _single_threaded(_: int) -> None:
    torch.set_num_threads(1)
    # What a process warns of while it ends is not an error of the training.
    warnings.simplefilter("ignore")
