"""Who issued a Patient ID (trap 5): asked for the rows of a page, since archives read a file a row to tell it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import Aborted
from gateway.federation.identity import text
from tests.federation.scripted_province import STUDIES, Province
from tests.federation.scripted_region import ScriptedRegion, study_row
from tests.federation.test_search_traps import patients

ISSUER, PATIENT_ID, STUDY, QUALIFIERS = "00100021", "00100020", "0020000D", "00100024"
EVERYBODY = replace(STUDIES, limit=2)


@dataclass
class TellsWhenAsked(ScriptedRegion):
    """Returns an issuer only where it is asked for one, as C-FIND has it."""

    told_of: list[set[str]] = field(default_factory=list)

    async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        asked = {(ISSUER,), (QUALIFIERS, "00400032")} & query.include
        if asked:
            self.told_of.append(set(query.keys.get((STUDY,), "").split("\\")))
        async for row in super().search(query, deadline):
            yield {tag: x for tag, x in row.items() if asked or tag not in {ISSUER, QUALIFIERS}}


def of(study: str, patient_id: str, **more: Any) -> Row:
    """Make a row; the later the study, the further behind it stands."""
    return study_row(study, patient_id, _00080020=f"2024010{9 - int(study[-1])}", **more)


def archive(**more: Any) -> TellsWhenAsked:
    """Number 7 is its own patient's, and 8 another region's: of a study that it was sent."""
    rows = [of("1.1", "7"), of("1.2", "8", _00100021="B"), of("1.3", "7"), of("1.4", "8")]
    return TellsWhenAsked("A", rows=rows, **more)


def shown(rows: list[Row]) -> dict[str, str]:
    return {text(row, STUDY): f"{text(row, ISSUER)} {text(row, PATIENT_ID)}" for row in rows}


async def test_trap_5_a_list_asks_for_the_issuers_of_its_own_page_and_of_no_other_row() -> None:
    region = archive()
    result = await Province(region, patients=patients(region)).search(EVERYBODY)
    assert region.told_of == [{"1.1", "1.2"}]
    assert shown(result.rows) == {"1.1": "HCN 5", "1.2": "HCN 5"}
    assert result.remaining == 2
    assert result.warnings == ()


async def test_trap_5_the_next_page_asks_for_its_own_and_a_number_is_its_regions_where_none_is_stated() -> None:
    region = archive()
    async with Province(region, patients=patients(region)) as province:
        await province.search(EVERYBODY)
        result = await province.search(replace(EVERYBODY, offset=2))
    assert region.told_of == [{"1.1", "1.2"}, {"1.3", "1.4"}]
    assert shown(result.rows) == {"1.3": "HCN 5", "1.4": "A 8"}


async def test_an_issuer_that_was_told_is_not_asked_for_again() -> None:
    region = archive()
    async with Province(region, patients=patients(region)) as province:
        first = await province.search(EVERYBODY)
        again = await province.search(EVERYBODY)
    assert len(region.told_of) == 1
    assert shown(again.rows) == shown(first.rows)
    assert [query.level for query in region.asked] == [Level.STUDY] * 3


async def test_what_was_told_of_one_number_is_not_taken_for_another_under_the_same_study() -> None:
    region = TellsWhenAsked("A", rows=[of("1.1", "8", _00100021="B")])
    async with Province(region, patients=patients(region)) as province:
        await province.search(EVERYBODY)
        region.rows = [of("1.1", "7")]  # the archive has corrected whose the study is
        result = await province.search(EVERYBODY)
    assert region.told_of == [{"1.1"}, {"1.1"}]
    assert shown(result.rows) == {"1.1": "HCN 5"}


@pytest.mark.parametrize(
    "keys",
    [{(PATIENT_ID,): "5"}, {("00080050",): "1"}, {("00100010",): "Roy*"}, {(STUDY,): "1.1"}],
    ids=["Patient ID", "Accession Number", "Patient's Name", "Study Instance UID"],
)
async def test_a_search_that_names_somebody_is_one_question(keys: dict[tuple[str, ...], str]) -> None:
    region = archive()
    await Province(region, patients=patients(region)).search(Query(Level.STUDY, keys=keys))
    assert len(region.asked) == 1
    assert region.asked[0].include >= {(ISSUER,), (QUALIFIERS, "00400032")}


async def test_without_an_identity_source_nobody_is_asked_for_issuers() -> None:
    region = archive()
    await Province(region).search(EVERYBODY)
    assert len(region.asked) == 1
    assert region.told_of == []


async def test_trap_5_a_region_that_does_not_tell_issuers_keeps_its_own_numbers_and_is_named() -> None:
    class Failing(TellsWhenAsked):
        async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
            if (ISSUER,) in query.include:
                raise Aborted("gone")
            async for row in super().search(query, deadline):
                yield row

    region = Failing("A", rows=archive().rows)
    result = await Province(region, patients=patients(region)).search(EVERYBODY)
    assert shown(result.rows) == {"1.1": " 7", "1.2": " 8"}
    [warning] = result.warnings
    assert "region a does not tell the issuers" in warning


async def test_trap_5_a_stream_shows_each_row_with_the_number_of_its_own_issuer() -> None:
    region = archive()
    province = Province(region, patients=patients(region))
    async with province.gateway() as federation, federation.stream(STUDIES, Deadline.after(30)) as stream:
        rows = [row async for row in stream]
    assert shown(rows) == {"1.1": "HCN 5", "1.2": "HCN 5", "1.3": "HCN 5", "1.4": "A 8"}
