"""Who asks, as far as the pages of one search have to be kept apart from those of another."""

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from starlette.types import Scope

from gateway.web.authentication import PRINCIPAL

if TYPE_CHECKING:
    from gateway.access.principal import Principal
    from gateway.dataset.patient import PatientIdentifier


def caller(scope: Scope) -> str:
    """Return a digest of the caller, and of its address and Authorization field where nobody says who it is.

    One subject acts for one organisation or another, and what it may see differs.
    """
    principal: Principal | None = scope.get(PRINCIPAL)
    if principal is not None and principal.issuer:
        who = principal.issuer, principal.subject, principal.organisation, principal.purpose
        return _digest(who, principal.patient, principal.roles)
    digest = blake2b(digest_size=16)
    client = scope.get("client") or ("",)
    digest.update(str(client[0]).encode())
    for name, value in scope["headers"]:
        if name == b"authorization":
            digest.update(b"\0" + value)
    return digest.hexdigest()


@lru_cache(maxsize=1000)
def _digest(who: tuple[str, ...], patient: "PatientIdentifier | None", roles: frozenset[str]) -> str:
    digest = blake2b(digest_size=16)
    for part in who:
        digest.update(part.encode() + b"\0")
    digest.update(repr((patient, sorted(roles))).encode())
    return digest.hexdigest()
