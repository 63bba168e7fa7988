"""What a patient has, counted for a C-FIND at PATIENT level: the union over the regions, or nothing."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from pydicom import Dataset

from gateway.access.permit import UNRESTRICTED
from gateway.dataset.query import Query, Row
from gateway.deadline import Deadline
from gateway.errors import NoRegionAnswered
from gateway.federation.completeness import Completeness
from gateway.federation.findings import SearchResult
from gateway.scp.patient_counts import INSTANCES, SERIES, STUDIES, PatientCounts
from gateway.wire.negotiation import ProposedContext
from tests.dimse.scripts import BOTH
from tests.kit import dicom, pdus
from tests.kit.region import Answer, ScriptedRegion, answer_find
from tests.kit.scripted import Message, ScriptedPeer
from tests.scp.pacs import face, rows

PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
BY_PATIENT = ProposedContext(PATIENT_FIND, BOTH)
COUNTS = ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")
ZOE: dict[str, Any] = {"PatientID": "MRN1", "PatientName": "Tremblay^Zoé"}
LEO: dict[str, Any] = {"PatientID": "MRN2", "PatientName": "Roy^Léo"}


def counts(row: Dataset) -> tuple[int | None, ...]:
    return tuple(None if row[name].value in {None, ""} else int(row[name].value) for name in COUNTS)


async def found(*regions: ScriptedRegion, asked: Sequence[str] = COUNTS, **keys: Any) -> list[Dataset]:
    async with face(*regions) as here, here.associated(BY_PATIENT) as association:
        wanted = {"PatientID": "", "PatientName": "", **dict.fromkeys(asked, ""), **keys}
        answers = await rows(association, "PATIENT", PATIENT_FIND, **wanted)
    return sorted(answers, key=lambda row: (str(row.PatientID), str(row.PatientName)))


async def fails(region: ScriptedRegion, asking: ScriptedPeer, request: Message) -> None:
    await asking.send(pdus.find_response(request.context_id, request.command, status=0xC123))


# Study 1 is split over both, and some of its instances are in both.
ONE = [*dicom.study(1, series=2, instances=2, **ZOE), *dicom.study(2, instances=1, **ZOE), *dicom.study(5, **LEO)]
TWO = [
    *(dicom.instance(1, 2, number, **ZOE) for number in (2, 3)),
    dicom.instance(1, 3, 1, **ZOE),
    *dicom.study(3, instances=4, **ZOE),
]


async def test_counts_are_of_the_union_of_all_regions() -> None:
    zoe, leo = await found(ScriptedRegion("ONE", ONE), ScriptedRegion("TWO", TWO))
    assert counts(zoe) == (3, 5, 6 + 1 + 4)
    assert counts(leo) == (1, 1, 3)


async def test_what_a_region_counts_of_its_own_is_not_passed_on() -> None:
    own = dict.fromkeys(COUNTS, 77)
    [zoe] = await found(ScriptedRegion("ONE", dicom.study(1, **ZOE, **own)))
    assert counts(zoe) == (1, 1, 3)
    async with face(ScriptedRegion("ONE", dicom.study(1, **ZOE, **own))) as here, here.associated() as association:
        [row] = await rows(association, "STUDY", StudyInstanceUID="", **dict.fromkeys(COUNTS, ""))
    assert counts(row) == (None, None, None)


@pytest.mark.parametrize(("issuer", "expected"), [("NORTH", (2, 2, 6)), ("", (1, 1, 3))])
async def test_name_that_differs_elsewhere_is_the_patients_where_the_number_is(
    issuer: str, expected: tuple[int, ...]
) -> None:
    here = dicom.study(1, **ZOE, IssuerOfPatientID=issuer)
    elsewhere = dicom.study(4, **{**ZOE, "PatientName": "Gagnon^Zoé"}, IssuerOfPatientID=issuer)
    [zoe] = await found(ScriptedRegion("ONE", here), ScriptedRegion("TWO", elsewhere), PatientName="TREMBLAY^Z*")
    assert counts(zoe) == expected


async def test_with_a_region_missing_they_are_not_known_and_never_zero() -> None:
    down = ScriptedRegion("DOWN", TWO)
    down.answers[pdus.C_FIND_RQ] = fails
    zoe, leo = await found(ScriptedRegion("ONE", ONE), down)
    assert counts(zoe) == counts(leo) == (None, None, None)


async def test_a_count_that_cannot_be_derived_is_empty_and_the_others_are_there() -> None:
    region = ScriptedRegion("ONE", ONE)
    region.answers[pdus.C_FIND_RQ] = only("STUDY")
    zoe, _ = await found(region)
    assert counts(zoe) == (2, None, None)


def only(level: str) -> Answer:
    """Answer searches of one level, and fail at the others."""

    async def answer(region: ScriptedRegion, asking: ScriptedPeer, request: Message) -> None:
        honest = dicom.decode(request.data).QueryRetrieveLevel == level
        await (answer_find if honest else fails)(region, asking, request)

    return answer


async def test_one_number_of_two_issuers_is_two_patients() -> None:
    one = dicom.study(1, **ZOE, IssuerOfPatientID="NORTH")
    other = [*dicom.study(2, **{**ZOE, "PatientName": "Roy^Léo"}, IssuerOfPatientID="SOUTH")]
    other += dicom.study(3, **{**ZOE, "PatientName": "Roy^Léo"}, IssuerOfPatientID="SOUTH")
    leo, zoe = await found(ScriptedRegion("ONE", one), ScriptedRegion("TWO", other))
    assert (counts(zoe)[0], counts(leo)[0]) == (1, 2)


@pytest.mark.parametrize(
    ("asked", "levels"),
    [((), {"STUDY": 1}), (COUNTS[:1], {"STUDY": 2}), (COUNTS, {"STUDY": 2, "SERIES": 2, "IMAGE": 3})],
)
async def test_regions_are_asked_for_no_more_than_the_key_needs(asked: Sequence[str], levels: dict[str, int]) -> None:
    seen: list[str] = []

    async def noting(region: ScriptedRegion, asking: ScriptedPeer, request: Message) -> None:
        seen.append(str(dicom.decode(request.data).QueryRetrieveLevel))
        await answer_find(region, asking, request)

    region = ScriptedRegion("ONE", ONE)
    region.answers[pdus.C_FIND_RQ] = noting
    [row] = await found(region, asked=asked, PatientID="MRN1")
    assert {level: seen.count(level) for level in dict.fromkeys(seen)} == levels
    assert all(int(row[name].value) > 0 for name in asked)


# --- bounds


class Province:
    """Gives each patient one study, or fails."""

    def __init__(self, error: Exception | None = None, remaining: int = 0) -> None:
        self.asked: list[Query] = []
        self._error = error
        self._remaining = remaining

    async def search(self, query: Query, deadline: Deadline, **_: Any) -> SearchResult:
        self.asked.append(query)
        if self._error is not None:
            raise self._error
        row: Row = {
            "0020000D": {"vr": "UI", "Value": ["1.2"]},
            "00201206": {"vr": "IS", "Value": [1]},
            "00201208": {"vr": "IS", "Value": [2]},
            "00100020": query_value(query),
        }
        return SearchResult([row], self._remaining, Completeness("matches", ()), ())


def query_value(query: Query) -> Any:
    return {"vr": "LO", "Value": [query.keys["00100020",]]}


def counting(province: Province, seconds: float = 5.0, left: int = 100) -> PatientCounts:
    wanted = frozenset({STUDIES, SERIES, INSTANCES})
    return PatientCounts(cast("Any", province), wanted, Deadline.after(seconds), UNRESTRICTED, left)


def patient(value: str) -> Row:
    return {"00100020": {"vr": "LO", "Value": [value]}}


async def test_patients_behind_the_bound_are_not_searched_for() -> None:
    province = Province()
    counted = counting(province, left=2)
    told = [await counted.of(patient(f"MRN{number}")) for number in range(4)]
    assert [len(row) for row in told] == [3, 3, 0, 0]
    assert len(province.asked) == 2


@pytest.mark.parametrize("value", ["", "MRN*", "MRN?", "A\\B"])
async def test_number_that_would_be_read_as_a_pattern_is_not_searched_for(value: str) -> None:
    province = Province()
    assert await counting(province).of(patient(value)) == {}
    assert province.asked == []


async def test_when_time_is_over_or_a_search_fails_or_is_cut_nothing_is_told() -> None:
    assert await counting(Province(), seconds=0.0).of(patient("MRN1")) == {}
    assert await counting(Province(NoRegionAnswered("none"))).of(patient("MRN1")) == {}
    assert await counting(Province(remaining=1)).of(patient("MRN1")) == {}
