"""Answers that stay good for a while."""

import time
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """A bounded number of values, each for some seconds; the oldest goes first."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """Return the value of a key; None where there is none any more."""
        expires, value = self._entries.get(key, (float("-inf"), None))
        return value if time.monotonic() < expires else None

    def put(self, key: Key, value: Value) -> None:
        """Keep a value from now on."""
        self._entries[key] = time.monotonic() + self._seconds, value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)
