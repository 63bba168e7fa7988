"""Memory that sockets are read into, used again once nobody looks at it."""

import sys
from collections import deque
from typing import Final

_LARGE: Final = 512 * 1024
_LOOKED_AT: Final = 8


class Buffers:
    """Keeps large buffers whose contents may still be read, and hands out those that no view reaches into.

    A new one is filled with zeros first, which for a stream of instances costs as much as receiving it. There are
    never more than were read at one time, so it keeps ``most`` of them only where instances wait in memory to that
    extent.
    """

    def __init__(self, most: int = 32) -> None:
        self._kept: deque[bytearray] = deque(maxlen=most)

    def take(self, size: int) -> bytearray:
        """Return a buffer of at least this many bytes, with anything in it."""
        if size <= _LARGE:
            for _ in range(min(len(self._kept), _LOOKED_AT)):  # the oldest first: it is read first
                buffer = self._kept.popleft()
                # Every view of a bytearray holds a reference to it: two are ours, of the name and of the call.
                if sys.getrefcount(buffer) == 2 and len(buffer) >= size:
                    return buffer
                self._kept.append(buffer)
        return bytearray(size)

    def give(self, buffer: bytearray) -> None:
        """Keep a buffer that is full; views of it stay valid as long as they are held."""
        if len(buffer) == _LARGE:
            self._kept.append(buffer)
