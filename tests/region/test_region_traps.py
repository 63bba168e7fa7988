"""What a region's search promises whatever the archive does (traps 7, 12, 13, 17, 19, 20, 25)."""

import asyncio

import pytest

from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dimse.pool import AssociationPool
from gateway.errors import Busy, DatasetError, DimseFailure, LimitExceeded, Saturated, Stalled
from tests.dimse.scripts import identifier, matches, row, serve, until
from tests.kit import dicom, pdus
from tests.kit.scripted import Message, ScriptedPeer
from tests.region.picky_archive import PATIENT_FIND, PickyArchive, values
from tests.region.watched import STUDIES, fields, left_at, watched

REAL_TIME = True

PATIENT = ("00100020",)


def uids(rows: list[Row]) -> list[str]:
    return [found["0020000D"]["Value"][0] for found in rows]


def people(rows: list[Row]) -> list[str]:
    return [found["00100010"]["Value"][0]["Alphabetic"] for found in rows]


# --- character sets (trap 7)


async def test_trap_7_row_that_does_not_say_its_character_set_is_read_in_that_of_the_region() -> None:
    told = identifier(StudyInstanceUID=dicom.uid(1)) + b"\x10\x00\x10\x00PN\x08\x00H\xfcfte^A "
    async with watched(serve(matches([told])), character_set="ISO_IR 100") as (watching, _):
        assert people(await watching.search()) == ["Hüfte^A"]


# --- time zones (trap 8)


def of_day(date: str, time: str = "233000", **attributes: str) -> bytes:
    return identifier(StudyInstanceUID=dicom.uid(1), StudyDate=date, StudyTime=time, **attributes)


@pytest.mark.parametrize(
    ("told", "offset"),
    [
        (of_day("20240115"), "-0600"),
        (of_day("20240715"), "-0500"),
        (of_day("20240715", TimezoneOffsetFromUTC="+0100"), "+0100"),
    ],
)
async def test_trap_8_row_says_its_time_zone_and_keeps_its_dates(told: bytes, offset: str) -> None:
    async with watched(serve(matches([told])), time_zone="America/Winnipeg") as (watching, _):
        (found,) = await watching.search()
    assert found["00080201"] == {"vr": "SH", "Value": [offset]}
    assert found["00080030"]["Value"] == ["233000"]
    assert found["00080020"]["Value"][0].endswith("15")


async def test_trap_8_row_without_a_date_says_no_time_zone() -> None:
    async with watched(serve(matches([row(1)]))) as (watching, _):
        (found,) = await watching.search()
    assert "00080201" not in found


@pytest.mark.parametrize(
    ("offset", "asked"), [(None, "20240115"), (-300, "20240115"), (0, "20240114-20240115"), (540, "20240114-20240115")]
)
async def test_trap_8_region_is_asked_for_the_days_that_may_be_the_callers(offset: int | None, asked: str) -> None:
    archive = PickyArchive([])
    keys: dict[TagPath, str] = {("00080020",): "20240115"}
    async with watched(archive.script, time_zone="America/Toronto") as (watching, _):
        await watching.search(Query(Level.STUDY, keys=keys, utc_offset=offset))
        await watching.search(Query(Level.SERIES, keys=keys, utc_offset=offset))
    assert [values(each, "StudyDate") for each in archive.asked] == [asked, asked]


async def test_trap_8_walk_matches_in_the_callers_zone() -> None:
    late = dicom.instance(1, 1, 1, size=0, StudyDate="20240114", StudyTime="200000")
    early = dicom.instance(2, 1, 1, size=0, StudyDate="20240114", StudyTime="100000")
    archive = PickyArchive([late, early])
    async with watched(archive.script, time_zone="America/Toronto") as (watching, _):
        found = await watching.search(Query(Level.SERIES, keys={("00080020",): "20240115"}, utc_offset=0))
    assert uids(found) == [dicom.uid(1)]
    assert archive.levels == ["STUDY", "SERIES"]


# --- Patient Root (trap 19)

PATIENT_ROOT_ONLY = (pdus.VERIFICATION, PATIENT_FIND)
HELD = [*dicom.study(1, size=0), *dicom.study(2, series=2, size=0), *dicom.study(3, size=0)]


async def test_trap_19_region_with_patient_root_only_is_searched_patient_by_patient() -> None:
    archive = PickyArchive(HELD, serves=PATIENT_ROOT_ONLY)
    async with watched(archive.script) as (watching, _):
        rows = await watching.search()
        assert uids(rows) == [dicom.uid(1), dicom.uid(2), dicom.uid(3)]
        assert people(rows) == ["Tremblay^Zoé1", "Tremblay^Zoé2", "Tremblay^Zoé3"]
        assert archive.levels == ["STUDY", "PATIENT", "STUDY", "STUDY", "STUDY"]
        assert uids(await watching.search(Query(Level.STUDY, keys={PATIENT: "MRN00002"}))) == [dicom.uid(2)]
        assert archive.levels[5:] == ["PATIENT", "STUDY"]


