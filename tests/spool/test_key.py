"""With a key, nothing on the disk tells of a patient; without the key, or after a change, nothing is served."""

import asyncio
import base64
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError, SpoolDamaged
from gateway.spool.catalog import Facts
from gateway.spool.commitments import Commitments
from gateway.spool.content import Content
from gateway.spool.key import PROOF, Key, key_of
from gateway.spool.ledger import SEALED, Kept, Ledger
from gateway.spool.packs import Pack
from gateway.spool.queue import INSTANCES, Queue
from gateway.spool.spool import Spool, Spooled

CANARY = b"TREMBLAY^CANARY-1234567890"
STUDY = "1.2.826.0.1.77001"
KEY, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))
REGION = "neodin"
MOST = 1 << 30


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.spool.spool.TICK_SECONDS", 0.01)


def data(number: int, size: int = 20_000) -> bytes:
    return (CANARY + bytes([number])) * (size // len(CANARY))


def facts(uid: str) -> Facts:
    return Facts(STUDY, f"{STUDY}.1", uid, REGION, "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "ISO_IR 100")


def keep(spool: Spool, uid: str, what: bytes) -> Spooled:
    spooled = spool.grow(facts(uid))
    for at in range(0, len(what), 7001):
        spooled.content.put(what[at : at + 7001], is_last=False)
    spooled.content.put(b"", is_last=True)
    spool.keep(spooled)
    spool.keep_note(spooled.facts, "metadata", CANARY * 3)
    return spooled


async def sealed(kept: list[Spooled]) -> None:
    """Wait until all are on the disk and in the index."""
    async with asyncio.timeout(30):
        while any(x.checksum is None for x in kept):  # noqa: ASYNC110 - the spool tells nobody
            await asyncio.sleep(0.01)


async def everything(content: Content, offset: int = 0) -> bytes:
    return b"".join([bytes(piece) async for burst in content.bursts(offset) for piece in burst])


def on_disk(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path, offset: int) -> None:
    """Change one bit."""
    changed = bytearray(path.read_bytes())
    changed[offset] ^= 1
    path.write_bytes(changed)


# --- the spool


async def test_no_byte_of_a_patient_is_on_the_disk_and_every_offset_is_read_back(tmp_path: Path) -> None:
    async with Spool(tmp_path, memory_bytes=1 << 20, keep_on_restart=True, key=KEY) as spool:
        kept = [keep(spool, f"{STUDY}.1.{n}", data(n)) for n in range(1, 20)]
        await sealed(kept)
        for n, spooled in enumerate(kept, 1):
            assert await everything(spooled.content, n * 97) == data(n)[n * 97 :]
            assert await spooled.content.load(n * 31 + 1, 4999) == data(n)[n * 31 + 1 :][:4999]
            assert spooled.content.read(n, 3) == data(n)[n : n + 3]
        assert await spool.sound(kept) == kept
    written = on_disk(tmp_path)
    assert sum(map(len, written.values())) > 19 * 19_000
    for path, found in written.items():
        for secret in (b"CANARY", b"TREMBLAY", STUDY.encode(), REGION.encode()):
            assert secret not in found, path.name


async def test_what_is_written_while_it_still_grows_is_read_back(tmp_path: Path) -> None:
    pieces = [data(n, 6_000) for n in range(1, 9)]
    async with Spool(tmp_path, memory_bytes=20_000, key=KEY) as spool:
        growing = spool.grow(facts(f"{STUDY}.1.1"))
        for piece in pieces:
            growing.content.put(piece, is_last=False)
            async with asyncio.timeout(30):
                while spool.memory.used > 20_000:  # noqa: ASYNC110 - the spool tells nobody
                    await asyncio.sleep(0.01)
        growing.content.put(b"", is_last=True)
        spool.keep(growing)
        await sealed([growing])
        assert await everything(growing.content) == b"".join(pieces)
        assert not any(b"CANARY" in found for found in on_disk(tmp_path).values())


async def test_with_its_key_it_survives_a_restart_and_with_another_or_none_it_says_so(tmp_path: Path) -> None:
    uid = f"{STUDY}.1.1"
    async with Spool(tmp_path, keep_on_restart=True, key=KEY) as spool:
        keep(spool, uid, data(1))
    for wrong, told in ((OTHER, "encrypted with another key"), (None, "name the key's file")):
        with pytest.raises(ConfigError, match=f"{told}.*spool.key_file"):
            await Spool(tmp_path, keep_on_restart=True, key=wrong).start()
    async with Spool(tmp_path, keep_on_restart=True, key=KEY) as spool:
        found = await spool.study(STUDY)
        assert await spool.sound(found.values()) == list(found.values())
        assert await everything(found[uid].content) == data(1)
        assert spool.note(facts(uid), "metadata") == CANARY * 3


async def test_what_was_kept_without_a_key_is_not_mixed_with_what_is_kept_with_one(tmp_path: Path) -> None:
    async with Spool(tmp_path, keep_on_restart=True) as spool:
        keep(spool, f"{STUDY}.1.1", data(1))
    with pytest.raises(ConfigError, match="holds what was not encrypted"):
        await Spool(tmp_path, keep_on_restart=True, key=KEY).start()
    async with Spool(tmp_path, key=KEY):  # it is to start clean
        assert not any(b"CANARY" in found for found in on_disk(tmp_path).values())


async def test_a_changed_byte_is_never_served_though_it_decrypts(tmp_path: Path) -> None:
    uids = [f"{STUDY}.1.{n}" for n in (1, 2)]
    async with Spool(tmp_path, keep_on_restart=True, key=KEY) as spool:
        for n, uid in enumerate(uids):
            keep(spool, uid, data(n))
    flip(next(path for path in on_disk(tmp_path) if path.suffix == ".pack"), 100)
    async with Spool(tmp_path, keep_on_restart=True, key=KEY) as spool:
        found = await spool.study(STUDY)
        assert [x.facts.uid for x in await spool.sound(found.values())] == uids[1:]


async def test_rows_and_notes_in_each_others_place_are_not_served(tmp_path: Path) -> None:
    one, two = f"{STUDY}.1.1", f"{STUDY}.1.2"
    async with Spool(tmp_path, keep_on_restart=True, key=KEY) as spool:
        await sealed([keep(spool, one, data(1)), keep(spool, two, data(2))])
        with spool._catalog._transaction() as database:
            (first, second) = database.execute("SELECT uid, facts FROM instance ORDER BY offset").fetchall()
            for (uid, _), (_, swapped) in ((first, second), (second, first)):
                database.execute("UPDATE instance SET facts = ? WHERE uid = ?", (swapped, uid))
                database.execute("UPDATE note SET value = ? WHERE uid = ?", (swapped, uid))
    async with Spool(tmp_path, keep_on_restart=True, key=KEY) as spool:
        assert await spool.study(STUDY) == {}
        assert spool.note(facts(one), "metadata") is None


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=8), st.data())
def test_any_range_of_any_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], draw: st.DataObject
) -> None:
    whole = b"".join(pieces)
    pack = Pack.new(tmp_path_factory.mktemp("pack"), 0.0, KEY)
    start, at = draw.draw(st.integers(0, 40)), 0
    for piece in pieces:
        pack.write(start + at, [memoryview(piece)])
        at += len(piece)
    offset = draw.draw(st.integers(0, len(whole) - 1))
    length = draw.draw(st.integers(0, len(whole) - offset))
    assert pack.read(start + offset, length) == whole[offset : offset + length]
    assert pack.read_cached(start + offset, length) in {whole[offset : offset + length], None}
    pack.close()


