"""How long a store is asked again: back-off with jitter, fewer requests at once while it says so, and a count.

This is the only retry policy; those of the libraries are switched off, since nested ones multiply. The wait is drawn
between nothing and a bound that doubles, so that workers which failed together do not come back together.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import tenacity

from lift3d.storage.low_level_errors import Meaning, low_level_errors, meaning_of

T = TypeVar("T")

_PASSING: tuple[Meaning, ...] = ("busy", "unreachable")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long is waited for what, in seconds.

    For a connection (who waits longer had better be retried by its scheduler), for the next bytes of an answer, and for
    one try as a whole: 512 MiB, the largest shard one should write, at the slowest rate, below which a transfer counts
    as stalled. In all with a service that does not answer (a restart or a failover of a load balancer), and with one
    that asks for fewer requests: it may do so for ten minutes, and jitter makes waits shorter than their bounds.
    """

    connect_s: float = 10.0
    silence_s: float = 30.0
    operation_s: float = 256.0
    slowest_bytes_per_s: float = 2.0 * 2**20
    unreachable_s: float = 30.0
    busy_s: float = 900.0
    first_wait_s: float = 0.2
    longest_unreachable_wait_s: float = 5.0
    longest_busy_wait_s: float = 30.0

    def deadline_s(self, byte_count: int | None) -> float:
        """Return how long one try may take: by its bytes if they are known, and twice the silence for the rest."""
        if byte_count is None:
            return self.operation_s
        return min(self.operation_s, 2 * self.silence_s + byte_count / self.slowest_bytes_per_s)


# At most this many requests at once per process: three arrays, of which Zarr asks for ten chunks at once each.
MOST_AT_ONCE = 32
# A try of a stalled operation may take the whole budget; a silent service is asked this often all the same.
_LEAST_TRIES = 3


class Throttle:
    """How many requests run at once: halved when the service is busy, one more after as many successes as run."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self.limit = most
        self._most = most
        self._running = 0
        self._successes = 0
        self._halvings = 0
        self._changed = threading.Condition()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for one's turn, run, and learn from how it went."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < self.limit)
            self._running += 1
            known_halvings = self._halvings
        try:
            yield
        except low_level_errors() as error:
            if meaning_of(error) == "busy":
                self._halve(known_halvings)
            raise
        else:
            self._grow()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _halve(self, known_halvings: int) -> None:
        # Requests that were sent together are refused together: that is one message, not many.
        with self._changed:
            if known_halvings == self._halvings:
                self.limit = max(1, self.limit // 2)
                self._halvings += 1
                self._successes = 0

    def _grow(self) -> None:
        if self.limit == self._most:
            return
        with self._changed:
            self._successes += 1
            if self._successes >= self.limit:
                self.limit, self._successes = min(self._most, self.limit + 1), 0
                self._changed.notify_all()


class RetryPolicy:
    """Runs calls until they succeed, fail for good, or time is used up. Threads share it.

    ``retry_counts`` has the tries that were made again, by what the failed one meant.
    """

    def __init__(self, timeouts: Timeouts, sleep: Callable[[float], None] = tenacity.nap.sleep) -> None:
        self.timeouts = timeouts
        self.throttle = Throttle()
        self.retry_counts: Counter[Meaning] = Counter()
        self._lock = threading.Lock()
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: meaning_of(error) in _PASSING),
            stop=self._is_over,
            wait=self._wait,
            before_sleep=self._count,
            sleep=sleep,
            reraise=True,
        )

    def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns; its last error if it does not succeed in time."""
        # What tenacity raises stays bound to the frames of all callers, with what these hold, until the garbage of a
        # cycle is collected. An error is often an answer, as of a missing file: it goes past it.
        final: list[BaseException] = []

        def in_turn() -> T | None:
            try:
                with self.throttle.slot():
                    return call()
            except low_level_errors() as error:
                if meaning_of(error) in _PASSING:
                    raise
                final.append(error)
                return None

        answer = self._retrying(in_turn)
        if final:
            raise final.pop()
        return cast(T, answer)

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        budget = self.timeouts.busy_s if _meaning(state) == "busy" else self.timeouts.unreachable_s
        if state.idle_for >= budget:
            return True
        return state.attempt_number >= _LEAST_TRIES and (state.seconds_since_start or 0.0) >= budget

    def _wait(self, state: tenacity.RetryCallState) -> float:
        is_busy = _meaning(state) == "busy"
        longest = self.timeouts.longest_busy_wait_s if is_busy else self.timeouts.longest_unreachable_wait_s
        return tenacity.wait_random_exponential(multiplier=self.timeouts.first_wait_s, max=longest)(state)

    def _count(self, state: tenacity.RetryCallState) -> None:
        with self._lock:
            self.retry_counts[_meaning(state)] += 1


def _meaning(state: tenacity.RetryCallState) -> Meaning:
    error = state.outcome.exception() if state.outcome else None
    return meaning_of(error) if error else "unknown"
