"""Who issues Patient IDs: a namespace text, an OID and a FHIR system that mean one issuer.

DICOM names an issuer by text (0010,0021) or by OID in Issuer of Patient ID Qualifiers Sequence (0010,0024), FHIR by
a URI; they are translated at every edge, so that inside only the text is met.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from gateway.config.settings import IdentitySettings
from gateway.dataset.query import Row
from gateway.errors import ConfigError
from gateway.federation.identity import ISSUER, ISSUER_QUALIFIERS, UNIVERSAL_ENTITY_ID, text
from gateway.region.profile import Profile

_OID_URI = "urn:oid:"


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer under all its names.

    Attributes:
        name: the text of Issuer of Patient ID.
        oid: its Universal Entity ID of type ISO, if it has one.
        uri: its FHIR system, if it is not the OID's own ``urn:oid:``.
    """

    name: str
    oid: str = ""
    uri: str = ""

    @property
    def system(self) -> str:
        """Its FHIR system; empty where it has none."""
        return self.uri or (_OID_URI + self.oid if self.oid else "")


class Issuers:
    """The table of all issuers that have more than one name."""

    def __init__(self, issuers: Iterable[Issuer] = ()) -> None:
        """Read the table.

        Raises:
            ConfigError: one name means two issuers.
        """
        self._known: dict[str, Issuer] = {}
        for issuer in issuers:
            for name in (issuer.name, issuer.oid, issuer.uri):
                if name and self._known.setdefault(_plain(name), issuer) != issuer:
                    raise ConfigError(
                        f'"identity.issuers" gives {name!r} to two issuers: each text, oid and uri means one'
                    )

    @classmethod
    def of(cls, settings: IdentitySettings) -> Self:
        """Return the table of the settings; raises as the class does."""
        return cls(Issuer(one.issuer, one.oid, one.uri) for one in settings.issuers)

    def __iter__(self) -> Iterator[Issuer]:
        return iter(dict.fromkeys(self._known.values()))

    def name(self, name: str) -> str:
        """Return an issuer's text for its text, OID or URI; a name that is not in the table is its own text."""
        known = self._known.get(_plain(name))
        return known.name if known else name.strip()

    def issuer(self, name: str) -> Issuer:
        """Return all names of an issuer."""
        return self._known.get(_plain(name)) or Issuer(name.strip())

    def renamed(self, profile: Profile) -> Profile:
        """Return a region's profile with its issuers by the names that rows are given."""
        named = {
            "issuer_of_patient_id": self.name(profile.issuer_of_patient_id),
            "other_issuers_of_patient_id": tuple(map(self.name, profile.other_issuers_of_patient_id)),
        }
        return profile.model_copy(update=named)

    def stated(self, row: Row) -> str:
        """Return the issuer that a row states, a Universal Entity ID of the table before the text; empty for none."""
        for item in row.get(ISSUER_QUALIFIERS, {}).get("Value") or ():
            known = self._known.get(_plain(text(item or {}, UNIVERSAL_ENTITY_ID)))
            if known:
                return known.name
        return self.name(text(row, ISSUER))


def _plain(name: str) -> str:
    return name.strip().removeprefix(_OID_URI)
