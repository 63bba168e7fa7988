"""Instances at rest: a cache with a time to live, never an archive; nobody else's to read."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from gateway.errors import Aborted, ConfigError, LimitExceeded
from gateway.spool.catalog import Facts
from gateway.spool.content import Content
from gateway.spool.packs import Pack
from gateway.spool.spool import Spool, Spooled
from tests.kit.full_disk import no_file_longer_than

STUDY, SERIES = "1.2.3", "1.2.3.4"
SECONDS = 60


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it look around more often than it does, so that nobody waits for it."""
    monkeypatch.setattr("gateway.spool.spool.TICK_SECONDS", 0.01)


def facts(uid: str, study: str = STUDY) -> Facts:
    return Facts(study, SERIES, uid, "neodin", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "ISO_IR 100")


def data(number: int, size: int = 5000) -> bytes:
    return bytes((number + i * i) % 251 for i in range(size))


def keep(spool: Spool, uid: str, what: bytes, study: str = STUDY) -> Spooled:
    """Have an instance arrive in three pieces."""
    spooled = spool.grow(facts(uid, study))
    third = len(what) // 3
    for piece in (what[:third], what[third : 2 * third], what[2 * third :]):
        spooled.content.put(piece, is_last=False)
    spooled.content.put(b"", is_last=True)
    spool.keep(spooled)
    return spooled


async def everything(content: Content, offset: int = 0) -> bytes:
    return b"".join([bytes(piece) async for burst in content.bursts(offset) for piece in burst])


async def until(condition: object) -> None:
    """Wait for what the spool does by itself."""
    assert callable(condition)
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the spool tells nobody
            await asyncio.sleep(0.01)


def names(folder: Path) -> list[str]:
    return [x.name for x in folder.iterdir()]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pack"))


# --- at rest


async def test_what_arrived_is_read_from_its_file_once_memory_has_let_it_go(tmp_path: Path) -> None:
    async with Spool(tmp_path) as spool:
        kept = [keep(spool, f"1.{n}", data(n)) for n in range(20)]
        await until(lambda: spool.memory.used == 0)
        assert [await everything(x.content) for x in kept] == [data(n) for n in range(20)]
        assert [await everything(x.content, 4321) for x in kept] == [data(n)[4321:] for n in range(20)]
        assert kept[3].content.read(100, 50) == data(3)[100:150]
        assert await kept[3].content.load(4990, 50) == data(3)[4990:]


