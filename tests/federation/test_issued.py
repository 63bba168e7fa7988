"""Who may see a row depends on who issued its Patient ID: archives are asked for that once, not with each search."""

from collections.abc import Mapping

import pytest

from gateway.access.permit import Block, Permit, StudyKey
from gateway.access.principal import Principal, Transaction
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Row
from gateway.deadline import Deadline
from gateway.federation import issued
from gateway.federation.identity import text
from gateway.federation.search import FederatedSearch
from tests.federation.scripted_province import STUDIES, Province
from tests.federation.test_issuers_of_a_page import ISSUER, PATIENT_ID, STUDY, TellsWhenAsked, archive, of


class Withheld:
    """Withholds what is of one patient."""

    active = True
    selective = False
    generation = 0

    def __init__(self) -> None:
        self.of = PatientIdentifier("B", "8")

    def blocked(
        self,
        principal: Principal,
        patients: frozenset[PatientIdentifier],
        study: StudyKey,
    ) -> Block | None:
        return Block("patient-level", "d1") if self.of in patients else None

    def hidden(
        self, principal: Principal, patients: frozenset[PatientIdentifier], study: StudyKey
    ) -> Mapping[str, Block]:
        del principal, patients, study
        return {}


class Guarded:
    """One gateway whose callers may not see what is withheld."""

    def __init__(self, federation: FederatedSearch, directives: Withheld) -> None:
        self._federation = federation
        self._permit = Permit(Principal("dr"), Transaction.SEARCH, directives=directives)

    async def studies(self) -> list[str]:
        found = await self._federation.search(STUDIES, Deadline.after(30), permit=self._permit)
        return sorted(text(row, STUDY) for row in found.rows)


def row_of(region: TellsWhenAsked, study: str) -> Row:
    return next(row for row in region.rows or () if text(row, STUDY) == study)


async def test_a_search_that_is_repeated_asks_no_more_who_issued_and_withholds_the_same() -> None:
    region = archive()
    async with Province(region).gateway() as federation:
        guarded = Guarded(federation, Withheld())
        assert [await guarded.studies() for _ in range(3)] == [["1.1", "1.3", "1.4"]] * 3
    assert (len(region.told_of), len(region.asked)) == (1, 3)


async def test_a_directive_holds_for_rows_whose_issuers_were_remembered() -> None:
    region, directives = archive(), Withheld()
    async with Province(region).gateway() as federation:
        guarded = Guarded(federation, directives)
        await guarded.studies()
        directives.of = PatientIdentifier("A", "7")
        assert await guarded.studies() == ["1.2", "1.4"]


async def test_a_study_that_is_new_has_its_issuer_asked_for_before_anyone_sees_it() -> None:
    region = archive()
    async with Province(region).gateway() as federation:
        guarded = Guarded(federation, Withheld())
        await guarded.studies()
        region.rows = [*(region.rows or ()), of("1.5", "8", _00100021="B")]
        assert await guarded.studies() == ["1.1", "1.3", "1.4"]
    assert len(region.told_of) == 2


async def test_a_study_that_went_to_another_patient_has_its_issuer_asked_for_anew() -> None:
    region = archive()
    async with Province(region).gateway() as federation:
        guarded = Guarded(federation, Withheld())
        await guarded.studies()
        moved = row_of(region, "1.1")
        moved[PATIENT_ID], moved[ISSUER] = {"vr": "LO", "Value": ["8"]}, {"vr": "LO", "Value": ["B"]}
        assert await guarded.studies() == ["1.3", "1.4"]


async def test_one_number_of_two_issuers_in_one_study_is_never_remembered() -> None:
    region = archive()
    region.rows = [*(region.rows or ()), of("1.2", "8", _00100021="C")]
    async with Province(region).gateway() as federation:
        guarded = Guarded(federation, Withheld())
        first = await guarded.studies()
        assert await guarded.studies() == first
    assert len(region.told_of) == 2


async def test_more_rows_than_are_remembered_are_asked_for_with_their_issuers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issued, "MOST_ROWS", 3)
    region = archive()
    async with Province(region).gateway() as federation:
        guarded = Guarded(federation, Withheld())
        assert [await guarded.studies() for _ in range(2)] == [["1.1", "1.3", "1.4"]] * 2
    assert len(region.told_of) == 2
