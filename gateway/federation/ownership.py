"""Whose the studies are that several regions hold: asked of these regions, and of no other."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.dataset.attributes import first
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.federation import identity
from gateway.federation.asking import MOST_UIDS, Answer, Regions
from gateway.federation.completeness import COMPLETE
from gateway.federation.derive import STUDY_INSTANCE_UID
from gateway.federation.identity import UNLINKED, Links
from gateway.federation.kept import Kept
from gateway.federation.merge import Contradiction, Holder, one_patient
from gateway.federation.patients import Patients
from gateway.federation.questions import ACCESSION_KEY, PATIENT_ID_KEY, WITH_ISSUER
from gateway.region.profile import Profile

TELLING: Final = (identity.ISSUER, identity.ISSUER_QUALIFIERS)
REMEMBERED_SECONDS, MOST_REMEMBERED = 300.0, 20_000
"""How long, and of how many studies, is remembered who issued a Patient ID: to tell it, archives read a file a row."""
OWNER_SECONDS: Final = 60.0
"""How long it is remembered whose a study is, where all regions have said so."""
NOT_TOLD: Final = (
    "region {} does not tell the issuers of its Patient IDs: some rows carry their region's own Patient ID"
)


class Place(NamedTuple):
    """Where a Patient ID stands: an archive may hold one study for two patients."""

    region: str
    study: str
    patient_id: str


@dataclass(slots=True)
class Parted:
    """Rows below STUDY level, without those of studies that their region holds for another patient.

    Attributes:
        rows: of each region, the best holder of a study before the others.
        contradictions: why studies are left out, with the Study Instance UIDs that each is about.
    """

    rows: list[tuple[Profile, Sequence[Row]]] = field(default_factory=list)
    contradictions: dict[Contradiction, set[str]] = field(default_factory=dict)


class Ownership:
    """Finds out which regions hold a study for one patient."""

    def __init__(self, regions: Regions, patients: Patients) -> None:
        self._regions = regions
        self._patients = patients
        self._issuers = Kept[Place, Row](REMEMBERED_SECONDS, MOST_REMEMBERED)
        self._owners = Kept[str, tuple[Holder, ...]](OWNER_SECONDS, MOST_REMEMBERED)

    async def identify(self, answers: Sequence[Answer], deadline: Deadline) -> Links:
        """Add to each study that several regions hold what tells whose it is and which is a copy.

        Returns:
            what else an identity source knows of their patients.
        """
        if sum(bool(answer.rows) for answer in answers) < 2:
            return UNLINKED
        held = [first(row.get(STUDY_INSTANCE_UID)) for answer in answers for row in answer.rows]
        if len(set(held)) == len(held):
            return UNLINKED
        shared = {str(uid) for uid, count in Counter(held).items() if uid and count > 1}
        rows = [
            (answer.profile, uid, row)
            for answer in answers
            for row in answer.rows
            if (uid := first(row.get(STUDY_INSTANCE_UID))) in shared
        ]
        if not rows:
            return UNLINKED
        known = _told_of(await self._whose(shared, {profile.id for profile, _, _ in rows}, deadline))
        for profile, _, row in rows:
            identity.complete(row, known.get(place_of(profile.id, row), {}))
        return await self.links(((profile, row) for profile, _, row in rows), deadline)

    async def issue(
        self, rows: Sequence[Row], query: Query, held_by: Mapping[str, tuple[str, ...]], deadline: Deadline
    ) -> tuple[str, ...]:
        """Give rows the issuers of their Patient IDs, where their regions were not asked for them with all rows.

        Returns:
            a warning where a region did not tell; nobody knows then in which namespace its Patient IDs are.
        """
        if not self._patients.provincial:
            return ()
        key = UNIQUE_KEYS[query.level]
        unknown = [(place_of(held_by[first(row[key])][0], row, query), row) for row in rows if _lacks_issuer(row)]
        await self._learn({place for place, row in unknown if identity.ISSUER not in row}, deadline)
        silent: set[str] = set()
        for place, row in unknown:
            told = self._issuers.get(place)
            if told is None and identity.ISSUER not in row:
                silent.add(place.region)
                continue
            row.update(told or {})
            self._patients.state(row, self._regions.by_id[place.region].profile)
        return (NOT_TOLD.format(", ".join(sorted(silent))),) if silent else ()

    async def _learn(self, places: Collection[Place], deadline: Deadline) -> None:
        """Ask regions for the issuers of Patient IDs that were not asked for of late."""
        studies: dict[str, set[str]] = {}
        for place in places:
            if self._issuers.get(place) is None:
                studies.setdefault(place.region, set()).add(place.study)
        include = WITH_ISSUER | {PATIENT_ID_KEY}
        questions = {id_: tuple(_about(uids, include)) for id_, uids in studies.items()}
        for place, row in _told_of(await self._regions.ask(questions, deadline) if questions else ()).items():
            self._issuers.put(place, {tag: row[tag] for tag in TELLING if tag in row})

    async def part(self, query: Query, answers: Sequence[Answer], deadline: Deadline) -> Parted:
        """Rank those that hold something of a study, the best first, and leave out who has it for another patient.

        Rows below STUDY level do not say whose they are, so their regions are asked; one that cannot tell is left
        out, and named.
        """
        holders: dict[str, dict[str, Answer]] = {}
        for answer in answers:
            for study in {_study_of(row, query) for row in answer.rows}:
                holders.setdefault(study, {})[answer.profile.id] = answer
        shared = {study: held for study, held in holders.items() if len(held) > 1}
        parted = Parted()
        if shared:
            told = await self._whose(shared, {id_ for held in shared.values() for id_ in held}, deadline)
            found = _found(told)
            links = await self.links((holder for held in found.values() for holder in held.values()), deadline)
            for study, held in sorted(shared.items()):
                _leave_out_the_silent(study, query, held, found.get(study, {}), told)
                same, others = _of_one_patient(found.get(study, {}), held, links)
                for other in others:
                    parted.contradictions.setdefault(("patient", same[0].id, other.id), set()).add(study)
                parted.rows += [(profile, _rows_of(study, held[profile.id].rows, query)) for profile in same]
        for answer in answers:
            parted.rows.append((answer.profile, [row for row in answer.rows if _study_of(row, query) not in shared]))
        return parted

    async def holders(self, study: str, deadline: Deadline) -> tuple[list[Profile], list[Profile], list[Answer]]:
        """Find who holds a study, of all regions: for one patient, the best first; for another; and what each said."""
        told = await self._whose([study], self._regions.by_id, deadline)
        found = _found(told).get(study, {})
        links = await self.links(found.values(), deadline) if len(found) > 1 else UNLINKED
        same, others = _of_one_patient(found, found, links)
        return same, others, told

    async def owners(self, studies: Collection[str], deadline: Deadline) -> dict[str, tuple[Holder, ...]]:
        """Find who holds studies, for the one patient of each; a study of which no region tells is absent."""
        known = {study: held for study in studies if (held := self._owners.get(study))}
        unknown = [study for study in studies if study not in known]
        if not unknown:
            return known
        told = await self._whose(unknown, self._regions.by_id, deadline)
        found = _found(told)
        shared = [holder for rows in found.values() if len(rows) > 1 for holder in rows.values()]
        links = await self.links(shared, deadline) if shared else UNLINKED
        for study, rows in found.items():
            known[study] = tuple(one_patient(list(rows.values()), links)[0])
            if all(answer.state == COMPLETE for answer in told):
                self._owners.put(study, known[study])
        return known

    async def links(self, holders: Iterable[Holder], deadline: Deadline) -> Links:
        """Ask the identity source which identifiers of these rows are of one patient."""
        known = (identity.identifiers(row, profile.namespace) for profile, row in holders)
        return await self._patients.linked(frozenset[PatientIdentifier]().union(*known), deadline)

    async def _whose(self, studies: Collection[str], regions: Collection[str], deadline: Deadline) -> list[Answer]:
        """Ask some regions whose some studies are, each with its whole patience, however long others took."""
        told = list[Answer]()
        for query in _about(studies, identity.PATIENT_KEYS | identity.RETURN_KEYS | {ACCESSION_KEY}):
            told += await self._regions.ask(dict.fromkeys(regions, (query,)), deadline)
        return told


def _about(studies: Collection[str], include: frozenset[TagPath]) -> Iterator[Query]:
    """Yield the queries that ask for some attributes of some studies."""
    uids = sorted(studies)
    for at in range(0, len(uids), MOST_UIDS):
        keys: dict[TagPath, str] = {(STUDY_INSTANCE_UID,): "\\".join(uids[at : at + MOST_UIDS])}
        yield Query(Level.STUDY, keys=keys, include=include, bare=True)


def _told_of(answers: Iterable[Answer]) -> dict[Place, Row]:
    """Map each place to what was told of it."""
    return {place_of(answer.profile.id, row): row for answer in answers for row in answer.rows}


def place_of(region: str, row: Row, query: Query | None = None) -> Place:
    """Return where a region's row has its Patient ID."""
    return Place(region, _study_of(row, query), identity.text(row, identity.PATIENT_ID))