async def test_nobody_else_can_read_it_and_no_name_comes_from_the_wire(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    async with Spool(folder) as spool:
        keep(spool, "../../etc/passwd", b"x" * 5000, study="..")
        await until(lambda: spool.at_hand("..")["../../etc/passwd"].checksum is not None)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert all(stat.S_IMODE((folder / x).stat().st_mode) == 0o600 for x in names(folder))
        assert all(set(x.stem) <= set("0123456789abcdef") for x in files(folder))
        assert len(files(folder)) == 1
    assert names(tmp_path) == ["spool"]


async def test_it_is_wiped_when_its_time_is_over(tmp_path: Path) -> None:
    async with Spool(tmp_path, seconds=1.0) as spool:
        keep(spool, "1.1", data(1))
        await until(lambda: files(tmp_path))
        await until(lambda: not files(tmp_path))
        assert spool.at_hand(STUDY) == {}
        assert await spool.study(STUDY) == {}
        assert spool.size == 0


async def test_who_reads_when_its_time_is_over_reads_to_the_end(tmp_path: Path) -> None:
    async with Spool(tmp_path, seconds=1.0) as spool:
        content = keep(spool, "1.1", data(1, 3 << 20)).content
        await until(lambda: spool.memory.used == 0)
        bursts = content.bursts()
        got = b"".join(await anext(bursts))
        await until(lambda: not files(tmp_path))
        assert got + b"".join([bytes(x) async for burst in bursts for x in burst]) == data(1, 3 << 20)


async def test_who_is_promised_it_when_its_time_is_over_reads_it_all(tmp_path: Path) -> None:
    async with Spool(tmp_path, seconds=1.0) as spool:
        kept = keep(spool, "1.1", data(1))
        await until(lambda: spool.memory.used == 0)
        kept.content.claim()
        await until(lambda: not files(tmp_path))
        assert not kept.content.lost
        assert await everything(kept.content) == data(1)
        kept.content.unclaim()
        assert kept.content.lost


async def test_what_expires_before_its_first_byte_is_written_leaves_no_file(tmp_path: Path) -> None:
    pack = Pack.new(tmp_path, 0.0)
    pack.hold()
    pack.unlink()
    pack.write(0, [memoryview(b"abc")])
    assert files(tmp_path) == []
    assert pack.read(0, 3) == b"abc"
    pack.release()


async def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    async with Spool(tmp_path, max_bytes=64_000) as spool:  # a pack takes a sixteenth of it
        for n in range(10):
            keep(spool, f"1.{n}", data(n, 6000), study=f"1.{n}")
            await until(lambda: spool.memory.used == 0)
        first = spool.at_hand("1.0")["1.0"]
        assert await spool.sound([first]) == [first]  # it is used
        for n in range(10, 14):
            keep(spool, f"1.{n}", data(n, 6000), study=f"1.{n}")
            await until(lambda: spool.memory.used == 0)
        assert sum(x.stat().st_size for x in files(tmp_path)) <= 64_000
        assert spool.at_hand("1.1") == {}
        assert await everything(spool.at_hand("1.0")["1.0"].content) == data(0, 6000)
        assert not spool.is_full


async def test_what_somebody_reads_is_not_evicted(tmp_path: Path) -> None:
    async with Spool(tmp_path, max_bytes=64_000) as spool:
        content = keep(spool, "1.1", data(1, 6000)).content
        content.claim()
        await until(lambda: spool.memory.used == 0)
        for n in range(20):
            keep(spool, f"2.{n}", data(n, 6000), study="2")
            await until(lambda: spool.memory.used == 0)
        assert await everything(content) == data(1, 6000)
        content.unclaim()


# --- integrity


@pytest.mark.parametrize("how", ["changed", "shortened", "removed"])
async def test_what_was_damaged_is_never_served(tmp_path: Path, how: str) -> None:
    async with Spool(tmp_path) as spool:
        spooled = [keep(spool, f"1.{n}", data(n)) for n in range(3)]
        await until(lambda: all(x.checksum is not None for x in spooled))
        (file,) = files(tmp_path)
        spool._room.close_current()
        if how == "changed":
            with file.open("r+b") as opened:
                opened.seek(5000 + 1234)
                opened.write(b"?")
        elif how == "shortened":
            os.truncate(file, 5000 + 1234)
        else:
            file.unlink()
        sound = {"changed": [0, 2], "shortened": [0], "removed": []}[how]
        assert await spool.sound(spooled) == [spooled[n] for n in sound]
        assert sorted(spool.at_hand(STUDY)) == [f"1.{n}" for n in sound]


# --- restart


async def test_it_survives_a_restart_where_that_is_wanted(tmp_path: Path) -> None:
    async with Spool(tmp_path, keep_on_restart=True) as spool:
        for n in range(3):
            keep(spool, f"1.{n}", data(n))
        spool.keep_note(facts("1.1"), "metadata", b"{}")
    async with Spool(tmp_path, keep_on_restart=True) as spool:
        found = await spool.study(STUDY)
        assert [await everything(x.content) for x in found.values()] == [data(n) for n in range(3)]
        assert [x.facts for x in found.values()] == [facts(f"1.{n}") for n in range(3)]
        assert await spool.sound(found.values()) == list(found.values())
        assert spool.note(facts("1.1"), "metadata") == b"{}"
        assert spool.note(facts("1.2"), "metadata") is None
        assert all(x.confirmed_at == float("-inf") for x in found.values())


async def test_it_starts_clean_where_that_is_wanted(tmp_path: Path) -> None:
    async with Spool(tmp_path, keep_on_restart=True) as spool:
        keep(spool, "1.1", data(1))
    assert files(tmp_path)
    async with Spool(tmp_path) as spool:
        assert await spool.study(STUDY) == {}
        assert not files(tmp_path)


async def test_what_a_killed_gateway_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{'ab' * 16}.pack").write_bytes(b"left by a process that was killed before it wrote the index")
    async with Spool(tmp_path, keep_on_restart=True):
        assert not files(tmp_path)


async def test_its_age_goes_on_over_a_restart(tmp_path: Path) -> None:
    async with Spool(tmp_path, keep_on_restart=True) as spool:
        keep(spool, "1.1", data(1))
    await asyncio.sleep(0.1)
    async with Spool(tmp_path, keep_on_restart=True, seconds=0.05) as spool:
        assert await spool.study(STUDY) == {}
        assert not files(tmp_path)


async def test_a_folder_serves_one_gateway(tmp_path: Path) -> None:
    async with Spool(tmp_path):
        with pytest.raises(ConfigError, match="used by another gateway"):
            await Spool(tmp_path).start()


async def test_a_folder_that_cannot_be_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"choose another \[spool\] folder"):
        await Spool(tmp_path / "file" / "spool").start()


async def test_a_folder_of_its_own_goes_with_it() -> None:
    async with Spool() as spool:
        folder = spool._folder.path
        keep(spool, "1.1", data(1))
        await until(lambda: files(folder))
    assert not folder.exists()


async def test_an_index_that_cannot_be_read_goes_with_all_it_names(tmp_path: Path) -> None:
    async with Spool(tmp_path, keep_on_restart=True) as spool:
        keep(spool, "1.1", data(1))
    (tmp_path / "index.sqlite").write_bytes(b"not a database, for all we know" * 100)
    async with Spool(tmp_path, keep_on_restart=True) as spool:
        assert await spool.study(STUDY) == {}
        assert not files(tmp_path)


