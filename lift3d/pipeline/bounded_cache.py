"""What a worker keeps in memory of a scene: the values used last, up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
CACHE_BYTES = 2**30


class BoundedCache(Generic[Value]):
    """Keeps the values used last, up to a number of bytes."""

    def __init__(self, byte_count: Callable[[Value], int], limit: int = CACHE_BYTES) -> None:
        self._byte_count = byte_count
        self._limit = limit
        self._held = 0
        self._values: OrderedDict[str, Value] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        """Whether a value is held."""
        return key in self._values

    def get(self, key: str, make: Callable[[], Value]) -> Value:
        """Return the value of a key, making it if it is not held."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        self.put(key, make())
        return self._values[key]

    def put(self, key: str, value: Value) -> None:
        """Hold a value, in place of others that were not used for long; one that is held already stays."""
        if key in self._values:
            return
        self._values[key] = value
        self._held += self._byte_count(value)
        while self._held > self._limit and len(self._values) > 1:
            _, dropped = self._values.popitem(last=False)
            self._held -= self._byte_count(dropped)
