"""Which regions answered: said in headers that a program can read."""

from dataclasses import dataclass, replace

from gateway.errors import Loop, NotFound, PartlyAnswered, RegionMissing

COMPLETE = "complete"
LIMITED = "limited"
CONFLICT = "identity-conflict"
PARTIAL = PartlyAnswered.slug


@dataclass(frozen=True, slots=True)
class RegionState:
    """What became of one region's part.

    Attributes:
        region: the region's id.
        state: "complete", "limited" where a limit of ours cut its rows short, or the slug of what went wrong.
        count: rows or instances it contributed; None where that is not known yet.
        parts: of a region that is a federation itself, the names of those that did not answer.
    """

    region: str
    state: str
    count: int | None = None
    parts: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether something of this region may be missing from the answer."""
        return self.state != COMPLETE


@dataclass(frozen=True, slots=True)
class Completeness:
    """The states of all regions that were asked, in profile order.

    Attributes:
        unit: what the counts count, "matches" or "instances".
        states: one for each region.
    """

    unit: str
    states: tuple[RegionState, ...]

    @property
    def missing(self) -> tuple[RegionState, ...]:
        """The regions from which something may be missing."""
        return tuple(state for state in self.states if state.missing)

    @property
    def failed(self) -> bool:
        """Whether regions were asked and not one of them answered."""
        return bool(self.states) and all(
            state.missing and state.state not in {LIMITED, PARTIAL} and not state.parts for state in self.states
        )

    def header(self) -> str:
        """Return the value of the ``Federation-Status`` header: a member a region, with its state and count."""
        return ", ".join(_member(state, self.unit) for state in self.states)

    def warnings(self) -> list[str]:
        """Return the text of one ``Warning: 299`` for each region from which something may be missing."""
        return [_warning(state) for state in self.missing]


def not_held(what: str, completeness: Completeness) -> NotFound | RegionMissing:
    """Return why nothing was found: nobody holds it, or a region that may hold it did not answer.

    To a caller who was shown a study a moment ago, its absence must not be told for certain while its region is down.
    """
    silent = [state.region for state in completeness.missing if state.state not in {LIMITED, CONFLICT}]
    # What a region gave of the rest is nobody's answer, and depends on who else asked.
    states = (replace(state, count=None) if state.count else state for state in completeness.states)
    status = replace(completeness, states=tuple(states)).header()
    if not silent:
        return NotFound(f"no region holds {what}", federation_status=status)
    text = f"no region that answered holds {what}, and {' and '.join(silent)} did not answer: ask again later"
    return RegionMissing(text, federation_status=status)


def _member(state: RegionState, unit: str) -> str:
    counted = "" if state.count is None else f";{unit}={state.count}"
    parts = f';missing="{" ".join(state.parts)}"' if state.parts else ""
    return f"{state.region};state={state.state}{counted}{parts}"


def _warning(state: RegionState) -> str:
    if state.state == LIMITED:
        return f"region {state.region} has more matches than are taken from one region: narrow the search"
    if state.state == Loop.slug:
        text = f"region {state.region} and this gateway, or one behind it, are regions of each other"
        return f"{text}: remove one of the two profiles; results incomplete"
    if state.state == PARTIAL:
        return f"{' and '.join(state.parts) or 'parts'} of region {state.region} did not answer: results incomplete"
    return f"region {state.region} unavailable ({state.state}): results incomplete"
