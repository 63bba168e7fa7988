"""Many identifiers, one patient: whom a search names, what each region calls them, and what the caller sees.

A patient has a provincial number and one or more in each region. A search names one of them; every region is asked
with its own (trap 5), and a row of another patient is dropped whatever a region returns (trap 23).
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Query, Row, TagPath
from gateway.deadline import Deadline
from gateway.errors import IdentityUnavailable
from gateway.events import DemographicsDiffer, IdentitySourceFailed, Observer, unobserved
from gateway.federation.identity import (
    ISSUER,
    ISSUER_QUALIFIERS,
    OTHER_PATIENT_IDS,
    PATIENT_ID,
    UNIVERSAL_ENTITY_ID,
    UNIVERSAL_ENTITY_ID_TYPE,
    Links,
    demographics_differ,
    demographics_warning,
    long_string,
    other_patient_id,
    text,
)
from gateway.federation.issuers import Issuers
from gateway.federation.merge import RETRIEVE_AE_TITLE
from gateway.federation.questions import (
    PATIENT_ID_KEY,
    Asked,
    Questions,
    names_somebody,
    returning_issuer,
    returning_owner,
)
from gateway.region.profile import Profile

OTHER_PATIENT_ID_KEY: Final[TagPath] = (OTHER_PATIENT_IDS, PATIENT_ID)

EVERYONE_SECONDS: Final = 10.0
UNAVAILABLE: Final = (
    "the identity source does not answer: identifiers could not be resolved, and each region was asked in its own "
    "namespace; rows carry the issuer of their Patient ID"
)
OTHERS_NOT_RESOLVED: Final = (
    "OtherPatientIDsSequence was matched as each region holds it: PatientID, with IssuerOfPatientID, finds a patient "
    "by any number"
)
NOT_SHOWN: Final = "the identity source does not answer for all rows: some carry their region's own Patient ID"


class IdentitySource(Protocol):
    """Knows which identifiers are of one patient."""

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:
        """Return all identifiers of the patient, the known one included; none where the patient is not known.

        Raises:
            IdentityUnavailable: there was no answer.
        """

    async def issuers_of(self, value: str, deadline: Deadline) -> frozenset[str]:
        """Return the issuers under which a number is a patient's; raises as ``identifiers``."""


class NoIdentitySource:
    """Knows nobody: every region is asked in its own namespace."""

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:  # noqa: ARG002
        """Return nothing."""
        return frozenset()

    async def issuers_of(self, value: str, deadline: Deadline) -> frozenset[str]:  # noqa: ARG002
        """Return nothing."""
        return frozenset()


