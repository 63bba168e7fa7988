"""Where an instance that comes in goes: the first rule that fits it decides."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal

from gateway.config.settings import StoreRule, StoreSettings
from gateway.errors import ConfigError, Inadmissible
from gateway.wire.status import PROCESSING_FAILURE

CRITERIA: Final = ("calling_ae_title", "organisation", "institution", "issuer", "modality", "sop_class")


@dataclass(frozen=True, slots=True)
class Source:
    """Who brings instances.

    Attributes:
        face: which way they came.
        calling_ae_title: of the association, or "" on the web.
        organisation: that of the caller's token or peer profile, where that is known.
        institution: that of the peer profile; each instance may say its own.
        address: the caller's host.
        issuer: of the Patient IDs of the caller, where that is known.
        via: the gateways that they came through.
    """

    face: Literal["web", "dimse"]
    calling_ae_title: str = ""
    organisation: str = ""
    institution: str = ""
    address: str = ""
    issuer: str = ""
    via: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """How the queue names it."""
        return " ".join(
            filter(None, (self.face, self.calling_ae_title or self.organisation or self.address, *self.via))
        )


@dataclass(frozen=True, slots=True)
class Traits:
    """What a rule looks at; several values are alternatives.

    Attributes:
        values: by the name of the criterion.
    """

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def fit(self, rule: StoreRule) -> bool:
        """Tell whether all that the rule says fits."""
        return all(self._fits(name, getattr(rule, name)) for name in CRITERIA)

    def _fits(self, name: str, wanted: Sequence[str]) -> bool:
        found = [value.casefold() for value in self.values.get(name, ())]
        return not wanted or any(fnmatchcase(value, pattern.casefold()) for value in found for pattern in wanted)


class Routing:
    """The rules of ``[store]``, over the regions that there are."""

    def __init__(self, settings: StoreSettings, regions: Iterable[str]) -> None:
        """Check the names.

        Args:
            settings: the rules.
            regions: names of the regions.

        Raises:
            ConfigError: a rule names a region that is not configured.
        """
        known = {name.lower(): name for name in regions}
        self._default = _ids("store.default", settings.default, known)
        self._rules = [
            (rule, _ids(f"store.rules.{number}.regions", rule.regions, known))
            for number, rule in enumerate(settings.rules)
        ]

    def regions(self, traits: Traits) -> tuple[str, ...]:
        """Return the ids of the regions that an instance goes to.

        Raises:
            Inadmissible: no rule fits it and there is no default.
        """
        chosen = next((regions for rule, regions in self._rules if traits.fit(rule)), self._default)
        if not chosen:
            text = "no rule says to which region it goes: the operator can add a rule, or store.default"
            raise Inadmissible(text, status=PROCESSING_FAILURE)
        return chosen


def _ids(key: str, names: Sequence[str], known: Mapping[str, str]) -> tuple[str, ...]:
    for name in names:
        if name.lower() not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            remedy = f'did you mean "{known[near[0]]}"?' if near else f"known regions are {', '.join(known.values())}"
            raise ConfigError(f'"{key}" names the region {name!r}, which has no profile: {remedy}')
    return tuple(dict.fromkeys(name.lower() for name in names))
