"""Rows of many regions made one row an entity (DESIGN: merge; PS3.4 C.2.2.1 on unique keys)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gateway.dataset.attributes import first
from gateway.dataset.query import Attribute, Level, Row
from gateway.dataset.required import UNIQUE_KEYS
from gateway.federation.identity import (
    UNLINKED,
    Links,
    also_known_as,
    demographics_differ,
    is_foreign_copy,
    own_identifier,
    same_patient,
)
from gateway.region.profile import Profile

RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY, MODALITIES_IN_STUDY = "00080054", "00080056", "00080061"
BELOW_A_STUDY = (MODALITIES_IN_STUDY, "00201206", "00201208")
COUNTS = frozenset({"00201206", "00201208", "00201209"})
SOP_CLASSES_IN_STUDY = "00080062"
UNIONS = frozenset({MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY})
AVAILABILITIES = ("UNAVAILABLE", "OFFLINE", "NEARLINE", "ONLINE")
PATIENT_GROUP = "0010"
ACCESSION = frozenset({"00080050", "00080051"})
DATA_SET_WIDE = frozenset({"00080005", "00080201"})
"""Specific Character Set and Timezone Offset From UTC say how the other attributes of the same row are meant."""

Holder: TypeAlias = tuple[Profile, Row]
"""A region that holds an entity, and its row of it."""

Contradiction: TypeAlias = tuple[Literal["patient", "demographics"], str, str]
"""Whether two regions name two patients, or differ about one; the region that is shown, and the other."""

Told: TypeAlias = tuple[tuple[str, ...], ...]
"""What each holder of a study tells of the levels below it."""


@dataclass(slots=True)
class Merged:
    """The outcome of a merge.

    Attributes:
        rows: one for each entity, in no order.
        held_by: Unique Key of each row to the ids of the regions that hold it, the best holder first.
        told: what each holder tells of what is below a study that several hold, for those studies.
        contradictions: with the Study Instance UIDs that each is about.
    """

    rows: list[Row] = field(default_factory=list)
    held_by: dict[str, tuple[str, ...]] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    contradictions: dict[Contradiction, set[str]] = field(default_factory=dict)


def merge(level: Level, answers: Iterable[tuple[Profile, Sequence[Row]]], links: Links = UNLINKED) -> Merged:
    """Group rows by the level's Unique Key and join each group, its best holder first.

    The best holder is one that is not a foreign copy, then the earlier source. ModalitiesInStudy and the other lists
    become unions, InstanceAvailability the best, counts the maximum; blanks are filled from later holders except in
    patient and accession attributes, and never in an instance, whose copies may differ (trap 3). At STUDY level a row
    of another patient is suppressed and reported.
    """
    unique_key = UNIQUE_KEYS[level]
    merged = Merged()
    alone: dict[str, Row] = {}
    shared: dict[str, list[Holder]] = {}
    source: dict[str, Profile] = {}
    for profile, rows in answers:
        for row in rows:
            uid = first(row.get(unique_key))
            if not uid:
                continue
            if uid not in source:
                source[uid], alone[uid] = profile, row
            else:
                shared.setdefault(uid, [(source[uid], alone[uid])]).append((profile, row))
    had_at = _Titles()
    for uid, row in alone.items():
        holders = [(source[uid], row)]
        if uid in shared:
            holders = _sorted_out(level, shared[uid], links, merged)
            if level is Level.STUDY:
                merged.told[uid] = tuple(told_below(profile.id, row) for profile, row in holders)
        ids, titles = had_at.of(holders)
        merged.held_by[uid] = ids
        merged.rows.append(_joined(level, holders, titles))
    return merged


def told_below(region: str, row: Row) -> tuple[str, ...]:
    """Return a region, and what its row tells of the levels below a study; it differs when they have changed."""
    values = (row.get(tag, {}).get("Value") or [None] for tag in BELOW_A_STUDY)
    return region, *("" if told[0] in {None, ""} else str(told) for told in values)


def one_patient(holders: list[Holder], links: Links = UNLINKED) -> tuple[list[Holder], list[Holder]]:
    """Rank the holders of one study; part those of the first one's patient from those of any other."""
    if len(holders) == 1:
        return holders, []
    ranked = sorted(holders, key=lambda holder: _rank(holder, links))
    best = ranked[0]
    same = [holder for holder in ranked if _is_same(best, holder, links)]
    return same, [holder for holder in ranked if holder not in same]


