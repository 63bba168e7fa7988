"""A region without relational queries is walked, level by level, under a cap (traps 18, 20, 21; PS3.18 10.6.3.3)."""

from typing import Any

import pytest

from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import REQUIRED
from gateway.errors import DimseFailure, TooBroad
from tests.dimse.scripts import until
from tests.kit import dicom, pdus
from tests.region.picky_archive import A700, PickyArchive, values
from tests.region.watched import fields, left_at, watched

REAL_TIME = True

MODALITY, PATIENT, DESCRIPTION = ("00080060",), ("00100020",), ("00081030",)
CT_AND_MR = [
    *dicom.study(1, instances=2, size=0),
    *dicom.study(2, instances=1, size=0),
    *(dicom.instance(2, 2, number, size=0, Modality="MR") for number in (1, 2)),
    *dicom.study(3, instances=1, size=0, Modality="MR"),
]


def uids(rows: list[Row], tag: str) -> set[str]:
    return {found[tag]["Value"][0] for found in rows}


def has(found: Row, level: Level) -> bool:
    return all(path[0] in found for path in REQUIRED[level] if path[0] != "00400275")


async def walked(archive: PickyArchive, query: Query, **settings: Any) -> list[Row]:
    async with watched(archive.script, search=settings) as (watching, _):
        return await watching.search(query)


# --- what is found


async def test_trap_18_series_without_a_study_are_found_through_their_studies() -> None:
    archive = PickyArchive(CT_AND_MR)
    rows = await walked(archive, Query(Level.SERIES))
    assert uids(rows, "0020000E") == {str(each.SeriesInstanceUID) for each in CT_AND_MR}
    assert archive.levels == ["STUDY", "SERIES", "SERIES", "SERIES"]
    assert all(has(found, Level.STUDY) and has(found, Level.SERIES) for found in rows)


async def test_trap_18_instances_without_a_parent_are_found_through_studies_and_series() -> None:
    archive = PickyArchive(CT_AND_MR)
    rows = await walked(archive, Query(Level.IMAGE))
    assert uids(rows, "00080018") == {str(each.SOPInstanceUID) for each in CT_AND_MR}
    assert all(has(found, level) for found in rows for level in Level)


async def test_trap_18_instances_of_a_study_carry_their_series_and_need_no_study_query() -> None:
    archive = PickyArchive(CT_AND_MR)
    rows = await walked(archive, Query(Level.IMAGE, study=dicom.uid(2)))
    assert uids(rows, "00080018") == {str(x.SOPInstanceUID) for x in CT_AND_MR if x.StudyInstanceUID == dicom.uid(2)}
    assert archive.levels == ["SERIES", "IMAGE", "IMAGE"]
    assert all(has(found, Level.SERIES) and "00100010" not in found for found in rows)


async def test_every_row_carries_the_attributes_of_its_own_parents() -> None:
    for found in await walked(PickyArchive(CT_AND_MR), Query(Level.IMAGE)):
        study, series = found["0020000D"]["Value"][0], found["0020000E"]["Value"][0]
        assert series.startswith(study + ".")
        assert found["00080018"]["Value"][0].startswith(series + ".")
        assert found["00100020"]["Value"] == [f"MRN{int(study.rsplit('.')[-1]):05}"]


async def test_what_every_archive_can_answer_is_asked_in_one_query() -> None:
    archive = PickyArchive(CT_AND_MR)
    await walked(archive, Query(Level.SERIES, study=dicom.uid(1), keys={MODALITY: "CT"}))
    await walked(archive, Query(Level.IMAGE, study=dicom.uid(1), series=dicom.uid(1, 1)))
    assert archive.levels == ["SERIES", "IMAGE"]


# --- keys and includes of upper levels


async def test_key_of_the_study_is_honoured_below_a_study_and_returned() -> None:
    keys: dict[TagPath, str] = {PATIENT: "MRN00002"}
    archive = PickyArchive(CT_AND_MR)
    assert await walked(archive, Query(Level.SERIES, study=dicom.uid(1), keys=keys)) == []
    rows = await walked(archive, Query(Level.SERIES, study=dicom.uid(2), keys=keys))
    assert uids(rows, "0020000E") == {dicom.uid(2, 1), dicom.uid(2, 2)}
    assert uids(rows, "00100020") == {"MRN00002"}
    assert all(values(x, "PatientID") == "" for x in archive.asked if x.QueryRetrieveLevel == "SERIES")


