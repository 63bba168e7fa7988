"""Which C-STORE belongs to which C-MOVE: what fits a lease is taken, all else refused and kept nowhere (R15, R18)."""

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.dataset.query import Selection
from gateway.dimse.incoming import IncomingStore
from gateway.errors import Aborted, GatewayError
from gateway.events import StoreRefused
from gateway.region.inbox import Inbox, Lease
from tests.kit import dicom
from tests.region.arriving import Arriving
from tests.region.virtual_time import settled
from tests.region.witness import Witness

REFUSED = 0x0124
TAKEN = 0x0000

STUDY = Selection(dicom.uid(1))
SERIES = Selection(dicom.uid(1), dicom.uid(1, 1))
LARGE = dicom.encode(dicom.instance(1, 1, 1, size=100_000))
INSTANCE = Selection(dicom.uid(1), dicom.uid(1, 1), (dicom.uid(1, 1, 1),))


class Watch:
    """An inbox, its events, and what its leases were handed."""

    def __init__(self) -> None:
        self.events = Witness()
        self.inbox = Inbox(self.events)
        self.taken: list[tuple[str, IncomingStore]] = []
        self._open = ExitStack()

    def lease(self, selection: Selection = STUDY, name: str = "first", **changes: Any) -> Lease:
        async def receive(store: IncomingStore, series: str | None) -> int:
            self.taken.append((name, store))
            await store.received()
            return TAKEN

        lease = Lease("GATEWAY", "NEODIN", ("GATEWAY", 7), selection, receive)
        for field, value in changes.items():
            setattr(lease, field, value)
        self._open.enter_context(self.inbox.open(lease))
        return lease

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.close()


def untouched(store: Arriving) -> bool:
    """Whether nothing of a refused instance is kept, neither of what came nor of what is still to come."""
    store.put(b"more", is_last=False)
    return store.buffered == 0


# --- what fits is taken


@pytest.mark.parametrize("selection", [STUDY, SERIES, INSTANCE], ids=lambda x: x.level.value)
async def test_what_was_asked_for_is_handed_on(watch: Watch, selection: Selection) -> None:
    lease = watch.lease(selection)
    store = Arriving().arrive()
    assert await watch.inbox.store(store) == TAKEN
    assert watch.taken == [("first", store)]
    assert lease.arrived == 1
    assert watch.events == []


async def test_nothing_of_it_is_read_before_its_receiver_does(watch: Watch) -> None:
    watch.lease()
    store = Arriving().arrive()
    await watch.inbox.store(store)
    assert b"".join([bytes(fragment) async for fragment in store]) == store.data


@pytest.mark.parametrize(
    "originator",
    [
        {"move_originator_ae_title": None, "move_originator_message_id": None},
        {"move_originator_ae_title": "", "move_originator_message_id": None},
        {"move_originator_ae_title": None},
        {"move_originator_message_id": None},
    ],
)
async def test_a_region_that_does_not_name_the_originator_is_understood(
    watch: Watch, originator: dict[str, Any]
) -> None:
    watch.lease()
    assert await watch.inbox.store(Arriving(**originator).arrive()) == TAKEN


@pytest.mark.parametrize("syntax", [dicom.ALL_TRANSFER_SYNTAXES[x] for x in (0, 1, 3)])
async def test_the_study_is_found_in_every_uncompressed_transfer_syntax(watch: Watch, syntax: str) -> None:
    watch.lease(SERIES)
    data = dicom.encode(dicom.instance(1, 1, 1), syntax)
    assert await watch.inbox.store(Arriving(data=data, transfer_syntax_uid=syntax).arrive()) == TAKEN


async def test_the_study_is_found_behind_a_long_head(watch: Watch) -> None:
    watch.lease(SERIES)
    data = dicom.encode(dicom.instance(1, 1, 1, PatientComments="x" * 9000, AdditionalPatientHistory="y" * 9000))
    assert await watch.inbox.store(Arriving(data=data).arrive()) == TAKEN


