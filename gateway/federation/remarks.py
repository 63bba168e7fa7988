"""What the caller should hear of a search, beside which regions answered."""

from collections.abc import Iterable

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
        self._conflicts: dict[tuple[str, str], None] = {}
        self._differences: dict[tuple[str, str], None] = {}

    def unverified(self, region: str, keys: Iterable[TagPath]) -> None:
        """Take note of keys that a region's rows cannot confirm."""
        for key in keys:
            self._unverified.setdefault(key, {})[region] = None

    def settled(self, key: TagPath) -> None:
        """Forget that a key could not be confirmed: now it is."""
        self._unverified.pop(key, None)

    def conflict(self, kept: str, suppressed: str) -> None:
        """Take note that two regions hold one study for two patients (trap 2)."""
        if (kept, suppressed) not in self._conflicts:
            self._conflicts[kept, suppressed] = None
            self._observer(IdentityConflict(kept, suppressed))

    def difference(self, shown: str, other: str) -> None:
        """Take note that two regions contradict each other about one patient (trap 6)."""
        if (shown, other) not in self._differences:
            self._differences[shown, other] = None
            self._observer(DemographicsDiffer(shown, other))

    def warnings(self) -> tuple[str, ...]:
        """Return all that was noted, so far."""
        unverified = (
            f"{_spelt(key)} is not in rows of {', '.join(regions)}: it could not be verified there"
            for key, regions in sorted(self._unverified.items())
        )
        conflicts = (
            f"identity conflict: studies of {suppressed} are left out because {kept} holds them for another patient"
            for kept, suppressed in self._conflicts
        )
        differences = (demographics_warning(*pair) for pair in self._differences)
        return tuple(dict.fromkeys((*self.texts, *unverified, *conflicts, *differences)))


def _spelt(path: TagPath) -> str:
    """Return a key as a caller would write it, with the keywords of PS3.6."""
    return ".".join(keyword_of(tag) for tag in path)