async def test_trap_19_patient_of_a_study_is_remembered_for_what_is_below_it() -> None:
    archive = PickyArchive(HELD, serves=PATIENT_ROOT_ONLY)
    async with watched(archive.script) as (watching, _):
        await watching.search()
        archive.asked.clear()
        assert len(await watching.search(Query(Level.SERIES, study=dicom.uid(2)))) == 2
        assert len(await watching.search(Query(Level.IMAGE, study=dicom.uid(2), series=dicom.uid(2, 1)))) == 3
    assert archive.levels == ["SERIES", "IMAGE"]
    assert {values(asked, "PatientID") for asked in archive.asked} == {"MRN00002"}


async def test_trap_19_series_of_a_study_nobody_knows_the_patient_of_are_found() -> None:
    archive = PickyArchive(HELD, serves=PATIENT_ROOT_ONLY)
    async with watched(archive.script) as (watching, _):
        assert len(await watching.search(Query(Level.SERIES, study=dicom.uid(2)))) == 2


async def test_trap_19_patient_root_with_relational_queries_needs_no_patient() -> None:
    archive = PickyArchive(HELD, serves=PATIENT_ROOT_ONLY, grants=b"\1\0\0\0", is_relational=True)
    async with watched(archive.script) as (watching, _):
        assert len(await watching.search()) == 3
        assert len(await watching.search(Query(Level.SERIES))) == 4
    assert archive.levels == ["STUDY", "SERIES"]


async def test_trap_19_more_patients_than_are_asked_one_by_one_is_a_limit_of_that_region_alone() -> None:
    archive = PickyArchive(HELD, serves=PATIENT_ROOT_ONLY)
    async with watched(archive.script, search={"walk_studies": 2}) as (watching, _):
        await watching.fails(LimitExceeded)


async def test_trap_19_region_with_both_models_is_asked_in_study_root() -> None:
    archive = PickyArchive(HELD, serves=(*PATIENT_ROOT_ONLY, pdus.STUDY_FIND))
    async with watched(archive.script) as (watching, _):
        assert len(await watching.search()) == 3
    assert archive.levels == ["STUDY"]


# --- endless, broken and malformed answers (traps 13, 20, 25)


async def test_trap_13_answer_without_end_is_cut_and_cancelled() -> None:
    async def endless(peer: ScriptedPeer, request: Message) -> None:
        number = 0
        while not peer.saw(pdus.C_CANCEL_RQ):
            number += 1
            await peer.send(pdus.find_response(request.context_id, request.command, row(number)))
            if number == 150:
                await peer.recv_message()
        await peer.send(pdus.find_response(request.context_id, request.command, status=0xFE00))

    async with watched(serve(endless)) as (watching, node):
        found, error = await watching.gathered()
        assert isinstance(error, LimitExceeded)
        assert len(found) == 100
        await until(lambda: pdus.C_CANCEL_RQ in fields(node))


async def test_trap_20_rows_behind_status_ff01_are_rows() -> None:
    async def warning(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.find_response(request.context_id, request.command, row(1), status=0xFF01))
        await peer.send(pdus.find_response(request.context_id, request.command))

    async with watched(serve(warning)) as (watching, _):
        assert uids(await watching.search()) == [dicom.uid(1)]


@pytest.mark.parametrize("uid", ["", "1.2.abc", "1.2 3", "../1", ".1", "1." + "2" * 63])
async def test_trap_25_row_without_a_valid_study_uid_is_refused_and_told(uid: str) -> None:
    broken = b"\x20\x00\x0d\x00UI" + bytes([len(uid) + len(uid) % 2, 0]) + uid.encode() + b"\0" * (len(uid) % 2)
    async with watched(serve(matches([broken, row(1)]))) as (watching, _):
        found, error = await watching.gathered()
        assert uids(found) == [dicom.uid(1)]
        assert isinstance(error, DatasetError)


async def test_trap_25_malformed_element_costs_no_row() -> None:
    told = (
        identifier(SpecificCharacterSet="").replace(b"\x20\x00\x0d\x00UI\0\0", b"\x20\x00\x0d\x00UI\x06\x001.2.3\0")
        + b"\x20\x00\x06\x12IS\x04\x001.0 "
        + b"\x20\x00\x08\x12IS\x04\x00many"
    )
    async with watched(serve(matches([told]))) as (watching, _):
        (found,) = await watching.search()
    assert found["00201206"]["Value"] == [1]
    assert uids([found]) == ["1.2.3"]


