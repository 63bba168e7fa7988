"""The room on the disk: which pack takes the next bytes, and which one makes room for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.spool.key import Key
from gateway.spool.packs import Extent, Pack

LARGEST_PACK: Final = 64 << 20
SHARES: Final = 16
"""How many packs, at the least, fill the room, so that what is evicted is a small part of it."""


class Room:
    """The packs of one folder, within a number of bytes; evicted by age, then the least recently used first.

    Attributes:
        packs: all files, by name.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        seconds: float,
        removed: Callable[[Pack], None],
        key: Key | None = None,
    ) -> None:
        self.packs: dict[str, Pack] = {}
        self._folder = folder
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._removed = removed
        self._key = key
        self._pack_bytes = max(1, min(LARGEST_PACK, max_bytes // SHARES))
        self._current: Pack | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum([pack.size for pack in self.packs.values()])

    def place(self, size: int, now: float, *, alone: bool) -> Extent | None:
        """Return where so many bytes go, in a pack of their own if they are to grow; None when there is no room."""
        if not self.make(size):
            return None
        pack = self._current
        fits = pack is not None and pack.size < self._pack_bytes and now - pack.born_at < self._seconds / 8
        if alone or pack is None or not fits:
            pack = self._new(now, alone=alone)
        extent = Extent(pack, pack.size)
        pack.size += size
        return extent

    def extend(self, extent: Extent, size: int) -> bool:
        """Let what grows take more of its pack; False when there is no room."""
        if not self.make(size):
            return False
        extent.pack.size += size
        return True

    def make(self, size: int) -> bool:
        """Make room for so many bytes; return whether there is."""
        excess = self.size + size - self._max_bytes
        if excess <= 0:
            return True
        for pack in sorted(self.packs.values(), key=lambda pack: pack.used_at):
            if not pack.users:
                excess -= pack.size
                self.remove(pack)
                if excess <= 0:
                    return True
        return False

    def close_current(self) -> None:
        """Let the next bytes go to a new pack."""
        pack, self._current = self._current, None
        if pack is not None:
            pack.release()

    def expire(self, now: float) -> None:
        """Wipe what is too old, read or not: who reads it now reads on."""
        for pack in list(self.packs.values()):
            if pack.born_at + self._seconds <= now:
                self.remove(pack)

    def remove(self, pack: Pack) -> None:
        """Wipe one file."""
        pack.unlink()
        del self.packs[pack.name]
        if pack is self._current:
            self.close_current()
        self._removed(pack)

    def _new(self, now: float, *, alone: bool) -> Pack:
        pack = Pack.new(self._folder, now, self._key)
        self.packs[pack.name] = pack
        if not alone:
            self.close_current()
            self._current = pack
            pack.hold()  # it is not evicted, and its file stays open, as long as it takes more
        return pack
