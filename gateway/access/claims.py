"""What a token's claims say, wherever its issuer puts it (ONE ID, IHE IUA, SMART)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gateway.access.principal import Principal, Transaction
from gateway.config.access import TokenIssuer
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import Unauthenticated

Claims: TypeAlias = Mapping[str, Any]

LONGEST: Final = 256
OF_A_PATIENT: Final = "patient/"
"""What begins so is granted for the data of one patient, whom the token has to name (SMART App Launch)."""
_COMPOSITE: Final = re.compile(r"(?P<value>[^^&]+)\^[^^]*\^[^^]*\^(?P<name>[^&^]*)(&(?P<oid>[^&^]*)&ISO)?")
"""HL7 v2 CX, as IUA has a patient: ``value^^^namespace&oid&ISO``."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the claims of one issuer become a principal.

    Attributes:
        issuer: whose they are, and where it says what.
        purpose: what for, where a token does not say.
        provincial: the issuer of a patient's number that names none.
    """

    issuer: TokenIssuer
    purpose: str = "TREAT"
    provincial: str = ""

    def principal(self, claims: Claims) -> Principal:
        """Read the claims of a token that was verified.

        Raises:
            Unauthenticated: it does not say who it is for, or is for one patient whom it does not name.
        """
        paths = self.issuer.claims
        subject = _text(find(claims, paths.subject))
        if not subject:
            raise Unauthenticated("the token names no subject", code="invalid_token")
        granted = frozenset(_texts(find(claims, paths.scopes), split=True))
        patient = self._patient(claims)
        if patient is None and any(scope.startswith(OF_A_PATIENT) for scope in granted):
            raise Unauthenticated("the token is for one patient and does not say for whom", code="invalid_token")
        return Principal(
            subject=subject,
            issuer=self.issuer.issuer,
            organisation=_text(find(claims, paths.organisation)),
            organisation_name=_text(find(claims, paths.organisation_name)),
            person=_text(find(claims, paths.person)),
            roles=frozenset(_texts(find(claims, paths.roles))),
            purpose=_text(find(claims, paths.purpose)) or self.purpose,
            scopes=frozenset(x for x in Transaction if granted.intersection(getattr(self.issuer.scopes, x))),
            patient=patient,
            token_id=_text(claims.get("jti")),
        )

    def _patient(self, claims: Claims) -> PatientIdentifier | None:
        """Return the only patient of a token; one that cannot be read is an error, never the lack of one."""
        value = find(claims, self.issuer.claims.patient)
        if value is None:
            return None
        text = _text(value)
        if composite := _COMPOSITE.fullmatch(text):
            return PatientIdentifier(composite["oid"] or composite["name"] or self._namespace, composite["value"])
        issuer, bar, number = text.rpartition("|")
        number, issuer = number.strip(), (issuer.strip() if bar else self._namespace)
        if not number or not issuer:
            raise Unauthenticated("the token names a patient that cannot be read", code="invalid_token")
        return PatientIdentifier(issuer, number)

    @property
    def _namespace(self) -> str:
        return self.issuer.patient_issuer or self.provincial


def find(claims: Claims, path: str) -> Any:
    """Return what stands at a path, None where there is nothing; a name with dots in it is tried as it is first."""
    if not path:
        return None
    if path in claims:
        return claims[path]
    name, dot, rest = path.partition(".")
    while dot:
        inner = claims.get(name)
        if isinstance(inner, Mapping) and (found := find(inner, rest)) is not None:
            return found
        more, dot, rest = rest.partition(".")
        name = f"{name}.{more}"
    return None


def _text(value: Any) -> str:
    return next(iter(_texts(value)), "")


def _texts(value: Any, *, split: bool = False) -> list[str]:
    """Return the texts of a claim: one, a list of them, or codings, of which the code counts."""
    found: list[str] = []
    for one in value if isinstance(value, list) else [value]:
        text = one.get("code") or one.get("value") if isinstance(one, Mapping) else one
        if isinstance(text, str) and text.strip() and (split or len(text) <= LONGEST):
            found += text.split() if split else [text.strip()]
    return found