async def test_an_instance_is_bound_as_soon_as_its_head_is_here(watch: Watch) -> None:
    watch.lease()
    store = Arriving(data=LARGE).arrive(8000)
    answering = asyncio.ensure_future(watch.inbox.store(store))
    await settled()
    assert watch.taken == [("first", store)]
    assert not answering.done()
    store.arrive()
    assert await answering == TAKEN


async def test_two_moves_to_one_region_are_told_apart_by_message_id(watch: Watch) -> None:
    watch.lease(name="first")
    watch.lease(name="second", originator=("GATEWAY", 8))
    assert await watch.inbox.store(Arriving(move_originator_message_id=8).arrive()) == TAKEN
    assert [name for name, _ in watch.taken] == ["second"]


async def test_two_regions_that_name_no_originator_are_told_apart_by_their_ae_titles(watch: Watch) -> None:
    watch.lease(name="neodin")
    watch.lease(name="hdirs", region_ae_title="HDIRS")
    store = Arriving(calling_ae_title="HDIRS", move_originator_ae_title=None, move_originator_message_id=None)
    assert await watch.inbox.store(store.arrive()) == TAKEN
    assert [name for name, _ in watch.taken] == ["hdirs"]


async def test_two_parts_of_one_study_are_told_apart_by_series_where_the_originator_is_not_named(watch: Watch) -> None:
    watch.lease(SERIES, "one")
    watch.lease(Selection(dicom.uid(1), dicom.uid(1, 2)), "two", originator=("GATEWAY", 8))
    store = Arriving(1, 2, 1, move_originator_ae_title=None, move_originator_message_id=None)
    assert await watch.inbox.store(store.arrive()) == TAKEN
    assert [name for name, _ in watch.taken] == ["two"]


# --- what does not fit is refused (R18)


@pytest.mark.parametrize(
    ("selection", "store"),
    [
        (STUDY, Arriving(study=2)),
        (SERIES, Arriving(series=2)),
        (INSTANCE, Arriving(number=2)),
        (STUDY, Arriving(move_originator_ae_title="STRANGER")),
        (STUDY, Arriving(move_originator_message_id=8)),
        (STUDY, Arriving(move_originator_message_id=0)),
        (STUDY, Arriving(called_ae_title="GATEWAY2")),
        (STUDY, Arriving(calling_ae_title="HDIRS")),
        (STUDY, Arriving(calling_ae_title="neodin")),
        (STUDY, Arriving(data=b"")),
        (STUDY, Arriving(data=dicom.encode(dicom.instance(StudyInstanceUID="")))),
        (SERIES, Arriving(data=dicom.encode(dicom.instance(SeriesInstanceUID="")))),
        (STUDY, Arriving(data=b"\xff" * 5000)),
        (STUDY, Arriving(data=b"\x08\x00\x16\x00??" * 500)),
    ],
    ids=[
        "other study",
        "other series",
        "instance not asked for",
        "unknown originator",
        "other message id",
        "message id 0",
        "other called AE",
        "other calling AE",
        "AE title in another case",
        "no data set",
        "no study",
        "no series",
        "no data set but bytes",
        "malformed data set",
    ],
)
async def test_what_was_not_asked_for_is_refused_unread(watch: Watch, selection: Selection, store: Arriving) -> None:
    lease = watch.lease(selection)
    if store.data:
        store.arrive()
    else:
        store.put(b"", is_last=True)
    assert await watch.inbox.store(store) == REFUSED
    assert watch.taken == []
    assert lease.arrived == 0
    assert untouched(store)
    assert watch.events == [StoreRefused(store.calling_ae_title, store.called_ae_title, "127.0.0.1")]


async def test_without_any_retrieve_under_way_it_is_refused_unread(watch: Watch) -> None:
    store = Arriving()  # not one byte has arrived: nothing is waited for
    assert await watch.inbox.store(store) == REFUSED
    assert untouched(store)
    assert len(watch.events) == 1


async def test_after_the_retrieve_it_is_refused(watch: Watch) -> None:
    watch.lease()
    watch.close()
    assert await watch.inbox.store(Arriving().arrive()) == REFUSED


