"""What was brought whole a moment ago, and whose it was."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.access.permit import Subject
from gateway.dataset.query import Selection
from gateway.federation.completeness import COMPLETE, RegionState
from gateway.federation.flights import Flight
from gateway.federation.subscription import wants
from gateway.spool.spool import Spooled

MOST = 4096
"""How many studies and series are known to be whole."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a study or series was, when it was last brought or looked up whole.

    Attributes:
        at: when, on the monotonic clock.
        uids: its instances.
        states: of the regions.
        subjects: whose it is.
    """

    at: float
    uids: frozenset[str]
    states: dict[str, RegionState]
    subjects: tuple[Subject, ...]

    def counted(self, instances: Iterable[Spooled]) -> dict[str, RegionState]:
        """Return the states with the instances that each region gave."""
        given: dict[str, int] = {}
        for spooled in instances:
            given[spooled.facts.region] = given.get(spooled.facts.region, 0) + 1
        return {
            name: replace(state, count=given.get(name, 0) if state.state == COMPLETE else state.count)
            for name, state in self.states.items()
        }


class Holdings:
    """Remembers what is known to be whole, for so many seconds without a look at its holders."""

    def __init__(self, fresh_seconds: float) -> None:
        self._fresh_seconds = fresh_seconds
        self._holdings: OrderedDict[tuple[str, str | None], Holding] = OrderedDict()
        self._subjects: OrderedDict[str, Subject] = OrderedDict()

    def land(self, flight: Flight) -> None:
        """Remember what was brought whole."""
        uids = frozenset(x.facts.uid for x in flight.log if x.content.complete)
        if flight.failures or not uids:
            return
        selection = flight.selection
        self._holdings[selection.study, selection.series] = Holding(
            time.monotonic(), uids, dict(flight.states), flight.subjects
        )
        _bound(self._holdings)

    def at_rest(self, selection: Selection, shelf: Mapping[str, Spooled]) -> tuple[Holding, list[Spooled]] | None:
        """Return the instances of a selection where all of it is on the shelf of its study and was listed lately."""
        since = time.monotonic() - self._fresh_seconds
        for key in ((selection.study, selection.series), (selection.study, None)):
            holding = self._holdings.get(key)
            if holding is None or (not selection.instances and holding.at < since):
                continue
            uids = frozenset(selection.instances) or holding.uids
            if selection.instances:  # a viewer asks so for each frame
                found = [shelf[uid] for uid in uids if uid in shelf]
            else:
                found = [spooled for uid, spooled in shelf.items() if uid in uids]
            if len(found) < len(uids) or (selection.instances and any(x.confirmed_at < since for x in found)):
                continue
            wanted = [spooled for spooled in found if wants(selection, spooled.facts)]
            if wanted:
                return holding, wanted
        return None

    def last_of(self, study: str) -> Subject | None:
        """Return whose a study was that is known to have been there."""
        return self._subjects.get(study)

    def whose(self, study: str, subject: Subject | None) -> tuple[Subject, ...]:
        """Return whose a study is and, where that is not the same, whose it was by those who brought what is at hand.

        A region that is down now may have brought it for another patient than the one that answers tells.
        """
        if subject is None:
            return ()
        before = self._subjects.pop(study, subject)
        self._subjects[study] = subject
        _bound(self._subjects)
        return (subject,) if before.patients == subject.patients else (subject, before)


def _bound(remembered: OrderedDict[Any, Any]) -> None:
    while len(remembered) > MOST:
        remembered.popitem(last=False)
