"""How the gateway names itself in the messages of its feeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class AuditSource:
    """The gateway, as a receiver of audit messages knows it.

    Attributes:
        id: its name: the replica's.
        site: its enterprise or site; may be empty.
        url: under which callers reach it.
        ae_title: its AE title.
        systems: FHIR identifier systems of issuers of Patient IDs, by name.
    """

    id: str
    site: str = ""
    url: str = ""
    ae_title: str = ""
    systems: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def system(self, issuer: str) -> str:
        """Return the identifier system of an issuer (FHIR R4 2.24.0.5); where none is configured, a URN of ours."""
        return self.systems.get(issuer) or (f"urn:gateway:issuer:{issuer}" if issuer else "")
