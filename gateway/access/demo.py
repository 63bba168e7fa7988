"""An issuer of tokens for a demonstration: its key is made at its start, and is gone with it."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.access.principal import Transaction
from gateway.config.access import ClaimSettings, TokenIssuer

ISSUER: Final = "demo"
AUDIENCE: Final = "gateway-demo"
COOKIE: Final = "gateway_demo"
LIFETIME_SECONDS: Final = 8 * 3600
"""A day of work: whoever tries the gateway is not sent back for another token."""

READING: Final = (Transaction.SEARCH, Transaction.RETRIEVE, Transaction.RENDERED)


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody to try the gateway as.

    Attributes:
        title: what he is, for people.
        scopes: what he may.
        claims: what else his tokens say.
    """

    title: str
    scopes: tuple[Transaction, ...]
    claims: Mapping[str, str] = field(default_factory=dict)


def roles(issuer_of_patient_id: str, patient_id: str) -> dict[str, Role]:
    """Return who is there, by the name of each; the patient is bound to a number of an issuer."""
    clinic = {"uao": "2.16.840.1.113883.3.239.9:1", "uaoName": "Demonstration Hospital"}
    return {
        "clinician": Role(
            "a radiologist of a hospital", (*READING, Transaction.OVERRIDE), {**clinic, "rid": "cpso:123"}
        ),
        "patient": Role(
            "a patient, who sees her own records only", READING, {"patient": f"{issuer_of_patient_id}|{patient_id}"}
        ),
        "store": Role("a clinic that contributes", (Transaction.STORE,), clinic),
        "privacy": Role("a privacy officer", (Transaction.PRIVACY,), clinic),
        "admin": Role("an operator", (Transaction.ADMIN,), clinic),
    }


class DemoIssuer:
    """Signs tokens with a key that nobody else has; an elliptic one, since they are to be copied by hand."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256", parameters={"use": "sig", "kid": "demo"})

    def settings(self, folder: Path) -> TokenIssuer:
        """Write the public key into a folder, and return how the gateway is told to believe this issuer."""
        path = folder / "demo-issuer.jwks.json"
        path.write_bytes(orjson.dumps({"keys": [self._key.as_dict(private=False)]}))
        claims = ClaimSettings(
            organisation="uao", organisation_name="uaoName", person="rid", roles="roles", patient="patient"
        )
        return TokenIssuer(
            issuer=ISSUER, audiences=(AUDIENCE,), algorithms=("ES256",), jwks_file=str(path), claims=claims
        )

    def token(self, name: str, role: Role) -> str:
        """Sign a token for somebody."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": name,
            "client_id": "demo",
            "roles": [name],
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": uuid.uuid4().hex,
            "scope": " ".join(role.scopes),
            **role.claims,
        }
        return jwt.encode({"alg": "ES256", "kid": self._key.kid, "typ": "at+jwt"}, claims, self._key)