async def test_include_of_the_study_is_returned_below_it() -> None:
    query = Query(Level.SERIES, study=dicom.uid(2), include=frozenset({DESCRIPTION}))
    rows = await walked(PickyArchive(CT_AND_MR), query)
    assert [found["00081030"]["Value"] for found in rows] == [["Study 2"], ["Study 2"]]


async def test_keys_of_each_level_go_to_their_level() -> None:
    keys: dict[TagPath, str] = {PATIENT: "MRN00002", MODALITY: "MR", ("00200013",): "2"}
    archive = PickyArchive(CT_AND_MR)
    rows = await walked(archive, Query(Level.IMAGE, keys=keys))
    assert uids(rows, "00080018") == {dicom.uid(2, 2, 2)}
    assert archive.levels == ["STUDY", "SERIES", "IMAGE"]


async def test_trap_20_key_that_the_region_ignores_neither_widens_the_walk_nor_its_rows() -> None:
    archive = PickyArchive(CT_AND_MR, ignores=["PatientID", "Modality"])
    keys: dict[TagPath, str] = {PATIENT: "MRN00002", MODALITY: "MR"}
    rows = await walked(archive, Query(Level.IMAGE, keys=keys), walk_studies=1, walk_series=1)
    assert uids(rows, "00080018") == {dicom.uid(2, 2, 1), dicom.uid(2, 2, 2)}
    assert archive.levels == ["STUDY", "SERIES", "IMAGE"]


async def test_trap_20_series_of_another_study_are_not_taken_for_the_one_asked_for() -> None:
    archive = PickyArchive(CT_AND_MR, ignores=["StudyInstanceUID"])
    rows = await walked(archive, Query(Level.SERIES, keys={PATIENT: "MRN00001"}))
    assert uids(rows, "0020000E") == {dicom.uid(1, 1)}


# --- Modality and ModalitiesInStudy (trap 21)


async def test_trap_21_study_that_tells_of_other_modalities_is_not_walked() -> None:
    archive = PickyArchive(CT_AND_MR)
    rows = await walked(archive, Query(Level.SERIES, keys={MODALITY: "MR"}), walk_studies=2)
    assert uids(rows, "0020000E") == {dicom.uid(2, 2), dicom.uid(3, 1)}
    assert archive.levels == ["STUDY", "SERIES", "SERIES"]


@pytest.mark.parametrize("fault", [{"blank": ["ModalitiesInStudy"]}, {"omits": ["ModalitiesInStudy"]}])
async def test_trap_21_study_that_tells_of_no_modality_is_walked(fault: dict[str, Any]) -> None:
    archive = PickyArchive(CT_AND_MR, **fault)
    rows = await walked(archive, Query(Level.SERIES, keys={MODALITY: "MR"}))
    assert uids(rows, "0020000E") == {dicom.uid(2, 2), dicom.uid(3, 1)}
    assert all(values(identifier, "ModalitiesInStudy") == "" for identifier in archive.asked)


async def test_trap_21_several_modalities_are_any_of_them() -> None:
    rows = await walked(PickyArchive(CT_AND_MR), Query(Level.SERIES, keys={MODALITY: "MR\\CT"}))
    assert len(rows) == 4


# --- caps


async def test_trap_18_more_studies_than_are_walked_is_the_callers_to_narrow() -> None:
    archive = PickyArchive(CT_AND_MR)
    assert len(await walked(archive, Query(Level.SERIES), walk_studies=3)) == 4
    async with watched(archive.script, search={"walk_studies": 2}) as (watching, _):
        found, error = await watching.gathered(Query(Level.SERIES))
    assert isinstance(error, TooBroad)
    assert error.http_status == 400
    assert "more than 2 studies" in str(error)
    assert "add StudyInstanceUID, PatientID" in str(error)
    assert found == []


async def test_trap_18_more_series_than_are_walked_is_told_before_any_row() -> None:
    archive = PickyArchive(CT_AND_MR)
    async with watched(archive.script, search={"walk_series": 3}) as (watching, _):
        found, error = await watching.gathered(Query(Level.IMAGE))
    assert isinstance(error, TooBroad)
    assert found == []
    assert "IMAGE" not in archive.levels


async def test_a_search_that_is_too_broad_says_nothing_against_the_region() -> None:
    archive = PickyArchive(CT_AND_MR)
    async with watched(archive.script, search={"walk_studies": 1}) as (watching, node):
        await watching.fails(TooBroad, 6, query=Query(Level.SERIES))
        assert watching.circuit == []
        assert pdus.C_CANCEL_RQ in fields(node)


# --- relational queries


