"""The C-FINDs of one search, on one association (PS3.4 C.4.1)."""

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Final, Self
from zoneinfo import ZoneInfo

from gateway.dataset.identifier import PATIENT_ID, PATIENT_KEYS, Dialect, find_identifier, patient_identifier
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.find import find
from gateway.dimse.pool import AssociationPool
from gateway.dimse.sop_classes import PATIENT_ROOT_FIND
from gateway.errors import DatasetError, DimseFailure, LimitExceeded, Rejected
from gateway.region.contexts import FIND, QUERY_CONTEXTS
from gateway.region.outcome import BROKEN
from gateway.region.profile import Profile
from gateway.region.rows import OF_THE_RESPONSE, UID, first, of_the_region
from gateway.wire.negotiation import AcceptedContext
from gateway.wire.status import OUT_OF_RESOURCES

STUDY: Final = UNIQUE_KEYS[Level.STUDY]

_GRANTED: Final = b"\1"
_PATIENTS_REMEMBERED: Final = 10_000


class Finder:
    """Lends sessions, and remembers what they learn of the region.

    Attributes:
        relational: whether relational queries are worth trying where they are granted.
        granted: whether the region granted them when it was asked last; None before that.
        by_patient: whether Patient Root queries must name the patient (PS3.4 C.6.1.1).
        patient_of: Study Instance UID to Patient ID, of late, for a region that is asked by patient.
    """

    def __init__(self, profile: Profile, pool: AssociationPool, *, max_matches: int, max_patients: int) -> None:
        self.profile = profile
        self.zone = ZoneInfo(profile.time_zone)
        self.relational = profile.relational_queries == "auto"
        self.granted: bool | None = None
        self.by_patient = False
        self.patient_of: OrderedDict[str, str] = OrderedDict()
        self.max_matches = max_matches
        self.max_patients = max_patients
        self._pool = pool

    def session(self, deadline: Deadline) -> "Session":
        """Return a context for the C-FINDs of one search, one after the other."""
        return Session(self, self._pool, deadline)

    def remember(self, study: str, patient_id: str) -> None:
        """Note whose a study is."""
        self.patient_of[study] = patient_id
        self.patient_of.move_to_end(study)
        if len(self.patient_of) > _PATIENTS_REMEMBERED:
            self.patient_of.popitem(last=False)


