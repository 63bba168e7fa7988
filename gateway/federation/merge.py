"""Rows of many regions made one row an entity (DESIGN: merge; PS3.4 C.2.2.1 on unique keys)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.dataset.query import Attribute, Level, Row
from gateway.dataset.required import UNIQUE_KEYS
from gateway.federation.identity import (
    UNLINKED,
    Links,
    also_known_as,
    is_foreign_copy,
    own_identifier,
    same_patient,
)
from gateway.federation.paging import first
from gateway.region.profile import Profile

RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY, MODALITIES_IN_STUDY = "00080054", "00080056", "00080061"
COUNTS = frozenset({"00201206", "00201208", "00201209"})
SOP_CLASSES_IN_STUDY = "00080062"
UNIONS = frozenset({MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY, RETRIEVE_AE_TITLE})
AVAILABILITIES = ("UNAVAILABLE", "OFFLINE", "NEARLINE", "ONLINE")
PATIENT_GROUP = "0010"
ACCESSION = frozenset({"00080050", "00080051"})
DATA_SET_WIDE = frozenset({"00080005", "00080201"})
"""Specific Character Set and Timezone Offset From UTC say how the other attributes of the same row are meant."""

Holder: TypeAlias = tuple[Profile, Row]
"""A region that holds an entity, and its row of it."""


@dataclass(slots=True)
class Merged:
    """The outcome of a merge.

    Attributes:
        rows: one for each entity, in no order.
        conflicts: (kept, suppressed) regions of each row left out because the patients do not cross-reference.
    """

    rows: list[Row] = field(default_factory=list)
    conflicts: list[tuple[str, str]] = field(default_factory=list)


def merge(level: Level, answers: Iterable[tuple[Profile, Sequence[Row]]], links: Links = UNLINKED) -> Merged:
    """Group rows by the level's Unique Key and join each group, its best holder first.

    The best holder is one that is not a foreign copy, then the earlier source. ModalitiesInStudy and the other lists
    become unions, InstanceAvailability the best, counts the maximum; blanks are filled from later holders except in
    patient and accession attributes. At STUDY level a row of another patient is suppressed and reported.
    """
    unique_key = UNIQUE_KEYS[level]
    groups: dict[str, list[Holder]] = {}
    for profile, rows in answers:
        for row in rows:
            uid = first(row.get(unique_key))
            if uid:
                groups.setdefault(uid, []).append((profile, row))
    merged = Merged()
    for holders in groups.values():
        same, conflicts = one_patient(holders, links) if level is Level.STUDY else (holders, [])
        merged.conflicts += [(same[0][0].id, profile.id) for profile, _ in conflicts]
        merged.rows.append(_joined(same))
    return merged


def one_patient(holders: list[Holder], links: Links = UNLINKED) -> tuple[list[Holder], list[Holder]]:
    """Rank the holders of one study; part those of the first one's patient from those of any other."""
    if len(holders) == 1:
        return holders, []
    ranked = sorted(holders, key=lambda holder: _rank(holder, links))
    best, row = ranked[0]
    same = [x for x in ranked if x[1] is row or same_patient(row, best.namespace, x[1], x[0].namespace, links)]
    return same, [x for x in ranked if x not in same]


def _rank(holder: Holder, links: Links) -> tuple[bool, bool]:
    """Put originals before copies, and Patient IDs that the identity source knows in their namespace before others.

    A copy whose Patient ID states no issuer seems to be of its holder's namespace, where nobody knows it.
    """
    profile, row = holder
    copied = is_foreign_copy(row, profile.issuer_of_patient_id, profile.other_issuers_of_patient_id)
    return copied, bool(links) and own_identifier(row, profile.namespace) not in links


def _joined(holders: list[Holder]) -> Row:
    profile, row = holders[0]
    joined = {**row, RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [profile.ae_title]}}
    for other, theirs in holders[1:]:
        _join(joined, {**theirs, RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [other.ae_title]}})
    own = own_identifier(row, profile.namespace)
    known_as = (own_identifier(theirs, other.namespace) for other, theirs in holders[1:])
    # A coerced Patient ID is never the study's, but is told behind it (trap 4); the same number was not coerced.
    also_known_as(joined, profile.namespace, (x for x in known_as if x and own and x.value != own.value))
    return joined


def _join(row: Row, other: Row) -> None:
    for tag, attribute in other.items():
        mine = row.get(tag)
        if tag in UNIONS:
            row[tag] = _union(mine, attribute)
        elif tag in COUNTS:
            row[tag] = _better(mine, attribute, _count)
        elif tag == INSTANCE_AVAILABILITY:
            row[tag] = _better(mine, attribute, _availability)
        elif (mine is None or len(mine) == 1) and not _is_of_one_holder(tag):
            row[tag] = attribute


def _is_of_one_holder(tag: str) -> bool:
    """Whether an attribute is of the patient, the accession or the row itself: never filled from another holder."""
    return tag.startswith(PATIENT_GROUP) or tag in ACCESSION or tag in DATA_SET_WIDE


def _union(one: Attribute | None, other: Attribute) -> Attribute:
    values: list[object] = []
    for attribute in (one, other):
        found = attribute.get("Value") if attribute else None
        values.extend(value for value in (found if isinstance(found, list) else ()) if value not in values)
    return {"vr": other["vr"], "Value": values} if values else {"vr": other["vr"]}


def _better(one: Attribute | None, other: Attribute, worth: Callable[[object], float]) -> Attribute:
    return other if one is None or worth(first(other)) > worth(first(one)) else one


def _count(value: object) -> float:
    return value if isinstance(value, int | float) else -1


def _availability(value: object) -> float:
    return AVAILABILITIES.index(value) if value in AVAILABILITIES else -1