async def test_relational_queries_are_used_where_they_are_granted() -> None:
    archive = PickyArchive(CT_AND_MR, grants=b"\1\0\0\0", is_relational=True)
    rows = await walked(archive, Query(Level.IMAGE, keys={PATIENT: "MRN00002"}))
    assert uids(rows, "00080018") == {str(x.SOPInstanceUID) for x in CT_AND_MR if x.PatientID == "MRN00002"}
    assert archive.levels == ["IMAGE"]
    assert all(has(found, Level.SERIES) for found in rows)


@pytest.mark.parametrize("grants", [b"", b"\0\1\0\0"])
async def test_relational_queries_are_not_used_where_they_are_not_granted(grants: bytes) -> None:
    archive = PickyArchive(CT_AND_MR, grants=grants, is_relational=True)
    await walked(archive, Query(Level.SERIES))
    assert archive.levels[0] == "STUDY"


async def test_profile_that_says_never_is_not_overruled_by_what_the_region_grants() -> None:
    archive = PickyArchive(CT_AND_MR, grants=b"\1\1\1\1", is_relational=True)
    async with watched(archive.script, relational_queries="never") as (watching, _):
        await watching.search(Query(Level.SERIES))
    assert archive.levels[0] == "STUDY"


async def test_region_that_grants_relational_queries_and_fails_at_them_is_walked_from_then_on() -> None:
    archive = PickyArchive(CT_AND_MR, grants=b"\1\1\1\1")
    async with watched(archive.script) as (watching, _):
        for _ in range(2):
            assert len(await watching.search(Query(Level.SERIES))) == 4
    assert archive.levels == ["SERIES", *["STUDY", "SERIES", "SERIES", "SERIES"] * 2]


async def test_region_that_is_out_of_resources_is_not_taken_for_one_without_relational_queries() -> None:
    archive = PickyArchive(CT_AND_MR, grants=b"\1\0\0\0", is_relational=True)
    async with watched(archive.script) as (watching, _):
        archive.refuses = A700
        await watching.fails(DimseFailure, query=Query(Level.SERIES))
        archive.refuses = 0
        assert len(await watching.search(Query(Level.SERIES))) == 4
    assert archive.levels == ["SERIES", "SERIES"]


async def test_combined_ranges_are_sent_only_where_they_are_granted() -> None:
    keys: dict[TagPath, str] = {("00080020",): "20240101-20241231", ("00080030",): "1000-1100"}
    for grants, sent in ((b"", ""), (b"\0\1\0\0", "1000-1100")):
        archive = PickyArchive(CT_AND_MR, grants=grants)
        await walked(archive, Query(Level.STUDY, keys=keys))
        assert values(archive.asked[0], "StudyTime") == sent


# --- leaving early


@pytest.mark.parametrize("stops_at", [1, 2, 3])
async def test_leaving_in_the_middle_of_a_walk_cancels_and_frees_the_association(stops_at: int) -> None:
    archive = PickyArchive(CT_AND_MR, stops_at=stops_at)
    async with watched(archive.script, max_associations=1) as (watching, node):
        await left_at(watching, Query(Level.SERIES), lambda: len(archive.asked) == stops_at)
        await until(lambda: pdus.C_CANCEL_RQ in fields(node))
        archive.stops_at = 0
        assert len(await watching.search(Query(Level.STUDY))) == 3
        assert len(node.peers) == 1


async def test_failure_in_the_middle_of_a_walk_keeps_the_rows_before_it() -> None:
    broken = PickyArchive(CT_AND_MR, cap=1, cap_status=0xC001)
    async with watched(broken.script) as (watching, _):
        found, error = await watching.gathered(Query(Level.IMAGE, study=dicom.uid(1)))
    assert isinstance(error, DimseFailure)
    assert len(found) == 1


async def test_trap_11_walk_says_nothing_about_how_long_a_search_takes() -> None:
    archive = PickyArchive(CT_AND_MR)
    async with watched(archive.script) as (watching, _):
        assert watching.region.walks(Query(Level.SERIES))
        assert not watching.region.walks(Query(Level.SERIES, study=dicom.uid(1)))
        most = watching.region.patience
        await watching.search(Query(Level.SERIES))
        assert watching.region.patience == most
        await watching.search(Query(Level.STUDY))
        assert watching.region.patience < most


async def test_region_that_grants_relational_queries_does_not_walk() -> None:
    archive = PickyArchive(CT_AND_MR, grants=b"\1\0\0\0", is_relational=True)
    async with watched(archive.script) as (watching, _):
        await watching.search(Query(Level.SERIES))
        assert not watching.region.walks(Query(Level.SERIES))
