"""What the audit log records, and the protocol by which the rest of the gateway has it recorded."""

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.dataset.patient import PatientIdentifier


class Event(StrEnum):
    """What happened; PS3.15 A.5.3 and IHE BALP have a message for each."""

    SEARCH = "search"
    RETRIEVE_BEGIN = "retrieve-begin"
    RETRIEVE = "retrieve"
    METADATA = "metadata"
    RENDERED = "rendered"
    STORE = "store"
    EXPORT = "export"
    """Instances are released to another organisation's node, such as a Move Destination."""
    IMPORT = "import"
    DENIED = "denied"
    """Who was known and was not allowed: no scope, another patient's token, an unsolicited C-STORE."""
    UNAUTHENTICATED = "unauthenticated"
    """A token or a calling AE title that was not accepted."""
    CONSENT = "consent"
    """A consent directive was applied: outcome "denied" where it withheld something."""
    DIRECTIVE = "directive"
    """A consent directive was placed, changed or revoked."""
    OVERRIDE_START = "override-start"
    OVERRIDE_END = "override-end"
    START = "start"
    STOP = "stop"
    CONFIGURATION = "configuration"
    LOG_READ = "log-read"
    CORRECTION = "correction"
    RETENTION = "retention"
    """The oldest segments of the log were removed, as the configuration has it."""
    RECOVERY = "recovery"
    """The log was found with an unfinished end, and goes on."""


class Outcome(StrEnum):
    """What became of it."""

    SUCCESS = "success"
    PARTIAL = "partial"
    """Something was released, not all that was asked for."""
    DENIED = "denied"
    FAILURE = "failure"


class Record(NamedTuple):
    """One thing that somebody did, or tried; a tuple, since one with so many fields is made for each request.

    Attributes:
        event: what happened.
        outcome: what became of it.
        subject: who acted: the token's subject, or the peer's name.
        issuer: who vouches for the subject: the token's issuer; empty for a DIMSE peer.
        organisation: id of the organisation under whose authority they acted.
        organisation_name: its name, for people.
        person: the person's number at their college or the like, such as "cpso:123".
        roles: their roles.
        purpose: purpose of use, a v3-ActReason code such as TREAT.
        token_id: the token's jti.
        channel: "web", "dimse", "cli", or empty for the gateway itself.
        address: from which network address.
        patients: whose records: identifiers as (issuer, value).
        studies: Study Instance UIDs.
        whose: of each of the studies, the places of its patient's identifiers in ``patients``; empty where all of
            them are of all.
        instances: how many SOP Instances were released or taken in.
        query: what was asked; an attribute value of a patient may be in it, so that it goes nowhere else.
        request_id: as the answer's X-Request-Id has it.
        reason: why it was denied, overridden or failed; the details of an event of the log itself.
        directive: id of the consent directive that decided.
        destination: where instances were sent, when that is not to the caller: an AE title.
    """

    event: Event
    outcome: Outcome = Outcome.SUCCESS
    subject: str = ""
    issuer: str = ""
    organisation: str = ""
    organisation_name: str = ""
    person: str = ""
    roles: tuple[str, ...] = ()
    purpose: str = ""
    token_id: str = ""
    channel: str = ""
    address: str = ""
    patients: tuple[tuple[str, str], ...] = ()
    studies: tuple[str, ...] = ()
    whose: tuple[tuple[int, ...], ...] = ()
    instances: int = 0
    query: str = ""
    request_id: str = ""
    reason: str = ""
    directive: str = ""
    destination: str = ""

    def about(self, identifiers: Collection[tuple[str, str]]) -> "Record":
        """Return what it tells of one patient, by some of her identifiers, and of nobody else."""
        own = {at for at, one in enumerate(self.patients) if one in identifiers}
        studies = self.studies
        if self.whose:
            studies = tuple(
                study for study, whose in zip(studies, self.whose, strict=True) if not own.isdisjoint(whose)
            )
        return self._replace(patients=tuple(self.patients[at] for at in sorted(own)), studies=studies, whose=())


