"""Work beside the thread that asks for it, in order and bounded: decoding, keypoints, matches; packing and writing.

That is the work of libraries, which leave the interpreter to others meanwhile. Results and errors come out where and as
they would without threads, to the bit.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Threads at most, and results that are in the making or wait to be asked for.
THREADS, IN_FLIGHT = 2, 4
# Things that are to be done behind, at most: a part is written, and its product committed.
_LEFT_BEHIND = 2
_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(count: int | float) -> None:
    """Say how many cores are for this process; with less than two everything is done by the thread that asks."""
    global _cores
    _cores = int(count)


def ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Callable[[], Result]]:
    """Yield, item by item, what returns its result or raises its error; the next ones are worked on meanwhile."""
    if _cores < 2:
        yield from (partial(work, item) for item in items)
        return
    pool, begun = ThreadPoolExecutor(THREADS), deque[Future[Result]]()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) == IN_FLIGHT:
                yield begun.popleft().result
        while begun:
            yield begun.popleft().result
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def behind() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Give what has things done by another thread, one after the other; at the end all of them are.

    The error of one is raised where the next but one is asked for, or at the end, and what follows it is not done.
    """
    left = deque[Future[None]]()
    with ThreadPoolExecutor(1) as pool:

        def do(work: Callable[[], None]) -> None:
            before = left[-1] if left else None
            if len(left) == _LEFT_BEHIND:
                left.popleft().result()
            left.append(pool.submit(_after, before, work))

        yield do
        while left:
            left.popleft().result()


def _after(before: Future[None] | None, work: Callable[[], None]) -> None:
    if before is not None:
        before.result()
    work()