def _rank(holder: Holder, links: Links) -> tuple[bool, bool]:
    """Put originals before copies, and Patient IDs that the identity source knows in their namespace before others.

    A copy whose Patient ID states no issuer seems to be of its holder's namespace, where nobody knows it.
    """
    profile, row = holder
    copied = is_foreign_copy(row, profile.issuer_of_patient_id, profile.other_issuers_of_patient_id)
    return copied, bool(links) and own_identifier(row, profile.namespace) not in links


def _is_same(best: Holder, other: Holder, links: Links) -> bool:
    (profile, row), (its_profile, its_row) = best, other
    if row is its_row or (profile.id == its_profile.id and row == its_row):
        return True
    return same_patient(row, profile.namespace, its_row, its_profile.namespace, links)


def _sorted_out(level: Level, holders: list[Holder], links: Links, merged: Merged) -> list[Holder]:
    """Return the holders whose rows become one, and report the others."""
    if level is not Level.STUDY:
        return holders
    same, others = one_patient(holders, links)
    best, row = same[0]
    found: list[Contradiction] = [("patient", best.id, other.id) for other, _ in others]
    found += [("demographics", best.id, other.id) for other, theirs in same[1:] if demographics_differ(row, theirs)]
    for contradiction in found:
        merged.contradictions.setdefault(contradiction, set()).add(str(first(row.get(UNIQUE_KEYS[level]))))
    return same


class _Titles:
    """Where entities are had, said once for all that are had at the same regions."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[tuple[str, ...], Attribute]] = {}

    def of(self, holders: list[Holder]) -> tuple[tuple[str, ...], Attribute]:
        """Return the ids of the regions, and Retrieve AE Title."""
        key = tuple([id(profile) for profile, _ in holders])
        if key not in self._known:
            titles = dict.fromkeys(profile.ae_title for profile, _ in holders)
            ids = tuple(dict.fromkeys(profile.id for profile, _ in holders))
            self._known[key] = (ids, {"vr": "AE", "Value": list(titles)})
        return self._known[key]


def _joined(level: Level, holders: list[Holder], had_at: Attribute) -> Row:
    joined = {**holders[0][1], RETRIEVE_AE_TITLE: had_at}
    joined.pop("00080005", None)  # it told how the region's text was encoded; ours is UTF-8
    for _, theirs in holders[1:]:
        _join(joined, theirs, fill=level is not Level.IMAGE)
    if len(holders) > 1 and level is Level.STUDY:
        profile, row = holders[0]
        own = own_identifier(row, profile.namespace)
        known_as = (own_identifier(theirs, other.namespace) for other, theirs in holders[1:])
        # A coerced Patient ID is never the study's, but is told behind it (trap 4); the same number was not coerced.
        also_known_as(joined, profile.namespace, (x for x in known_as if x and own and x.value != own.value))
    return joined


def _join(row: Row, other: Row, *, fill: bool) -> None:
    for tag, attribute in other.items():
        mine = row.get(tag)
        if tag == INSTANCE_AVAILABILITY:
            row[tag] = _better(mine, attribute, _availability)
        elif not fill or tag == RETRIEVE_AE_TITLE:
            continue
        elif tag in UNIONS:
            row[tag] = union(mine, attribute)
        elif tag in COUNTS:
            row[tag] = _better(mine, attribute, _count)
        elif (mine is None or len(mine) == 1) and not _is_of_one_holder(tag):
            row[tag] = attribute


def _is_of_one_holder(tag: str) -> bool:
    """Whether an attribute is of the patient, the accession or the row itself: never filled from another holder."""
    return tag.startswith(PATIENT_GROUP) or tag in ACCESSION or tag in DATA_SET_WIDE


def union(one: Attribute | None, other: Attribute) -> Attribute:
    """Return the values of both, each once, those of the first in front."""
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
