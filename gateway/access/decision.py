"""The one choke point: every channel asks it before any region is contacted."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, NoReturn, Protocol, TypeAlias

from gateway.access.consents import Reason
from gateway.access.permit import Breaking, Directives, Identities, NoDirectives, NoIdentities, Permit, Recorder
from gateway.access.principal import Principal, Transaction
from gateway.access.rate import Buckets
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import AccessClosed, AccessDenied, RequestError, TooManyRequests, Unauthenticated

Mode: TypeAlias = Literal["closed", "tokens", "open"]

CLOSED: Final = (
    'nobody is let in: the gateway was not told who may. Write [access] mode = "tokens" and the issuers of tokens '
    'into its configuration, or mode = "open" where there is no real patient'
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How often callers may ask, all transactions together; 0 a second sets no limit."""

    subject_per_second: float = 0.0
    subject_burst: int = 1
    organisation_per_second: float = 0.0
    organisation_burst: int = 1


class Overrides(Protocol):
    """Begins overrides."""

    async def override(
        self, principal: Principal, patients: frozenset[PatientIdentifier], reason: Reason, *, request_id: str = ""
    ) -> object:
        """Let a person see a patient's records whatever was directed, for a while; raises AuditUnavailable."""


class Decisions:
    """Decides who may do what.

    Args:
        mode: "closed" lets nobody in, "tokens" those who prove who they are, "open" everybody.
        identities: finds the other identifiers of the patient that a token is bound to.
        directives: what patients have consented to.
        recorder: hears of every denial before it is told.
        limits: how often callers may ask.
        overrides: begins overrides; None where there is nothing to override.
        override_roles: of which a caller has one who overrides.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        identities: Identities | None = None,
        directives: Directives | None = None,
        recorder: Recorder | None = None,
        limits: Limits | None = None,
        overrides: Overrides | None = None,
        override_roles: Collection[str] = (),
    ) -> None:
        limits = limits or Limits()
        self.mode: Final = mode
        self._identities = identities or NoIdentities()
        self._directives = directives or NoDirectives()
        self._recorder = recorder
        self._overrides = overrides
        self._override_roles = frozenset(override_roles)
        self._subjects = Buckets(limits.subject_per_second, limits.subject_burst)
        self._organisations = Buckets(limits.organisation_per_second, limits.organisation_burst)

    async def permit(
        self,
        principal: Principal | None,
        transaction: Transaction,
        *,
        request_id: str = "",
        reason: Reason | None = None,
        address: str = "",
    ) -> Permit:
        """Give leave for a transaction.

        Args:
            principal: the caller; None where it did not say who it is.
            transaction: what it wants to do.
            request_id: of its request.
            reason: why it overrides what patients direct, where it does.
            address: where it calls from, if it did not say who it is.

        Raises:
            AccessClosed: it was not configured who may.
            Unauthenticated: the caller is not known, or its token has not the scope.
            AccessDenied: it may not do this.
            TooManyRequests: it asks too often.
            IdentityUnavailable: whose its token is cannot be found out.
            AuditUnavailable: the denial cannot be recorded.
        """
        if self.mode == "closed":
            await self.deny(AccessClosed(CLOSED), principal, request_id=request_id, address=address)
        if principal is None:
            error = Unauthenticated("who asks? Send a bearer token: Authorization: Bearer ...")
            await self.deny(error, None, request_id=request_id, address=address)
        if self.mode == "tokens":
            self._restrain(principal)
            await self._check(principal, transaction, request_id)
        patients = None
        if principal.patient is not None:
            patients = (await self._identities.everyone([principal.patient]))[principal.patient]
        breaking = None if reason is None else await self._breaking(principal, reason, request_id)
        return Permit(
            principal, transaction, patients, self._directives, self._identities, self._recorder, request_id, breaking
        )

    async def _breaking(self, principal: Principal, reason: Reason, request_id: str) -> Breaking:
        """Return what begins an override, for a caller who may."""
        await self._check(principal, Transaction.OVERRIDE, request_id)
        overrides = self._overrides
        if overrides is None:
            raise RequestError("there are no consent directives here, and nothing to override")
        if not self._override_roles & principal.roles:
            needed = " or ".join(sorted(self._override_roles))
            error = AccessDenied(f"an override is for a person with the role {needed}")
            await self.deny(error, principal, request_id=request_id)

        async def begin(principal: Principal, patients: frozenset[PatientIdentifier]) -> None:
            await overrides.override(principal, patients, reason, request_id=request_id)

        return begin

    async def deny(
        self, error: AccessDenied, principal: Principal | None, *, request_id: str = "", address: str = ""
    ) -> NoReturn:
        """Raise a denial once the audit trail has it."""
        if self._recorder is not None:
            event = "unauthenticated" if principal is None else "denied"
            who = principal or Principal("", address=address)
            await self._recorder(who, event, "denied", request_id=request_id, reason=error.slug)
        raise error

    def _restrain(self, principal: Principal) -> None:
        """Refuse a caller, or an organisation, that asks too often."""
        who = principal.issuer, principal.subject or principal.address
        wait = self._subjects.take(who)
        if not wait and principal.organisation:
            wait = self._organisations.take((principal.issuer, principal.organisation))
        if wait:
            raise TooManyRequests(f"too many requests: ask again in {wait:.1f} s", seconds=wait)

    async def _check(self, principal: Principal, transaction: Transaction, request_id: str) -> None:
        if transaction not in principal.scopes:
            lacks = _of_token if principal.channel == "web" else _of_peer
            await self.deny(lacks(transaction), principal, request_id=request_id)
        if transaction is Transaction.STORE and principal.patient is not None:
            error = AccessDenied("a token that is bound to one patient stores nothing")
            await self.deny(error, principal, request_id=request_id)


def _of_token(transaction: Transaction) -> AccessDenied:
    # IHE ITI TF-2 3.72 wants 401 where RFC 6750 would take 403.
    text = f"the token does not have the scope {transaction}"
    return Unauthenticated(text, code="insufficient_scope", scope=transaction)


def _of_peer(transaction: Transaction) -> AccessDenied:
    return AccessDenied(f"not among the services of this peer's profile: {transaction}")