async def test_what_is_still_unknown_when_the_retrieve_ends_is_refused(watch: Watch) -> None:
    watch.lease()
    store = Arriving().arrive(100)  # its study is further on
    answering = asyncio.ensure_future(watch.inbox.store(store))
    await settled()
    watch.close()
    store.arrive()
    assert await answering == REFUSED
    assert watch.taken == []


async def test_an_event_of_a_refusal_holds_nothing_of_a_patient(watch: Watch) -> None:
    await watch.inbox.store(Arriving().arrive())
    [event] = watch.events
    assert set(dataclasses.asdict(event)) == {"calling_ae_title", "called_ae_title", "address"}


async def test_an_association_that_ends_before_the_study_is_known_is_no_refusal(watch: Watch) -> None:
    watch.lease()
    store = Arriving().arrive(100)
    store.break_off(Aborted("gone"))
    with pytest.raises(Aborted):
        await watch.inbox.store(store)
    assert watch.events == []


async def test_a_million_bytes_without_a_series_are_not_read_for_ever(watch: Watch) -> None:
    watch.lease(SERIES)
    endless = dicom.instance(SeriesInstanceUID="")
    endless.PixelData = bytes(2 << 20)
    store = Arriving(data=dicom.encode(endless)).arrive(1 << 20)
    assert await watch.inbox.store(store) == REFUSED


# --- the end of a C-MOVE that its C-STOREs lag behind (R15)


def never() -> bool:
    return False


async def test_a_move_whose_instances_are_all_here_ends_at_once(watch: Watch) -> None:
    lease = watch.lease()
    await watch.inbox.store(Arriving().arrive())
    began = asyncio.get_running_loop().time()
    await lease.settle(1, 5.0, never)
    assert asyncio.get_running_loop().time() == began


async def test_a_success_that_runs_ahead_of_its_instances_waits_for_them(watch: Watch) -> None:
    lease = watch.lease()
    settling = asyncio.ensure_future(lease.settle(3, 5.0, never))
    for number in (1, 2, 3):
        await asyncio.sleep(4.0)
        assert not settling.done()
        await watch.inbox.store(Arriving(number=number).arrive())
    await settling
    assert lease.arrived == 3


async def test_a_region_that_claims_more_than_it_sends_is_waited_for_until_it_is_quiet(
    watch: Watch,
) -> None:
    lease = watch.lease()
    await watch.inbox.store(Arriving().arrive())
    began = asyncio.get_running_loop().time()
    await lease.settle(2, 5.0, never)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)


async def test_an_instance_on_its_way_is_waited_for_as_long_as_its_association_lives(watch: Watch) -> None:
    lease = watch.lease()
    store = Arriving(data=LARGE).arrive(8000)
    taking = asyncio.ensure_future(watch.inbox.store(store))
    settling = asyncio.ensure_future(lease.settle(1, 5.0, never))
    await asyncio.sleep(60)
    assert not settling.done()
    store.arrive()
    await asyncio.gather(taking, settling)


async def test_an_instance_whose_study_is_not_known_yet_is_waited_for_too(watch: Watch) -> None:
    lease = watch.lease()
    store = Arriving().arrive(100)
    taking = asyncio.ensure_future(watch.inbox.store(store))
    settling = asyncio.ensure_future(lease.settle(1, 5.0, never))
    await asyncio.sleep(60)
    assert not settling.done()
    store.arrive()
    await asyncio.gather(taking, settling)


async def test_a_slow_reader_is_no_reason_to_give_a_region_up(watch: Watch) -> None:
    lease = watch.lease()
    waiting = [True]
    settling = asyncio.ensure_future(lease.settle(1, 5.0, lambda: waiting[0]))
    await asyncio.sleep(60)
    assert not settling.done()
    waiting[0] = False
    await settling


async def test_an_instance_that_breaks_off_is_not_counted_and_ends_the_wait(watch: Watch) -> None:
    lease = watch.lease()
    store = Arriving(data=LARGE).arrive(8000)
    taking = asyncio.ensure_future(watch.inbox.store(store))
    settling = asyncio.ensure_future(lease.settle(1, 5.0, never))
    await settled()
    store.break_off(Aborted("gone"))
    with pytest.raises(GatewayError):
        await taking
    await settling
    assert lease.arrived == 0
