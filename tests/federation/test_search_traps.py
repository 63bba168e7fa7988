"""Each trap of a federated search, by name: what the real world does, and what the caller is shown nevertheless."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import NoRegionAnswered, Refused, RequestError
from gateway.events import DemographicsDiffer, IdentityConflict
from gateway.federation.issuers import Issuers
from gateway.federation.patients import Patients
from tests.federation.scripted_province import STUDIES, Province, failing, holding, uids
from tests.federation.scripted_region import ScriptedRegion, row, study_row

PATIENT_ID, AE_TITLES = "00100020", "00080054"


class Registry:
    """An identity source that knows one patient: HCN 5 is 7 at A and 8 at B."""

    patient = frozenset({PatientIdentifier("HCN", "5"), PatientIdentifier("A", "7"), PatientIdentifier("B", "8")})

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:
        return self.patient if known in self.patient else frozenset()

    async def issuers_of(self, value: str, deadline: Deadline) -> frozenset[str]:
        return frozenset(x.issuer for x in self.patient if x.value == value)


def patients(*regions: ScriptedRegion) -> Patients:
    return Patients(Registry(), Issuers(), [region.profile for region in regions], provincial="HCN")


def values(made: Row, tag: str) -> list[Any]:
    found: list[Any] = made.get(tag, {}).get("Value", [])
    return found


def of_patient(number: str) -> Query:
    return Query(Level.STUDY, keys={(PATIENT_ID,): number})


# --- trap 1


async def test_trap_1_a_study_in_two_regions_is_one_row_with_the_counts_of_the_union() -> None:
    regions = [
        ScriptedRegion("A", {"1.1": {"s1": ["a", "b"], "s2": ["c"]}}, rows=[study_row("1.1", _00201208=3)]),
        ScriptedRegion("B", {"1.1": {"s2": ["c", "d"]}}, rows=[study_row("1.1", _00201208=2)]),
    ]
    [only] = (await Province(*regions).search()).rows
    assert values(only, AE_TITLES) == ["A", "B"]
    assert (values(only, "00201206"), values(only, "00201208")) == ([2], [4])


# --- trap 2


def two_patients() -> list[ScriptedRegion]:
    return [
        ScriptedRegion("A", rows=[study_row("1.1", "7", "Roy^Zoé")]),
        ScriptedRegion("B", rows=[study_row("1.1", "9", "Tremblay^Luc")]),
    ]


async def test_trap_2_of_two_patients_under_one_uid_the_first_holders_is_shown_and_the_other_reported() -> None:
    province = Province(*two_patients())
    result = await province.search()
    assert [values(x, PATIENT_ID) for x in result.rows] == [["7"]]
    assert values(result.rows[0], AE_TITLES) == ["A"]
    assert province.events.of(IdentityConflict) == [IdentityConflict("a", "b")]
    assert any("identity conflict" in x for x in result.warnings)


@pytest.mark.parametrize(("number", "title"), [("7", "A"), ("9", "B")])
async def test_trap_2_the_row_of_the_patient_who_was_asked_for_is_the_one_shown(number: str, title: str) -> None:
    [only] = (await Province(*two_patients()).search(of_patient(number))).rows
    assert (values(only, PATIENT_ID), values(only, AE_TITLES)) == ([number], [title])


async def test_trap_2_what_the_registry_says_of_two_patients_counts_for_more_than_their_names() -> None:
    regions = two_patients()
    regions[1].rows = [study_row("1.1", "8", "Roy^Z", "19700102")]
    linked = Province(*regions, patients=patients(*regions))
    [only] = (await linked.search()).rows
    assert values(only, AE_TITLES) == ["A", "B"]
    assert linked.events.of(IdentityConflict) == []


async def test_trap_2_series_found_without_a_study_are_of_one_patient_too() -> None:
    regions = two_patients()
    regions[0].holdings = {"1.1": {"s1": ["a"]}, "1.2": {"s3": ["c"]}}
    regions[1].holdings = {"1.1": {"s2": ["b"]}, "1.3": {"s4": ["d"]}}
    province = Province(*regions)
    result = await province.search(Query(Level.SERIES))
    assert sorted(uids(result, Level.SERIES)) == ["s1", "s3", "s4"]
    assert province.events.of(IdentityConflict) == [IdentityConflict("a", "b")]


# --- trap 3


async def test_trap_3_of_two_copies_of_an_instance_one_is_shown_untouched() -> None:
    class Coerced(ScriptedRegion):
        def answers(self, level: Level) -> Any:
            sizes: dict[str, dict[str, Any]] = {
                "A": {"_00280010": None, "_00200013": 1},
                "B": {"_00280010": 512, "_00200013": 2},
            }
            image = row(Level.IMAGE, "a", _0020000D="1.1", _0020000E="s1", **sizes[self.name])
            return [image] if level is Level.IMAGE else super().answers(level)

    held = {"1.1": {"s1": ["a"]}}
    result = await Province(Coerced("A", held), Coerced("B", held)).search(Query(Level.IMAGE, study="1.1", series="s1"))
    [only] = result.rows
    assert (values(only, "00280010"), values(only, "00200013")) == ([], [1])
    assert values(only, AE_TITLES) == ["A", "B"]


# --- trap 4


async def test_trap_4_a_foreign_copy_never_speaks_for_the_patient_nor_for_the_accession() -> None:
    coerced = study_row("1.1", "COERCED", _00080050="X1") | {"04000561": {"vr": "SQ", "Value": [{}]}}
    regions = [ScriptedRegion("A", rows=[coerced]), ScriptedRegion("B", rows=[study_row("1.1", "8", _00080050="ACC")])]
    [only] = (await Province(*regions).search()).rows
    assert (values(only, PATIENT_ID), values(only, "00080050")) == (["8"], ["ACC"])
    assert values(only, AE_TITLES) == ["B", "A"]
    assert "04000561" not in only


# --- trap 6


async def test_trap_6_contradicting_demographics_are_shown_whole_and_named_for_review() -> None:
    rows = [
        study_row("1.1", "5", birth_date="19700101", _00100021="HCN", _00100040="F"),
        study_row("1.1", "5", birth_date="19710101", _00100021="HCN", _00100040="M"),
    ]
    regions = [
        ScriptedRegion(name, rows=[x], changes={"issuer_of_patient_id": "HCN"})
        for name, x in zip("AB", rows, strict=True)
    ]
    province = Province(*regions)
    result = await province.search()
    assert [(values(x, "00100030"), values(x, "00100040")) for x in result.rows] == [(["19700101"], ["F"])]
    assert province.events.of(DemographicsDiffer) == [DemographicsDiffer("a", "b")]
    assert any("birth dates or sexes" in x for x in result.warnings)


# --- trap 9


async def test_trap_9_a_count_that_no_one_tells_is_empty_and_named_and_never_zero() -> None:
    region = ScriptedRegion("A", {"1.1": {}}, rows=[study_row("1.1", _00201208=None)])
    result = await Province(region).search()
    assert result.rows[0]["00201208"] == {"vr": "IS"} or "Value" not in result.rows[0]["00201208"]
    assert result.warnings == ("NumberOfStudyRelatedInstances of 1 row is not known: it is left empty",)


async def test_trap_9_a_count_that_the_series_tell_is_theirs() -> None:
    region = ScriptedRegion("A", {"1.1": {"s1": ["a", "b"]}}, rows=[study_row("1.1", _00201208=None)])
    result = await Province(region).search()
    assert (values(result.rows[0], "00201208"), result.warnings) == ([2], ())


# --- trap 10


async def test_trap_10_a_region_that_is_down_is_named_and_the_others_answer() -> None:
    result = await Province(holding("A", "1.1"), failing("HDIRS", Refused("down"))).search()
    assert uids(result) == ["1.1"]
    assert result.completeness.header() == "a;state=complete;matches=1, hdirs;state=refused"
    assert result.completeness.warnings() == ["region hdirs unavailable (refused): results incomplete"]


async def test_trap_10_all_regions_down_is_an_error_to_be_tried_again() -> None:
    with pytest.raises(NoRegionAnswered) as caught:
        await Province(failing("A", Refused("down")), failing("B", Refused("down"))).search()
    assert (caught.value.http_status, caught.value.retryable) == (503, True)


# --- trap 11


async def test_trap_11_each_region_is_waited_for_as_long_as_its_own_patience() -> None:
    regions = [failing("A", None, "1.1", after=1), failing("B", None, "1.2", after=1)]
    regions[0].patience, regions[1].patience = 2.0, 5.0
    began = asyncio.get_running_loop().time()
    result = await Province(*regions).search()
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
    assert [x.deadlines for x in regions] == [[pytest.approx(2.0)], [pytest.approx(5.0)]]
    assert sorted(uids(result)) == ["1.1", "1.2"]
    assert result.completeness.header() == "a;state=timeout;matches=1, b;state=timeout;matches=1"


async def test_trap_11_region_that_walks_has_the_whole_time_of_the_caller() -> None:
    regions = [ScriptedRegion(name, patience=2.0, walked=frozenset({Level.SERIES})) for name in "AB"]
    await Province(*regions).search(Query(Level.SERIES), seconds=20.0)
    await Province(*regions).search(Query(Level.STUDY), seconds=20.0)
    assert [x.deadlines for x in regions] == [[pytest.approx(20.0), pytest.approx(2.0)]] * 2


async def test_trap_11_the_callers_deadline_is_the_hard_one() -> None:
    region = failing("A", None, "1.1", after=1)
    began = asyncio.get_running_loop().time()
    await Province(region).search(seconds=1.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)


async def test_a_region_that_cannot_be_asked_this_fails_the_search_with_its_own_words() -> None:
    waiting = failing("B", None)
    with pytest.raises(RequestError, match="add StudyDate"):
        await Province(failing("A", RequestError("add StudyDate")), waiting).search()
    assert waiting.under_way == 0


# --- trap 12


class Dawdling(ScriptedRegion):
    """Answers after a while, in an order of its own."""

    delay = 0.0

    async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        await asyncio.sleep(self.delay)
        async for answer in super().search(query, deadline):
            yield answer


studies = st.lists(
    st.tuples(st.sampled_from("12345"), st.sampled_from(["20240101", "2024.01.01", "", None])),
    unique_by=lambda x: x[0],
)


@given(
    st.tuples(studies, studies, studies),
    st.permutations([0.0, 0.5, 1.0]),
    st.randoms(use_true_random=False),
    st.integers(0, 3),
)
async def test_trap_12_whoever_answers_first_and_in_whatever_order_the_answer_is_the_same(
    held: tuple[list[tuple[str, str | None]], ...], delays: list[float], dice: Any, offset: int
) -> None:
    answers = []
    for attempt in range(2):
        regions = []
        for name, found, delay in zip("ABC", held, delays, strict=True):
            order = dice.sample(found, len(found)) if attempt else found
            rows = [study_row(f"1.{uid}", _00080020=date, _00081030=f"of {name}") for uid, date in order]
            series = {f"1.{uid}": {f"1.{uid}.{name}": [f"{uid}{name}"]} for uid, _ in order}
            region = Dawdling(name, series, rows=rows, modalities={f"1.{uid}.{name}": name for uid, _ in order})
            region.delay = delay if attempt else 0.0
            regions.append(region)
        answers.append(await Province(*regions).search(Query(Level.STUDY, offset=offset, limit=2)))
    assert answers[0] == answers[1]


# --- trap 13


async def test_trap_13_a_region_without_end_is_stopped_at_the_limit_and_named() -> None:
    class Endless(ScriptedRegion):
        async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
            self.under_way += 1
            try:
                number = 0
                while True:
                    number += 1
                    yield study_row(f"1.{number}")
            finally:
                self.under_way -= 1

    region = Endless("A")
    result = await Province(region, max_matches_per_region=100).search(Query(Level.STUDY, limit=10))
    assert (len(result.rows), result.remaining, region.under_way) == (10, 90, 0)
    assert result.completeness.header() == "a;state=limited;matches=100"
    assert "narrow the search" in result.completeness.warnings()[0]


# --- trap 21


async def test_trap_21_modalities_in_study_that_a_region_leaves_empty_are_derived_before_filtering() -> None:
    region = ScriptedRegion("A", {"1.1": {"s1": ["a"]}, "1.2": {"s2": ["b"]}}, modalities={"s2": "MR"})
    region.rows = [study_row(uid, _00080061=None) for uid in ("1.1", "1.2")]
    result = await Province(region).search(Query(Level.STUDY, keys={("00080061",): "MR\\US"}))
    assert [values(x, "00080061") for x in result.rows] == [["MR"]]
    assert result.warnings == ()


# --- trap 23


async def test_trap_23_a_region_that_ignores_the_patient_id_shows_nobody_else() -> None:
    ignorant = ScriptedRegion("A", rows=[study_row("1.1", "7"), study_row("1.2", "70"), study_row("1.3", "9")])
    assert uids(await Province(ignorant).search(of_patient("7"))) == ["1.1"]


async def test_trap_23_each_region_is_asked_with_its_own_number_and_believed_for_that_one_only() -> None:
    regions = [
        ScriptedRegion("A", rows=[study_row("1.1", "7"), study_row("1.9", "8")]),
        ScriptedRegion("B", rows=[study_row("1.2", "8"), study_row("1.8", "7")]),
        ScriptedRegion("C", rows=[study_row("1.7", "7"), study_row("1.6", "5")]),
    ]
    province = Province(*regions, patients=patients(*regions))
    result = await province.search(of_patient("5"))
    assert sorted(uids(result)) == ["1.1", "1.2"]
    assert [[query.keys[PATIENT_ID,] for query in region.asked] for region in regions] == [["7"], ["8"], []]
    assert result.completeness.header() == (
        "a;state=complete;matches=1, b;state=complete;matches=1, c;state=complete;matches=0"
    )
    assert {values(x, PATIENT_ID)[0] for x in result.rows} == {"5"}


async def test_trap_23_a_stream_is_guarded_like_a_page() -> None:
    regions = [
        ScriptedRegion("A", rows=[study_row("1.1", "7"), study_row("1.9", "8")]),
        ScriptedRegion("B", rows=[study_row("1.2", "8"), study_row("1.8", "7")]),
    ]
    province = Province(*regions, patients=patients(*regions))
    async with (
        province.gateway() as federation,
        federation.stream(of_patient("5"), Deadline.after(30)) as stream,
    ):
        rows = [x async for x in stream]
    assert sorted(uids(rows)) == ["1.1", "1.2"]
    assert {values(x, PATIENT_ID)[0] for x in rows} == {"5"}


async def test_two_numbers_of_one_patient_in_one_region_are_two_questions_and_one_answer() -> None:
    class Merged(Registry):
        patient = frozenset({*Registry.patient, PatientIdentifier("A", "77")})

    region = ScriptedRegion("A", rows=[study_row("1.1", "7"), study_row("1.2", "77"), study_row("1.3", "9")])
    known = Patients(Merged(), Issuers(), [region.profile], provincial="HCN")
    province = Province(region, patients=known)
    result = await province.search(of_patient("5"))
    assert sorted(uids(result)) == ["1.1", "1.2"]
    assert sorted(query.keys[PATIENT_ID,] for query in region.asked) == ["7", "77"]
    assert result.completeness.header() == "a;state=complete;matches=2"


async def test_a_page_is_presented_once_for_all_who_are_shown_it() -> None:
    regions = [ScriptedRegion("A", rows=[study_row("1.1", "7"), study_row("1.2", "7")])]
    async with Province(*regions, patients=patients(*regions)) as province:
        results = await asyncio.gather(*(province.search(of_patient("5")) for _ in range(10)))
    assert len({id(result.rows[0]) for result in results}) == 1
    assert values(results[0].rows[0], PATIENT_ID) == ["5"]


async def test_no_region_is_asked_where_none_knows_the_patient_and_that_is_complete() -> None:
    regions = [ScriptedRegion("C", rows=[study_row("1.7", "5")])]
    result = await Province(*regions, patients=patients(*regions)).search(of_patient("5"))
    assert (result.rows, result.completeness.missing, regions[0].asked) == ([], (), [])


async def test_a_search_for_anybody_asks_everybody_the_same() -> None:
    regions = [holding("A", "1.1"), holding("B", "1.2")]
    await Province(*regions).search(STUDIES)
    assert [len(region.asked) for region in regions] == [1, 1]
