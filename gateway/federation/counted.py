"""What was derived of studies, for a few minutes: a list that is asked for again costs no question below it."""

from collections.abc import Hashable
from typing import TypeAlias

from gateway.dataset.attributes import first
from gateway.dataset.query import Attribute, Row
from gateway.federation.derive import STUDY_INSTANCE_UID, lacks
from gateway.federation.kept import Kept
from gateway.federation.merge import BELOW_A_STUDY, Told, told_below

SECONDS = 300.0
MOST_STUDIES = 10_000

Key: TypeAlias = Hashable


class Counted:
    """Remembers the counts and modalities of studies as long as their holders tell the same of them."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._kept: Kept[Key, dict[str, Attribute]] = Kept(seconds, MOST_STUDIES)

    def recall(self, row: Row, key: Key | None) -> bool:
        """Complete a row with what is remembered of it; return whether anything is."""
        known = None if key is None else self._kept.get(key)
        row.update(known or {})
        return known is not None

    def keep(self, row: Row, key: Key | None) -> None:
        """Remember what a completed row tells, where that is all there is."""
        if key is not None and not any(lacks(row, tag) for tag in BELOW_A_STUDY):
            self._kept.put(key, {tag: row[tag] for tag in BELOW_A_STUDY})


def key(row: Row, holders: tuple[str, ...], told: Told | None) -> Key | None:
    """Return what a row is remembered by, from before it is completed; None for one that is not to be remembered.

    A holder that does not tell how many instances it has may change without a sign.
    """
    said = told or (told_below(holders[0], row),)
    return (first(row[STUDY_INSTANCE_UID]), said) if all(holder[-1] for holder in said) else None