async def test_a_disk_that_is_full_at_the_start_is_told_with_a_remedy(tmp_path: Path) -> None:
    with no_file_longer_than(4096), pytest.raises(ConfigError, match="make room there"):
        await Spool(tmp_path).start()


# --- memory and disk are finite


async def test_a_source_waits_while_memory_is_short_and_goes_on_once_it_is_written(tmp_path: Path) -> None:
    unread = 0

    def charge(size: int) -> None:
        nonlocal unread
        unread += size

    async with Spool(tmp_path, memory_bytes=20_000) as spool:
        first = spool.grow(facts("1.1"), charge)
        first.content.put(data(1, 20_000), is_last=False)
        assert unread == 0
        first.content.put(data(2, 3000), is_last=False)
        assert unread == 3000
        await until(lambda: unread == 0)
        assert spool.memory.used <= 10_000
        first.content.put(data(3, 3000), is_last=True)
        spool.keep(first)
        assert await everything(first.content) == data(1, 20_000) + data(2, 3000) + data(3, 3000)
        await until(lambda: first.checksum is not None)
        assert await everything(first.content) == data(1, 20_000) + data(2, 3000) + data(3, 3000)


@pytest.mark.parametrize("full", ["the spool", "the disk"])
async def test_what_finds_no_room_is_kept_for_those_who_read_it_and_no_longer(tmp_path: Path, full: str) -> None:
    async with Spool(tmp_path, max_bytes=1 if full == "the spool" else 1 << 30) as spool:
        with no_file_longer_than(1 << 30 if full == "the spool" else 4096):
            spooled = spool.grow(facts("1.1"))
            spooled.content.claim()
            spooled.content.put(data(1, 30_000), is_last=True)
            spool.keep(spooled)
            await until(lambda: spool.is_full)
            assert spool.at_hand(STUDY) == {}
            assert await everything(spooled.content) == data(1, 30_000)
            spooled.content.unclaim()
            assert spool.memory.used == 0


async def test_it_recovers_alone_when_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.spool.writer.RETRY_SECONDS", 0.1)
    async with Spool(tmp_path) as spool:
        with no_file_longer_than(4096):
            keep(spool, "1.1", data(1, 30_000))
            await until(lambda: spool.is_full)
        await until(lambda: not spool.is_full)
        kept = keep(spool, "1.2", data(2, 30_000))
        await until(lambda: kept.content.stored == 30_000)
        assert await everything(kept.content) == data(2, 30_000)


# --- while it arrives


async def test_readers_follow_each_from_his_own_place() -> None:
    async with Spool() as spool:
        content = spool.grow(facts("1.1")).content
        whole = data(1, 10_000)
        early = asyncio.ensure_future(everything(content))
        content.put(whole[:4000], is_last=False)
        late = asyncio.ensure_future(everything(content, 5000))
        await asyncio.sleep(0)
        for at in range(4000, 10_000, 1500):
            content.put(whole[at : at + 1500], is_last=at + 1500 >= 10_000)
            await asyncio.sleep(0)
        assert await early == whole
        assert await late == whole[5000:]
        assert await everything(content) == whole


async def test_single_bytes_are_joined() -> None:
    async with Spool() as spool:
        content = spool.grow(facts("1.1")).content
        for byte in data(1, 70_000):
            content.put(bytes([byte]), is_last=False)
        content.put(b"", is_last=True)
        assert len(content.fragments()) == 2
        assert await everything(content, 7) == data(1, 70_000)[7:]


async def test_what_breaks_off_is_an_error_behind_what_has_arrived() -> None:
    async with Spool() as spool:
        content = spool.grow(facts("1.1")).content
        content.claim()
        content.put(b"x" * 2000, is_last=False)
        content.fail(Aborted("gone"))
        bursts = content.bursts()
        assert b"".join(await anext(bursts)) == b"x" * 2000
        with pytest.raises(Aborted):
            await anext(bursts)
        with pytest.raises(Aborted):
            await content.whole()
        content.unclaim()
        assert spool.memory.used == 0


async def test_a_reader_who_was_given_up_learns_it(tmp_path: Path) -> None:
    async with Spool(tmp_path, max_bytes=1) as spool:
        content = spool.grow(facts("1.1")).content
        content.writable = False
        content.claim()
        content.put(b"x" * 2000, is_last=False)
        bursts = content.bursts()
        await anext(bursts)
        content.cut_off(before=asyncio.get_running_loop().time())
        content.unclaim()
        content.put(b"x" * 2000, is_last=True)
        with pytest.raises(LimitExceeded):
            await anext(bursts)
        content.let_go()
        assert spool.memory.used == 0
