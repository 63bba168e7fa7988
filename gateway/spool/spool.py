"""Keeps retrieved instances for a while: in memory first, on disk soon, nowhere once their time is over."""

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.errors import ConfigError, SpoolDamaged
from gateway.spool.catalog import Catalog, Facts, PackRow, Row
from gateway.spool.content import Content, no_charge
from gateway.spool.key import Key, claim
from gateway.spool.memory import Memory
from gateway.spool.packs import INDEX, Extent, Folder, Pack
from gateway.spool.room import Room
from gateway.spool.writer import Writer

TICK_SECONDS = 0.5
LAG_SECONDS = 5.0
"""How long what arrives without a break stays unwritten as long as there is memory for it."""

TRUST_SECONDS = 600.0
"""How long after its bytes were last looked at an instance is served without checking them again."""

MOST_STUDIES = 64
"""How many studies at rest are known without a look at the index."""

SEALED_AT_ONCE = 32 << 20


@dataclass(slots=True, eq=False)
class Spooled:
    """An instance of the spool.

    Attributes:
        confirmed_at: when its region last sent or listed it, on the monotonic clock.
        checksum: of its bytes, once it is in the index.
    """

    facts: Facts
    content: Content
    confirmed_at: float
    checksum: bytes | None = None


class Spool:
    """A cache of instances with a time to live and a size, never an archive.

    What arrives is kept in memory and written in large pieces by one thread, late, so that whoever waits for it is
    served first; at rest it lies in packs. Checksums are made when nothing arrives, and an instance is in the index
    once it has one.

    Attributes:
        memory: what is in memory only.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        max_bytes: int = 20 << 30,
        memory_bytes: int = 24 << 20,
        seconds: float = 3600.0,
        keep_on_restart: bool = False,
        key: Key | None = None,
    ) -> None:
        self.memory = Memory(memory_bytes)
        self._folder = Folder(folder)
        self._seconds = seconds
        self._key = key
        self._keep = keep_on_restart and folder is not None
        self._studies: OrderedDict[str, dict[str, Spooled]] = OrderedDict()
        self._whole: dict[Content, Spooled] = {}
        self._unsealed: dict[Spooled, None] = {}
        self._notes: dict[tuple[str, str, str], bytes] = {}
        self._room = Room(self._folder.path, max_bytes, seconds, self._removed, key)
        self._writer = Writer(self.memory, self._room, self._written, self._given_up)
        self._catalog: Catalog
        self._tasks = asyncio.TaskGroup()
        self._task: asyncio.Task[None] | None = None
        self._taken = 0

    # --- its life

    async def start(self) -> None:
        """Open the folder and begin to write and to expire; the task that starts it also closes it.

        Raises:
            ConfigError: the folder cannot be used, or not with this key.
        """
        self._folder.open()
        if not self._keep or not self._folder.packs():
            self._folder.clear()
        try:
            claim(self._folder.path, self._key, "spool.key_file", is_empty=not self._folder.packs())
        except BaseException:
            self._folder.close()
            raise
        self._catalog = self._opened()
        self._resume()
        await self._tasks.__aenter__()
        self._task = self._tasks.create_task(self._run())

    async def aclose(self) -> None:
        """Write and seal what is to be kept, or remove everything."""
        if self._task is None:
            return
        self._task.cancel()
        await self._tasks.__aexit__(None, None, None)
        self._task = None
        if self._keep:
            await self._writer.flush()
            while self._unsealed or self._notes:
                await self._seal()
        self._room.close_current()
        self._writer.close()
        for pack in self._room.packs.values():
            pack.close()
        self._catalog.close()
        if not self._keep:
            self._folder.clear()
        self._folder.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _opened(self) -> Catalog:
        """Open the index; one that cannot be read goes, with all that it names."""
        try:
            try:
                return Catalog(self._folder.path / INDEX, self._key)
            except sqlite3.Error:
                self._folder.clear()
                claim(self._folder.path, self._key, "spool.key_file", is_empty=True)
                return Catalog(self._folder.path / INDEX, self._key)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"the spool folder {self._folder.path} cannot be written ({error}): make room there or choose another "
                "[spool] folder"
            ) from error

    def _resume(self) -> None:
        """Take up what an earlier run has left; what is too old, or not in the index, goes."""
        shift = time.monotonic() - time.time()
        there = self._folder.packs()
        for row in self._catalog.packs():
            if row.name in there and row.born + self._seconds > time.time():
                size = max(row.size, there.pop(row.name))
                pack = self._room.packs[row.name] = Pack(self._folder.path, row.name, size, row.born + shift, self._key)
                pack.used_at = row.used + shift
            else:
                self._catalog.remove_pack(row.name)
        for name in there:
            (self._folder.path / name).unlink()

    # --- what is kept

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return self._room.size

    @property
    def path(self) -> Path:
        """The folder of its files, once it is open."""
        return self._folder.path

    @property
    def is_full(self) -> bool:
        """Whether there was no room on the disk a moment ago (promise P03)."""
        return self._writer.is_full

    def grow(self, facts: Facts, charge: Callable[[int], None] = no_charge) -> Spooled:
        """Make room for an instance that arrives; ``charge`` is told of bytes that its source has to wait for."""
        content = Content(self.memory, charge)
        content.writable = not self.is_full
        if content.writable:
            self._writer.add(content)
        return Spooled(facts, content, time.monotonic())

    def keep(self, spooled: Spooled) -> None:
        """Keep an instance that is whole now, in place of an older copy, as far as there is room."""
        facts, content = spooled.facts, spooled.content
        content.checked_at = spooled.confirmed_at = time.monotonic()
        if content.writable:
            self._studies.setdefault(facts.study, {})[facts.uid] = spooled
            if content.size == content.stored:
                self._unsealed[spooled] = None
            else:
                self._whole[content] = spooled

    def drop(self, content: Content) -> None:
        """Forget a Data Set that never became whole."""
        self._writer.drop(content)

    def forget(self, study: str, uids: Iterable[str]) -> None:
        """Serve these instances no more: they are damaged, or their regions hold them no longer (trap 26)."""
        shelf = self._studies.get(study, {})
        gone = [(study, uid) for uid in uids if shelf.pop(uid, None) is not None]
        if gone:
            self._writer.submit(lambda: _tried(lambda: self._catalog.remove(gone)))

    def at_hand(self, study: str) -> dict[str, Spooled]:
        """Return the instances of a study that are known without a look at the index, by SOP Instance UID."""
        shelf = self._studies.get(study)
        if shelf is None:
            return {}
        self._studies.move_to_end(study)
        return shelf

    async def study(self, uid: str) -> dict[str, Spooled]:
        """Return the instances of a study that are kept, by SOP Instance UID."""
        if uid not in self._studies and self._room.packs:
            rows = await asyncio.to_thread(self._catalog.study, uid)
            shelf = self._studies.setdefault(uid, {})
            for row in rows:
                pack = self._room.packs.get(row.pack)
                if pack is not None and row.facts.uid not in shelf:
                    content = Content.at_rest(self.memory, Extent(pack, row.offset), row.size)
                    shelf[row.facts.uid] = Spooled(row.facts, content, float("-inf"), row.checksum)
        return self.at_hand(uid)

    async def sound(self, instances: Iterable[Spooled]) -> list[Spooled]:
        """Return those whose bytes are what arrived, looking where that was not done for a while; forget the others."""
        return [spooled for spooled in list(instances) if await self._is_sound(spooled)]

    async def _is_sound(self, spooled: Spooled) -> bool:
        content, extent, now = spooled.content, spooled.content.place, time.monotonic()
        if not isinstance(extent, Extent):
            return not content.gone
        extent.pack.used_at = now
        if spooled.checksum is None or (content.checked_at > now - TRUST_SECONDS and extent.pack.untouched):
            return True
        extent.hold()
        try:
            found = await asyncio.to_thread(extent.pack.checksum, extent.offset, content.size)
        except SpoolDamaged:
            found = b""
        finally:
            extent.release()
        if found != spooled.checksum:
            self.forget(spooled.facts.study, [spooled.facts.uid])
            return False
        content.checked_at = now
        return True

    def note(self, facts: Facts, key: str) -> bytes | None:
        """Return what was noted of an instance."""
        value = self._notes.get((facts.study, facts.uid, key))
        return self._catalog.note(facts.study, facts.uid, key) if value is None else value

    def keep_note(self, facts: Facts, key: str, value: bytes) -> None:
        """Note something small of an instance, for as long as it is kept."""
        if facts.uid in self._studies.get(facts.study, {}):
            self._notes[facts.study, facts.uid, key] = value

    # --- behind the scenes

    async def _run(self) -> None:
        """Write, seal and expire, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self.memory.pressed.wait()
            except TimeoutError:
                await self._tick()
            else:
                await self._writer.relieve()
                self.memory.relieved()

    async def _tick(self) -> None:
        quiet, self._taken = self.memory.taken == self._taken, self.memory.taken
        if quiet or time.monotonic() - self._writer.waiting_since > LAG_SECONDS:
            await self._writer.flush()
        if quiet and (self._unsealed or self._notes):
            await self._seal()
        self._room.expire(time.monotonic())
        self._unlearn()

    def _written(self, content: Content) -> None:
        spooled = self._whole.pop(content, None)
        if spooled is not None:
            self._unsealed[spooled] = None

    def _given_up(self, content: Content) -> None:
        spooled = self._whole.pop(content, None)
        if spooled is not None:
            self._studies.get(spooled.facts.study, {}).pop(spooled.facts.uid, None)

    async def _seal(self) -> None:
        """Put some more instances into the index, with the checksum of their bytes."""
        chosen: list[tuple[Spooled, Extent]] = []
        size = 0
        for spooled in list(self._unsealed):
            del self._unsealed[spooled]
            extent = spooled.content.place
            if isinstance(extent, Extent) and not extent.pack.unlinked:
                chosen.append((spooled, extent))
                extent.hold()
            size += spooled.content.size
            if size > SEALED_AT_ONCE:
                break
        notes, self._notes = self._notes, {}
        try:
            rows = await self._writer.run(lambda: self._index(chosen, notes))
        except (SpoolDamaged, sqlite3.Error):
            rows = []  # they are served as long as they are known here, and gone after a restart
        finally:
            for _, extent in chosen:
                extent.release()
        for (spooled, _), row in zip(chosen, rows, strict=False):
            spooled.checksum = row.checksum
            spooled.content.checked_at = time.monotonic()

    def _index(self, chosen: Sequence[tuple[Spooled, Extent]], notes: dict[tuple[str, str, str], bytes]) -> list[Row]:
        """Sum the bytes and write the index; runs in the thread."""
        shift = time.time() - time.monotonic()
        rows = []
        for spooled, extent in chosen:
            size = spooled.content.size
            checksum = extent.pack.checksum(extent.offset, size)
            rows.append(Row(spooled.facts, extent.pack.name, extent.offset, size, checksum))
        packs = {extent.pack for _, extent in chosen}
        states = [PackRow(x.name, x.size, x.born_at + shift, x.used_at + shift) for x in packs]
        self._catalog.add(rows, states, [(*key, value) for key, value in notes.items()])
        return rows

    def _removed(self, pack: Pack) -> None:
        for uid, shelf in list(self._studies.items()):
            for name, spooled in list(shelf.items()):
                extent = spooled.content.place
                if isinstance(extent, Extent) and extent.pack is pack:
                    del shelf[name]
            if not shelf:
                del self._studies[uid]
        self._writer.submit(lambda: _tried(lambda: self._catalog.remove_pack(pack.name)))

    def _unlearn(self) -> None:
        """Know no more studies by heart than is useful."""
        for uid, shelf in list(self._studies.items())[:-MOST_STUDIES]:
            if all(x.checksum is not None and not x.content.claims for x in shelf.values()):
                del self._studies[uid]


def _tried(work: Callable[[], None]) -> None:
    """Do what may fail without harm: a row too many in the index names a file that is not there."""
    with suppress(sqlite3.Error):
        work()