def test_two_files_of_the_same_bytes_have_nothing_in_common(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        pack = Pack.new(tmp_path, 0.0, KEY)
        pack.write(0, [memoryview(bytes(64))])
        pack.close()
        written.append((tmp_path / pack.name).read_bytes())
    blocks = {found[at : at + 16] for found in written for at in range(0, 64, 16)}
    assert len(blocks) == 8


# --- the store queue


async def arrive(queue: Queue, what: bytes) -> Kept:
    arrival = queue.arrive()
    for at in range(0, len(what), 300_000):
        await arrival.write(memoryview(what)[at : at + 300_000])
    digest = await arrival.finish()
    return Kept(
        arrival.file, digest, arrival.size, "1.2", f"{STUDY}.1.1", f"{STUDY}.1", STUDY, "1.2.840", "web 10.0.0.1"
    )


async def read(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("size", [26, 1 << 18, 3_000_000])
async def test_the_queue_gives_back_what_it_hides_on_the_disk(tmp_path: Path, size: int) -> None:
    queue = Queue(tmp_path, max_bytes=MOST, key=KEY)
    queue.open()
    kept = await arrive(queue, data(1, size))
    await queue.keep([(kept, [REGION])])
    [delivery] = await queue.due(REGION, longest=1.0, limit=1)
    await queue.postpone(delivery, 0.0, f"no such patient: {CANARY.decode()}")
    [delivery] = await queue.due(REGION, longest=1.0, limit=1)
    assert CANARY.decode() in delivery.reason
    assert await read(queue.read(kept.file, kept.digest)) == data(1, size)
    assert (tmp_path / INSTANCES / kept.file).stat().st_size == kept.size
    assert not [path for path, found in on_disk(tmp_path).items() if b"CANARY" in found]
    await queue.aclose()
    with Ledger(tmp_path) as ledger:  # as the command line sees it where it has no key
        assert [x.reason for x in ledger.deliveries()] == [SEALED]


async def test_an_instance_that_was_changed_in_the_queue_never_ends(tmp_path: Path) -> None:
    queue = Queue(tmp_path, max_bytes=MOST, key=KEY)
    queue.open()
    kept = await arrive(queue, data(1, 1_000_000))
    flip(tmp_path / INSTANCES / kept.file, 5)
    got = bytearray()

    async def take() -> None:
        async for piece in queue.read(kept.file, kept.digest):
            got.extend(piece)

    with pytest.raises(SpoolDamaged, match="send it again"):
        await take()
    assert 0 < len(got) < kept.size
    await queue.aclose()


async def test_a_queue_that_holds_something_opens_with_its_key_alone_and_an_empty_one_with_any(tmp_path: Path) -> None:
    first = Queue(tmp_path, max_bytes=MOST, key=KEY)
    first.open()
    kept = await arrive(first, data(1))
    await first.keep([(kept, [REGION])])
    await first.aclose()
    for wrong, told in ((OTHER, "another key"), (None, "name the key's file")):
        queue = Queue(tmp_path, max_bytes=MOST, key=wrong)
        with pytest.raises(ConfigError, match=f"{told}.*store.key_file"):
            queue.open()
        await queue.aclose()
    for key in (KEY, OTHER, None, KEY):
        queue = Queue(tmp_path, max_bytes=MOST, key=key)
        queue.open()
        for delivery in await queue.due(REGION, longest=1.0, limit=1):
            assert await read(queue.read(delivery.kept.file, delivery.kept.digest)) == data(1)
            await queue.delivered(delivery.kept, REGION)
        await queue.aclose()


async def test_the_same_instance_is_still_kept_once(tmp_path: Path) -> None:
    queue = Queue(tmp_path, max_bytes=MOST, key=KEY)
    queue.open()
    for _ in range(2):
        await queue.keep([(await arrive(queue, data(1)), [REGION])])
    assert await queue.counted() == {(REGION, "waiting"): 1}
    await queue.aclose()


# --- the key


@pytest.mark.parametrize("form", [bytes.hex, lambda x: base64.b64encode(x).decode(), lambda x: x.hex().upper() + "\n"])
def test_a_key_is_32_bytes_in_hexadecimal_or_base64(tmp_path: Path, form: object) -> None:
    assert callable(form)
    (tmp_path / "key").write_text(form(bytes(range(32))))
    key = key_of(str(tmp_path / "key"), "spool.key_file")
    assert key is not None
    assert key.proof == KEY.proof
    assert key_of("", "spool.key_file") is None


@pytest.mark.parametrize("text", ["", "secret-phrase", "00" * 31, "zz" * 32, base64.b64encode(bytes(31)).decode()])
def test_what_is_no_key_is_refused_and_never_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(ConfigError, match="openssl rand -hex 32") as refused:
        key_of(str(tmp_path / "key"), "store.key_file")
    assert not text or text not in str(refused.value)
    with pytest.raises(ConfigError, match=r"store\.key_file.*cannot be read"):
        key_of(str(tmp_path / "nothing"), "store.key_file")


def test_nothing_prints_the_key() -> None:
    secret = bytes(range(32))
    told = f"{KEY!r} {KEY} {KEY.cipher('x')!r} {KEY.proof}"
    assert secret.hex() not in told
    assert base64.b64encode(secret).decode() not in told


# --- for nobody else


@pytest.mark.parametrize("key", [None, KEY])
async def test_every_file_is_0600_in_folders_of_0700_whatever_the_umask_and_what_was_there(
    tmp_path: Path, key: Key | None
) -> None:
    before = os.umask(0)
    store = tmp_path / "store"
    store.mkdir(mode=0o755)
    (store / "queue.sqlite").touch(mode=0o644)
    try:
        queue, commitments = Queue(store, max_bytes=MOST, key=key), Commitments(store)
        queue.open()
        commitments.open()
        passing = Queue(None, max_bytes=MOST, key=key)
        passing.open()
        async with Spool(tmp_path / "spool", keep_on_restart=True, key=key) as spool, Spool(key=key) as private:
            await sealed([keep(x, f"{STUDY}.1.1", data(1)) for x in (spool, private)])
            kept = await arrive(queue, data(1))
            await queue.keep([(kept, [REGION])])
            await arrive(passing, data(1))
            folders = [tmp_path / "spool", private.path, store, store / INSTANCES, passing._instances]
            files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
            assert {path.name for path in files} >= {"index.sqlite-wal", "queue.sqlite-wal", "commitments.sqlite"}
            assert (PROOF in {path.name for path in files}) == (key is not None)
            assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {"0o600"}
            assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in folders} == {"0o700"}
        for x in (queue, commitments, passing):
            await x.aclose()
    finally:
        os.umask(before)
