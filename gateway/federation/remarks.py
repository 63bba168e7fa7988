"""What the caller should hear of a search, beside which regions answered."""

from collections.abc import Collection, Iterable

from gateway.dataset.dictionary import keyword_of
from gateway.dataset.query import TagPath
from gateway.events import DemographicsDiffer, IdentityConflict, Observer
from gateway.federation.identity import demographics_warning


class Remarks:
    """Collects them, each said once; what a person must look into goes to the observer, too.

    Attributes:
        texts: those that need no explanation here, in order.
    """

    def __init__(self, observer: Observer, texts: Iterable[str] = ()) -> None:
        self.texts = list(texts)
        self._observer = observer
        self._unverified: dict[TagPath, dict[str, None]] = {}
        self._conflicts: dict[tuple[str, str], set[str]] = {}
        self._differences: dict[tuple[str, str], set[str]] = {}

    def unverified(self, region: str, keys: Iterable[TagPath]) -> None:
        """Take note of keys that a region's rows cannot confirm."""
        for key in keys:
            self._unverified.setdefault(key, {})[region] = None

    def settled(self, key: TagPath) -> None:
        """Forget that a key could not be confirmed: now it is."""
        self._unverified.pop(key, None)

    def conflict(self, kept: str, suppressed: str, studies: Iterable[str]) -> None:
        """Take note that two regions hold studies for two patients (trap 2)."""
        if (kept, suppressed) not in self._conflicts:
            self._conflicts[kept, suppressed] = set()
            self._observer(IdentityConflict(kept, suppressed))
        self._conflicts[kept, suppressed].update(studies)

    def difference(self, shown: str, other: str, studies: Iterable[str]) -> None:
        """Take note that two regions contradict each other about the patient of studies (trap 6)."""
        if (shown, other) not in self._differences:
            self._differences[shown, other] = set()
            self._observer(DemographicsDiffer(shown, other))
        self._differences[shown, other].update(studies)

    def warnings(self, withheld: Collection[str] = (), emptied: Collection[str] = ()) -> tuple[str, ...]:
        """Return all that was noted, so far.

        Args:
            withheld: studies that nothing may tell of.
            emptied: regions of which no row is left without them.
        """
        unverified = (
            f"{_spelt(key)} is not in rows of {', '.join(left)}: it could not be verified there"
            for key, regions in sorted(self._unverified.items())
            if (left := [region for region in regions if region not in emptied])
        )
        conflicts = (
            f"identity conflict: studies of {suppressed} are left out because {kept} holds them for another patient"
            for (kept, suppressed), studies in self._conflicts.items()
            if not studies <= set(withheld)
        )
        differences = (
            demographics_warning(*pair) for pair, studies in self._differences.items() if not studies <= set(withheld)
        )
        return tuple(dict.fromkeys((*self.texts, *unverified, *conflicts, *differences)))


def _spelt(path: TagPath) -> str:
    """Return a key as a caller would write it, with the keywords of PS3.6."""
    return ".".join(keyword_of(tag) for tag in path)