# --- associations (trap 17)


async def test_trap_17_no_more_associations_than_the_profile_allows() -> None:
    archive = PickyArchive(HELD)
    async with watched(archive.script, max_associations=2) as (watching, node):
        found = await asyncio.gather(*(watching.search(Query(Level.SERIES)) for _ in range(8)))
        assert [len(rows) for rows in found] == [4] * 8
        assert len(node.peers) <= 2


async def test_trap_17_search_that_gets_no_association_in_time_says_so() -> None:
    async def silent(peer: ScriptedPeer, request: Message) -> None:
        await peer.hold()

    async with watched(serve(silent), max_associations=1) as (watching, _):
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(watching.fails(Stalled, seconds=1.0))
            await asyncio.sleep(0)
            await watching.fails(Saturated, seconds=0.3)
        assert slow.done()


class Crowded:
    """An archive that has a few associations only and rejects the others for a while, as PS3.8 9.3.4 has it."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.open = self.most = self.rejected = 0

    async def script(self, peer: ScriptedPeer) -> None:
        if self.open >= self.room:
            await peer.recv(pdus.A_ASSOCIATE_RQ)
            self.rejected += 1
            await peer.send(pdus.associate_rj(result=2, source=3, reason=2))
            await peer.hold()
            return
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await serve(matches([row(1)]))(peer)
        finally:
            self.open -= 1


async def test_trap_17_region_with_fewer_associations_than_the_profile_says_serves_every_search() -> None:
    crowd = Crowded(room=2)
    async with watched(crowd.script, max_associations=4) as (watching, _):
        for _ in range(3):
            found = await asyncio.gather(*(watching.search() for _ in range(4)))
            assert [len(rows) for rows in found] == [1] * 4
        assert watching.circuit == []
        assert crowd.rejected <= 2  # both of the first round; from then on no more are opened than it has


async def test_trap_17_region_is_tried_with_one_more_association_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AssociationPool, "GROWS_AFTER", 0.05)
    crowd = Crowded(room=2)
    async with watched(crowd.script, max_associations=4) as (watching, _):
        await asyncio.gather(*(watching.search() for _ in range(4)))
        crowd.room = 4
        await until(lambda: watching.region._pool._room == 4)
        await asyncio.gather(*(watching.search() for _ in range(4)))
        assert crowd.most == 4


async def test_trap_17_region_that_has_no_association_at_all_is_busy() -> None:
    crowd = Crowded(room=0)
    async with watched(crowd.script) as (watching, _):
        await watching.fails(Busy)
    assert crowd.rejected == 1


# --- what is missing (trap 9)


@pytest.mark.parametrize("fault", ["omits", "blank"])
async def test_trap_9_count_that_the_region_does_not_tell_is_empty_and_never_nought(fault: str) -> None:
    archive = PickyArchive(HELD)
    setattr(archive, fault, ["NumberOfStudyRelatedInstances", "ModalitiesInStudy"])
    async with watched(archive.script) as (watching, _):
        rows = await watching.search()
    assert len(rows) == 3
    assert not any(found.get(tag, {}).get("Value") for found in rows for tag in ("00201208", "00080061"))


# --- time (trap 11) and leaving (promise H06)


async def test_trap_11_region_is_given_the_time_that_it_lately_took() -> None:
    async with watched(serve(matches([row(1)]))) as (watching, _):
        assert watching.region.patience == 8.0
        for _ in range(12):
            await watching.search()
        assert watching.region.patience == 2.0


async def test_trap_11_region_that_was_given_up_is_given_more_time() -> None:
    async def silent(peer: ScriptedPeer, request: Message) -> None:
        await peer.hold()

    async with watched(serve(matches([row(1)])), serve(silent)) as (watching, _):
        for _ in range(12):
            await watching.search()
        watching.region._searching.latency.given_up(watching.region.patience)
        assert watching.region.patience == 4.0


async def test_failure_says_nothing_about_time() -> None:
    async def failing(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.find_response(request.context_id, request.command, status=0xC000))

    async with watched(serve(failing)) as (watching, _):
        await watching.fails(DimseFailure, 3)
        assert watching.region.patience == 8.0


async def test_leaving_before_the_first_row_reaches_the_region_as_c_cancel() -> None:
    heard = asyncio.Event()

    async def slow(peer: ScriptedPeer, request: Message) -> None:
        heard.set()
        await peer.recv_message()
        await peer.send(pdus.find_response(request.context_id, request.command, status=0xFE00))

    async with watched(serve(slow), max_associations=1) as (watching, node):
        await left_at(watching, STUDIES, heard.is_set)
        await until(lambda: pdus.C_CANCEL_RQ in fields(node))
        await until(lambda: "idle=1" in repr(watching.region._pool))