class Session:
    """One association, lent for the length of the context, and the C-FINDs on it.

    Entering it raises Saturated, RegionError or RemoteProtocolError where there is none.

    Attributes:
        malformed: matches so far that were no rows.
    """

    def __init__(self, finder: Finder, pool: AssociationPool, deadline: Deadline) -> None:
        self.malformed = 0
        self._finder = finder
        self._pool = pool
        self._deadline = deadline
        self._may_be_dead = True
        self._is_lent = False
        self._association: Association
        self._context: AcceptedContext

    async def __aenter__(self) -> Self:
        await self._take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_back()

    async def _take(self) -> None:
        self._association = await self._pool.take(QUERY_CONTEXTS, self._deadline)
        self._is_lent = True
        try:
            self._context = _context(self._association)
        except Rejected:
            self._give_back()
            raise
        self._finder.granted = self._context.extended[:1] == _GRANTED

    def complaint(self) -> DatasetError | None:
        """Return what is the matter with the answers so far, although they came to their end."""
        if not self.malformed:
            return None
        return DatasetError(f"{self.malformed} matches of region {self._finder.profile.id} could not be decoded")

    def _give_back(self) -> None:
        if self._is_lent:
            self._is_lent = False
            self._pool.give_back(self._association)

    @property
    def relational(self) -> bool:
        """Whether the region grants relational queries, and has not shown that it cannot do them."""
        return self._finder.relational and self._context.extended[:1] == _GRANTED

    def rows(self, query: Query, *, relational: bool = False, as_typed: bool = False) -> AsyncGenerator[Row, None]:
        """Yield each match of one query, undecodable ones and those without a UID left out.

        ``as_typed`` asks for names without wildcards for accents.

        Raises:
            RegionError: the region failed; what it had yielded stands.
            LimitExceeded: it has more matches than are taken.
        """
        if relational or self._context.abstract_syntax == FIND:
            return self._rows(query, self._dialect(relational=relational, as_typed=as_typed))
        return self._patient_root(query, as_typed=as_typed)

    async def _patient_root(self, query: Query, *, as_typed: bool) -> AsyncGenerator[Row, None]:
        """Ask in the Patient Root model as if it were relational; a region that fails at it is asked by patient."""
        finder, is_told = self._finder, False
        if not finder.by_patient:
            try:
                async with aclosing(self._rows(query, self._dialect(as_typed=as_typed))) as rows:
                    async for row in rows:
                        is_told = True
                        yield row
            except DimseFailure as error:
                if is_told or error.status == OUT_OF_RESOURCES:
                    raise
                finder.by_patient = True
            else:
                return
        async with aclosing(self._by_patient(query, self._dialect(by_patient=True, as_typed=as_typed))) as rows:
            async for row in rows:
                yield row

    async def _rows(self, query: Query, dialect: Dialect) -> AsyncGenerator[Row, None]:
        """Yield the rows of one C-FIND."""
        identifier = find_identifier(query, self._context.transfer_syntax, dialect)
        async with aclosing(self._matches(identifier)) as matches:
            async for match in matches:
                row = self._decoded(match)
                if UID.fullmatch(first(row, UNIQUE_KEYS[query.level])):
                    yield of_the_region(row, query, self._finder.profile, self._finder.zone)
                else:
                    self.malformed += 1

    def _decoded(self, match: bytes) -> Row:
        """Return a match as a row, empty where it cannot be decoded."""
        try:
            row = to_json_model(match, self._context.transfer_syntax, character_set=self._finder.profile.character_set)
        except (DatasetError, LimitExceeded):
            return {}
        for tag in OF_THE_RESPONSE:
            row.pop(tag, None)
        return row

    async def _matches(self, identifier: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of each match.

        An idle association may have died unnoticed: one that ends before it has said anything is replaced, once.
        """
        while True:
            found = find(
                *(self._association, self._context.abstract_syntax, identifier, self._deadline),
                max_matches=self._finder.max_matches,
            )
            try:
                async with aclosing(found):
                    async for match in found:
                        yield match
            except BROKEN:
                if not (self._may_be_dead and self._association.stale):
                    raise
            else:
                return
            self._may_be_dead = False
            self._give_back()
            await self._take()

    # --- Patient Root without relational queries

    async def _by_patient(self, query: Query, dialect: Dialect) -> AsyncGenerator[Row, None]:
        """Ask once for each patient that may be meant, as the hierarchy wants it (PS3.4 C.6.1.1)."""
        others = {path: key for path, key in query.keys.items() if path[0] not in PATIENT_KEYS}
        for patient in await self._patients(query, dialect):
            keys: dict[TagPath, str] = {**others, (PATIENT_ID,): first(patient, PATIENT_ID)}
            async with aclosing(self._rows(replace(query, keys=keys), dialect)) as rows:
                async for row in rows:
                    whole = {**patient, **row} if query.level is Level.STUDY else row
                    self._finder.remember(first(row, STUDY), first(patient, PATIENT_ID))
                    yield of_the_region(whole, query, self._finder.profile, self._finder.zone)

    async def _patients(self, query: Query, dialect: Dialect) -> list[Row]:
        known = self._finder.patient_of.get(query.study or query.keys.get((STUDY,), ""))
        if known and query.level is not Level.STUDY:
            return [{PATIENT_ID: {"vr": "LO", "Value": [known]}}]
        patients: list[Row] = []
        async with aclosing(
            self._matches(patient_identifier(query, self._context.transfer_syntax, dialect))
        ) as matches:
            async for match in matches:
                row = self._decoded(match)
                if not row:
                    self.malformed += 1
                if not first(row, PATIENT_ID):
                    continue
                patients.append(row)
                if len(patients) > self._finder.max_patients:
                    raise LimitExceeded(
                        f"region {self._finder.profile.id} is searched patient by patient: add PatientID",
                        limit="walk_studies",
                    )
        return patients

    # --- what was negotiated

    def _dialect(self, *, relational: bool = False, by_patient: bool = False, as_typed: bool = False) -> Dialect:
        profile = self._finder.profile
        combined = self._context.extended[1:2] == _GRANTED
        return Dialect(profile.character_set, relational, combined, by_patient, profile.ignores_accents or as_typed)


def _context(association: Association) -> AcceptedContext:
    """Return the Presentation Context to search in; Study Root where there is a choice (trap 19)."""
    offered = {context.abstract_syntax for context in association.contexts.values()}
    is_patient_root = PATIENT_ROOT_FIND in offered and FIND not in offered
    return association.context(PATIENT_ROOT_FIND if is_patient_root else FIND)