class Patients:
    """Translates between the identifiers of the caller and those of the regions.

    Attributes:
        provincial: the issuer in whose domain a number without an issuer is read first; empty without a source.
        show_provincial: rows carry the provincial number as Patient ID, else their region's own.
    """

    def __init__(
        self,
        source: IdentitySource,
        issuers: Issuers,
        profiles: Iterable[Profile] = (),
        observer: Observer = unobserved,
        *,
        provincial: str = "",
        show_provincial: bool = True,
    ) -> None:
        self._source = source
        self._issuers = issuers
        self._regions = {profile.ae_title: profile.id for profile in profiles}
        self._observer = observer
        self.provincial = issuers.name(provincial)
        self.show_provincial = show_provincial

    async def questions(
        self,
        query: Query,
        profiles: Sequence[Profile],
        deadline: Deadline,
        *,
        of_every_row: bool = True,
        whose: bool = False,
        issued: bool = False,
    ) -> Questions:
        """Say what each region is asked, so that all of them are asked for the same patient.

        With ``of_every_row`` unset, a query that may have many rows does not ask for the issuers that nothing but
        ``present`` needs: rows without one are to get it before. With ``whose``, each row states its issuer in any
        case, since it depends on that who may see it; with ``issued``, the caller knows the issuers already.

        Raises:
            RequestError: the query names two issuers.
        """
        asked = Asked.by(query, self._issuers)
        shown = bool(self.provincial) and (of_every_row or names_somebody(query))
        stated = bool((whose and not issued) or shown or asked.issuer or query.keys.get(PATIENT_ID_KEY))
        plain = returning_issuer(query, asked) if stated else query
        if whose:
            plain = returning_owner(plain)
        everywhere = Questions(
            {profile.id: (plain,) for profile in profiles}, issuers=self._issuers, stated=stated, issuer=asked.issuer
        )
        if self.provincial and query.keys.get(OTHER_PATIENT_ID_KEY):
            everywhere = replace(everywhere, warnings=(OTHERS_NOT_RESOLVED,))
        if not asked.value:
            return everywhere
        try:
            patients = await self._resolve(asked, deadline)
        except IdentityUnavailable as error:
            self._observer(IdentitySourceFailed())
            return replace(everywhere, warnings=(*everywhere.warnings, UNAVAILABLE), unavailable=error)
        if not patients:
            return everywhere
        warnings = (*everywhere.warnings, *_ambiguity(asked, patients))
        wanted = frozenset[PatientIdentifier]().union(*patients)
        of = {profile.id: own for profile in profiles if (own := self._own(plain, profile, wanted))}
        return replace(everywhere, of=of, warnings=warnings, wanted=wanted)

    async def present(self, rows: Sequence[Row], query: Query, deadline: Deadline) -> tuple[str, ...]:
        """Give the rows of a page the Patient ID of the domain that was asked for; return what the caller should hear.

        That is the issuer or the number that the query names, else the province; the patient's other identifiers go
        to Other Patient IDs Sequence. A row whose patient is not known keeps its own.
        """
        if not self.provincial:
            return ()
        own = [(row, identifier) for row in rows if (identifier := self._identifier(row))]
        found, failed = await self._look_up({identifier for _, identifier in own}, deadline)
        warnings = self._review([(row, found[identifier]) for row, identifier in own if found.get(identifier)])
        asked = Asked.by(query, self._issuers)
        for row, identifier in own:
            if patient := found.get(identifier):
                self._show(row, identifier, patient, asked)
        if failed:
            self._observer(IdentitySourceFailed())
            warnings.append(NOT_SHOWN)
        return tuple(warnings)

    def state(self, row: Row, profile: Profile) -> None:
        """Say whose a row's Patient ID is: one that states no issuer gets its region's (trap 5)."""
        if text(row, PATIENT_ID):
            row[ISSUER] = long_string(self._issuers.stated(row) or self._issuers.name(profile.namespace))

    async def linked(self, identifiers: Collection[PatientIdentifier], deadline: Deadline) -> Links:
        """Return all identifiers of the patient of each identifier; one not known, or not in time, is absent."""
        if not self.provincial:
            return {}
        named = {x: PatientIdentifier(self._issuers.name(x.issuer), x.value) for x in identifiers}
        found, _ = await self._look_up(set(named.values()), deadline)
        return {known: found[name] | {known} for known, name in named.items() if found.get(name)}

    def stated(self, row: Row, profile: Profile) -> frozenset[PatientIdentifier]:
        """Return the identifiers of a region's row: its Patient ID, and of the others those that name their issuer."""
        found = set[PatientIdentifier]()
        if patient_id := text(row, PATIENT_ID):
            issuer = self._issuers.stated(row) or self._issuers.name(profile.namespace)
            found.add(PatientIdentifier(issuer, patient_id))
        if OTHER_PATIENT_IDS in row:
            items = filter(None, row[OTHER_PATIENT_IDS].get("Value") or ())
            found.update(filter(None, map(self._identifier, items)))
        return frozenset(found)

    async def everyone(
        self, known: Collection[PatientIdentifier]
    ) -> dict[PatientIdentifier, frozenset[PatientIdentifier]]:
        """Return all identifiers of the patient of each of these, itself included.

        Raises:
            IdentityUnavailable: the identity source does not answer.
        """
        named = {x: self._named(x) for x in known}
        if not self.provincial:
            return {x: frozenset({name}) for x, name in named.items()}
        found, failed = await self._look_up(set(named.values()), Deadline.after(EVERYONE_SECONDS))
        if failed:
            self._observer(IdentitySourceFailed())
            raise IdentityUnavailable("the identity source does not say which identifiers are of one patient")
        return {x: found[name] | {name} for x, name in named.items()}

    def _named(self, known: PatientIdentifier) -> PatientIdentifier:
        issuer = self._issuers.name(known.issuer) or self.provincial
        return known if issuer == known.issuer else PatientIdentifier(issuer, known.value)

    def same_issuer(self, one: str, other: str) -> bool:
        """Whether two names are of one issuer."""
        return self._issuers.name(one) == self._issuers.name(other)

    async def number(self, row: Row, namespace: str, issuer: str, deadline: Deadline) -> tuple[str, str]:
        """Return the issuer of a row's Patient ID, and the patient's number at another, empty where it is not known.

        Args:
            row: what states a Patient ID.
            namespace: whose that is where the row does not say.
            issuer: whose number is wanted; of several of one patient the first in their order is returned.
            deadline: for the identity source.

        Raises:
            IdentityUnavailable: it did not answer.
        """
        wanted = self._issuers.name(issuer)
        own = PatientIdentifier(self._issuers.stated(row) or self._issuers.name(namespace), text(row, PATIENT_ID))
        if own.issuer == wanted or not own.value:
            return own.issuer, own.value
        patient = await self._source.identifiers(own, deadline)
        return own.issuer, min((x.value for x in patient if x.issuer == wanted), default="")

    async def _resolve(self, asked: Asked, deadline: Deadline) -> list[frozenset[PatientIdentifier]]:
        """Find the patients whom a number may mean: in its issuer's domain, else the provincial, else everywhere."""
        first = asked.issuer or self.provincial
        if first and (patient := await self._source.identifiers(PatientIdentifier(first, asked.value), deadline)):
            return [patient]
        if asked.issuer:
            return []
        issuers = sorted(await self._source.issuers_of(asked.value, deadline))
        found = [await self._source.identifiers(PatientIdentifier(x, asked.value), deadline) for x in issuers]
        return list(dict.fromkeys(patient for patient in found if patient))

    def _own(self, query: Query, profile: Profile, wanted: Iterable[PatientIdentifier]) -> tuple[Query, ...]:
        """Return a query for each number that the patients have in a region."""
        issuers = {self._issuers.name(issuer) for issuer in (profile.namespace, *profile.other_issuers_of_patient_id)}
        values = sorted({identifier.value for identifier in wanted if identifier.issuer in issuers})
        return tuple(replace(query, keys={**query.keys, PATIENT_ID_KEY: value}) for value in values)

    def _identifier(self, row: Row) -> PatientIdentifier | None:
        patient_id, issuer = text(row, PATIENT_ID), self._issuers.stated(row)
        return PatientIdentifier(issuer, patient_id) if patient_id and issuer else None

    async def _look_up(
        self, identifiers: Collection[PatientIdentifier], deadline: Deadline
    ) -> tuple[dict[PatientIdentifier, frozenset[PatientIdentifier]], bool]:
        """Find the patients of many identifiers; return those found until the source failed, and whether it did."""
        found: dict[PatientIdentifier, frozenset[PatientIdentifier]] = {}
        if len(identifiers) == 1:  # a task would cost more than what is remembered
            (alone,) = identifiers
            try:
                return {alone: await self._source.identifiers(alone, deadline)}, False
            except IdentityUnavailable:
                return {}, True

        async def look_up(known: PatientIdentifier) -> None:
            found[known] = await self._source.identifiers(known, deadline)

        failed = False
        try:
            async with asyncio.TaskGroup() as group:
                for known in sorted(identifiers):
                    group.create_task(look_up(known))
        except* IdentityUnavailable:
            failed = True
        return found, failed

    def _review(self, rows: Iterable[tuple[Row, frozenset[PatientIdentifier]]]) -> list[str]:
        """Report patients whose rows contradict one another in birth date or sex (trap 6)."""
        seen: dict[frozenset[PatientIdentifier], Row] = {}
        pairs: dict[tuple[str, str], None] = {}
        for row, patient in rows:
            earlier = seen.setdefault(patient, row)
            if demographics_differ(earlier, row):
                one, other = sorted((self._region(earlier), self._region(row)))
                pairs[one, other] = None
        for one, other in pairs:
            self._observer(DemographicsDiffer(one, other))
        return [demographics_warning(one, other) for one, other in pairs]

    def _region(self, row: Row) -> str:
        """Return the region whose patient attributes a row has: its first holder."""
        ae_title = text(row, RETRIEVE_AE_TITLE)
        return self._regions.get(ae_title, ae_title)

    def _show(self, row: Row, own: PatientIdentifier, patient: frozenset[PatientIdentifier], asked: Asked) -> None:
        """Put one identifier in front and the others behind (PS3.3 C.7.1.1)."""
        shown = self._shown(own, patient, asked) if self.show_provincial else own
        behind = {x for x in patient if self.show_provincial or x.issuer == self.provincial} | {own}
        behind.discard(shown)
        items: list[Row] = []
        for stated in filter(None, row.pop(OTHER_PATIENT_IDS, {}).get("Value") or ()):
            item = _in_namespace(stated, own.issuer)
            identifier = self._identifier(item)
            if identifier != shown:
                items.append(item)
            if identifier is not None:
                behind.discard(identifier)
        items += map(other_patient_id, sorted(behind))
        if items:
            row[OTHER_PATIENT_IDS] = {"vr": "SQ", "Value": items}
        if shown != own:
            row[PATIENT_ID], row[ISSUER] = long_string(shown.value), long_string(shown.issuer)
            self._qualify(row, shown.issuer)

    def _shown(self, own: PatientIdentifier, patient: frozenset[PatientIdentifier], asked: Asked) -> PatientIdentifier:
        """Choose what was asked for, else a number of the asked issuer, else the provincial one, else the row's own."""

        def rank(x: PatientIdentifier) -> tuple[bool, ...]:
            is_value, is_provincial = x.value == asked.value, x.issuer == self.provincial
            if asked.issuer:
                is_issuer = x.issuer == asked.issuer
                return is_issuer and is_value, is_issuer, is_provincial, x == own
            return is_value and is_provincial, is_value and x == own, is_value, is_provincial, x == own

        return max(sorted(patient | {own}, reverse=True), key=rank)

    def _qualify(self, row: Row, issuer: str) -> None:
        """Make Issuer of Patient ID Qualifiers Sequence say the same as Issuer of Patient ID."""
        row.pop(ISSUER_QUALIFIERS, None)
        if oid := self._issuers.issuer(issuer).oid:
            item = {
                UNIVERSAL_ENTITY_ID: {"vr": "UT", "Value": [oid]},
                UNIVERSAL_ENTITY_ID_TYPE: {"vr": "CS", "Value": ["ISO"]},
            }
            row[ISSUER_QUALIFIERS] = {"vr": "SQ", "Value": [item]}


def _in_namespace(item: Row, issuer: str) -> Row:
    """Return an item of Other Patient IDs Sequence with its issuer, which need not be said beside its region's."""
    return item if text(item, ISSUER) or item.get(ISSUER_QUALIFIERS) else {**item, ISSUER: long_string(issuer)}


def _ambiguity(asked: Asked, patients: Sequence[frozenset[PatientIdentifier]]) -> tuple[str, ...]:
    """Tell the caller that a number is several patients', without repeating it."""
    if len(patients) < 2:
        return ()
    issuers = sorted({x.issuer for patient in patients for x in patient if x.value == asked.value})
    told = (
        f"PatientID is ambiguous: {', '.join(issuers)} gave it to different patients; all of them are shown, each row "
        "with its IssuerOfPatientID: add IssuerOfPatientID to the search to choose one"
    )
    return (told,)