class Auditor(Protocol):
    """Keeps records."""

    async def record(self, record: Record) -> None:
        """Return when the record is on disk; only then may what it tells of be released.

        Raises:
            AuditUnavailable: it cannot be recorded, so nothing may be released.
        """


class Actor(Protocol):
    """Who acts, as far as the log tells of them: what access knows of a caller has it all."""

    @property
    def subject(self) -> str:
        """Who it is."""

    @property
    def issuer(self) -> str:
        """Who vouches for it."""

    @property
    def organisation(self) -> str:
        """Under whose authority it acts."""

    @property
    def organisation_name(self) -> str:
        """The same, for people."""

    @property
    def person(self) -> str:
        """Its registration."""

    @property
    def roles(self) -> Collection[str]:
        """What it is there."""

    @property
    def purpose(self) -> str:
        """What for."""

    @property
    def token_id(self) -> str:
        """By which token."""

    @property
    def channel(self) -> str:
        """Through which face."""

    @property
    def address(self) -> str:
        """From where."""


def record_of(
    actor: Actor,
    event: Event,
    outcome: Outcome = Outcome.SUCCESS,
    *,
    patients: Iterable[PatientIdentifier] = (),
    studies: Iterable[str] = (),
    whose: Iterable[Collection[PatientIdentifier]] = (),
    instances: int = 0,
    query: str = "",
    request_id: str = "",
    reason: str = "",
    directive: str = "",
    destination: str = "",
) -> Record:
    """Make the record of what an actor did; patients and studies are put in order, each once.

    ``whose`` are the patients of each of the studies, where several are told of.
    """
    named, listed = tuple(sorted({(x.issuer, x.value) for x in patients})), list(studies)
    return Record(
        event,
        outcome,
        subject=actor.subject,
        issuer=actor.issuer,
        organisation=actor.organisation,
        organisation_name=actor.organisation_name,
        person=actor.person,
        roles=tuple(sorted(actor.roles)),
        purpose=actor.purpose,
        token_id=actor.token_id,
        channel=actor.channel,
        address=actor.address,
        patients=named,
        studies=tuple(dict.fromkeys(listed)),
        whose=_places(named, listed, whose) if len(named) > 1 else (),
        instances=instances,
        query=query,
        request_id=request_id,
        reason=reason,
        directive=directive,
        destination=destination,
    )


def _places(
    patients: Sequence[tuple[str, str]], studies: Sequence[str], whose: Iterable[Collection[PatientIdentifier]]
) -> tuple[tuple[int, ...], ...]:
    place = {one: at for at, one in enumerate(patients)}
    of: dict[str, tuple[int, ...]] = {}
    for study, theirs in zip(studies, whose, strict=False):
        places = tuple([place[x.issuer, x.value] for x in theirs])  # a page has a thousand of them
        of[study] = places if study not in of else tuple(dict.fromkeys(of[study] + places))
    return tuple(of.values()) if len(of) > 1 else ()


class Recorder:
    """Has what an actor did recorded, in the words of this module."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor

    async def __call__(
        self,
        actor: Actor,
        event: str,
        outcome: str = "success",
        *,
        patients: Iterable[PatientIdentifier] = (),
        studies: Iterable[str] = (),
        whose: Iterable[Collection[PatientIdentifier]] = (),
        instances: int = 0,
        query: str = "",
        request_id: str = "",
        reason: str = "",
        directive: str = "",
        destination: str = "",
    ) -> None:
        """Return once it is recorded.

        Raises:
            AuditUnavailable: it cannot be, so that nothing may be released.
        """
        record = record_of(
            actor,
            Event(event),
            Outcome(outcome),
            patients=patients,
            studies=studies,
            whose=whose,
            instances=instances,
            query=query,
            request_id=request_id,
            reason=reason,
            directive=directive,
            destination=destination,
        )
        await self._auditor.record(record)