def _lacks_issuer(row: Row) -> bool:
    return bool(identity.text(row, identity.PATIENT_ID)) and not identity.text(row, identity.ISSUER)


def _study_of(row: Row, query: Query | None = None) -> str:
    return (query and query.study) or str(first(row.get(STUDY_INSTANCE_UID)) or "")


def _rows_of(study: str, rows: Sequence[Row], query: Query) -> list[Row]:
    return [row for row in rows if _study_of(row, query) == study]


def _found(told: Sequence[Answer]) -> dict[str, dict[str, Holder]]:
    """Map each study to its holders' rows of it."""
    found: dict[str, dict[str, Holder]] = {}
    for answer in told:
        for row in answer.rows:
            held = found.setdefault(str(first(row.get(STUDY_INSTANCE_UID))), {})
            held.setdefault(answer.profile.id, (answer.profile, row))
    return found


def _of_one_patient(
    found: dict[str, Holder], held: Collection[str], links: Links
) -> tuple[list[Profile], list[Profile]]:
    holders = [holder for id_, holder in found.items() if id_ in held]
    same, others = one_patient(holders, links) if holders else ([], [])
    return [profile for profile, _ in same], [profile for profile, _ in others]


def _leave_out_the_silent(
    study: str, query: Query, held: dict[str, Answer], found: dict[str, Holder], told: Sequence[Answer]
) -> None:
    states = {answer.profile.id: answer.state for answer in told}
    for id_ in [id_ for id_ in held if id_ not in found]:
        answer = held.pop(id_)
        answer.rows = [row for row in answer.rows if _study_of(row, query) != study]
        answer.state = states[id_]
