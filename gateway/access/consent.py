"""What patients have directed, and who may see it nevertheless: the directives that every decision asks for."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

import orjson

from gateway.access.consents import ACTIVE, INACTIVE, REASONS, Consent, Override, Reason, applying
from gateway.access.database import ConsentDatabase, Letter
from gateway.access.directive import Rule, decisive
from gateway.access.index import Index
from gateway.access.permit import Block, Recorder, StudyKey
from gateway.access.principal import Principal
from gateway.alongside import alongside
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import AuditUnavailable, ConsentUnavailable, RequestError
from gateway.events import Event, Observer, unobserved

NOTICE: Final = "a consent directive of the patient withholds records"
"""The only thing that a caller is told; it has to fit Error Comment (0000,0902)."""
BY_DEFAULT: Final = "default"
"""The level of a block that no directive has asked for."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What goes for all patients.

    Attributes:
        default: what counts where a patient has directed nothing that applies.
        disclosure: whether a caller learns that something is withheld.
        override_seconds: how long an override lasts.
        poll_seconds: how often it is looked whether another process has changed something.
        stale_seconds: how long it may not be known before nothing is released.
    """

    default: Literal["permit", "deny"] = "permit"
    disclosure: Literal["notice", "silent"] = "notice"
    override_seconds: float = 14400.0
    poll_seconds: float = 1.0
    stale_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class ConsentsUnread(Event):
    """It cannot be read what patients have directed; it is tried again all the time.

    Attributes:
        why: for who can mend it.
        stale_seconds: how long it may last before nothing is released.
    """

    why: str
    stale_seconds: float


@dataclass(frozen=True, slots=True)
class ConsentsRead(Event):
    """It can be read again what patients have directed."""


class Documents(Protocol):
    """Writes FHIR resources of what did not come as one."""

    def override(self, patient: PatientIdentifier, override: Override) -> Mapping[str, Any]:
        """Write an override as a Consent without id and meta."""


class Consents:
    """The consents of a database, enforced as they are now.

    Args:
        database: keeps them.
        documents: writes overrides as FHIR resources.
        recorder: hears of every change before it is made; None where nobody does.
        observe: hears when the database cannot be read.
        clock: seconds since the epoch.
    """

    active: Final = True

    def __init__(
        self,
        database: ConsentDatabase,
        policy: Policy,
        documents: Documents,
        *,
        recorder: Recorder | None = None,
        observe: Observer = unobserved,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._policy = policy
        self._documents = documents
        self._recorder = recorder
        self._observe = observe
        self._clock = clock
        self._index = Index()
        self._seq = 0
        self._opened = database.opened
        self._known_at = float("-inf")
        self._unread = ""
        self._overriding_one = asyncio.Lock()
        self._syncing = asyncio.Lock()
        self._notice = NOTICE if policy.disclosure == "notice" else ""
        self.posted = asyncio.Event()
        """Set when there is a letter to send."""

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def fault(self) -> str:
        """Why nothing is released; empty where something is."""
        if time.monotonic() - self._known_at <= self._policy.stale_seconds:
            return ""
        return self._unread or "the consent database does not answer: see that it runs. Until then nothing is released"

    # --- decisions

    @property
    def generation(self) -> int:
        """Another number whenever what was decided before may no longer hold."""
        return self._index.generation

    def blocked(self, principal: Principal, patients: frozenset[PatientIdentifier], study: StudyKey) -> Block | None:
        """Return why a study of a patient is withheld from a caller, None where it is not.

        Raises:
            ConsentUnavailable: it has not been known for too long what patients direct.
        """
        self._check_known()
        permitted = self._policy.default == "permit"
        others = self._of_others(patients, study)
        if permitted and not others and not self._index.concerns(patients):
            return None
        now, consents = self._clock(), list(self._index.of(patients))
        if self._is_overridden(principal, now, consents, others):
            return None
        chosen = decisive(applying(consents, principal, study, now))
        if chosen is None and not permitted:
            return Block(BY_DEFAULT, notice=self._notice)
        if chosen is None or chosen.rule.effect == "permit":
            chosen = decisive(applying(others, principal, study, now))
        if chosen is None or chosen.rule.effect == "permit":
            return None
        return Block(chosen.rule.level, chosen.consent, self._notice)

    def _of_others(self, patients: frozenset[PatientIdentifier], study: StudyKey) -> list[Consent]:
        """Return what is directed about a study for a patient whose it is not, as far as anybody knows.

        A region may hold it under a number that the identity source does not know to be hers. What she has directed
        about the study itself holds all the same; yet it opens nothing that its patient has not opened.
        """
        naming = self._index.naming(study.study_instance_uid)
        return [one.about(study.study_instance_uid) for one in naming if one.patient not in patients]

    def _is_overridden(
        self, principal: Principal, now: float, consents: Collection[Consent], others: Collection[Consent]
    ) -> bool:
        """Whether the caller overrides what its patient directs, or who else has directed something about a study."""
        overrides = [*consents, *(self._index.of({one.patient for one in others}) if others else ())]
        return any(one.override is not None and one.override.permits(principal, now) for one in overrides)

    @property
    def selective(self) -> bool:
        """Whether anybody has directed something about a single document."""
        return self._index.selective

    def hidden(
        self, principal: Principal, patients: frozenset[PatientIdentifier], study: StudyKey
    ) -> Mapping[str, Block]:
        """Return why documents of a study are withheld though the study is not, by their SOP Instance UID.

        Raises:
            ConsentUnavailable: it has not been known for too long what patients direct.
        """
        self._check_known()
        now, consents, others = self._clock(), list(self._index.of(patients)), self._of_others(patients, study)
        named = {rule.document for one in (*consents, *others) for rule in one.rules if rule.document}
        if not named or self._is_overridden(principal, now, consents, others):
            return {}
        found: dict[str, Block] = {}
        for document in named:
            for directing in (consents, others):
                chosen = decisive(applying(directing, principal, study, now, document))
                if chosen is not None and chosen.rule.document and chosen.rule.effect == "deny":
                    found[document] = Block(chosen.rule.level, chosen.consent, self._notice)
        return found

    def _check_known(self) -> None:
        if self.fault():
            raise ConsentUnavailable("what patients have directed cannot be read: nothing is released")

    # --- changes

    async def place(
        self, actor: Principal, patient: PatientIdentifier, rules: Sequence[Rule], document: Mapping[str, Any],
        *, status: str = ACTIVE, request_id: str = "",
    ) -> Consent:  # fmt: skip
        """Take in what a patient directs.

        Raises:
            AuditUnavailable: it cannot be recorded, and is not taken.
            ConsentUnavailable: it cannot be kept.
        """
        made = Consent(_new_id(), 1, status, patient, self._clock(), document, tuple(rules))
        await self._record(actor, made, f"placed: none before, version 1 ({status}) after", request_id)
        await self._keep(made)
        return made

    async def change(
        self, actor: Principal, known: Consent, *, status: str, rules: Sequence[Rule] | None = None,
        document: Mapping[str, Any] | None = None, request_id: str = "",
    ) -> Consent:  # fmt: skip
        """Put a new version in the place of a known one; an override can only be ended.

        Raises:
            VersionConflict: it was changed meanwhile.
            AuditUnavailable: the change cannot be recorded, and is not made.
        """
        if known.override is not None and (known.status != ACTIVE or status != INACTIVE or rules):
            raise RequestError('an override cannot be changed, only ended: send it back with "status": "inactive"')
        changed = replace(
            known,
            version=known.version + 1,
            status=status,
            updated_at=self._clock(),
            rules=known.rules if rules is None else tuple(rules),
            document={**(known.document if document is None else document), "status": status},
        )
        before, after = f"version {known.version} ({known.status})", f"version {changed.version} ({status})"
        await self._record(actor, changed, f"changed: {before} before, {after} after", request_id)
        await self._keep(changed, replaces=known.version)
        return changed

    async def get(self, consent: str, version: int | None = None) -> Consent:
        """Return a consent; raises NotFound."""
        return await self._database.get(consent, version)

    async def of(self, patients: Collection[PatientIdentifier]) -> list[Consent]:
        """Return all consents of a patient, by any of the identifiers, the oldest first."""
        return await self._database.of(patients)

    # --- overrides

    async def override(
        self, principal: Principal, patients: frozenset[PatientIdentifier], reason: Reason, *,
        ends: float | None = None, request_id: str = "",
    ) -> Consent:  # fmt: skip
        """Let a person see a patient's records whatever was directed, for a while; who may is decided before.

        One that lasts is not begun anew.

        Raises:
            AuditUnavailable: it cannot be recorded, and does not begin.
        """
        async with self._overriding_one:
            if self._lasting(principal, patients) is None:
                await self.refresh()  # it may have begun a moment ago at another replica
            if known := self._lasting(principal, patients):
                return await self.get(known.id)
            now = self._clock()
            latest = now + self._policy.override_seconds
            made = self._overriding(principal, min(patients), reason, now, min(latest, ends or latest))
            told = f"{REASONS[reason]}, until {_moment(made.ends)}"
            who = replace(principal, purpose="BTG")
            await self._tell(who, "override-start", patients, made.id, told, request_id)
            await self._keep(made, letter=_letter("override-start", made))
        return made

    def _lasting(self, principal: Principal, patients: Collection[PatientIdentifier]) -> Consent | None:
        """Return an override of a caller's own that lasts, if there is one."""
        now = self._clock()
        mine = (x for x in self._index.of(patients) if x.override is not None and x.override.permits(principal, now))
        return next(mine, None)

    def _overriding(
        self, principal: Principal, patient: PatientIdentifier, reason: Reason, now: float, ends: float
    ) -> Consent:
        who = principal.issuer, principal.subject, principal.organisation, principal.organisation_name
        override = Override(reason, *who, principal.person, now, ends)
        document = self._documents.override(patient, override)
        return Consent(_new_id(), 1, ACTIVE, patient, now, document, override=override)

    async def _end(self) -> None:
        """Tell of the overrides that have ended."""
        for ended in await self._database.claim_ends(self._clock()):
            if ended.override is not None:
                why = "it was ended" if ended.status != ACTIVE else "its time is over"
                await self._tell(ended.override.principal, "override-end", [ended.patient], ended.id, why, "")
                await self._database.told_end(ended.id, _letter("override-end", ended))
                self.posted.set()

    # --- keeping up

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Know the consents, and what others change of them, as long as the context lasts.

        Raises:
            ConsentUnavailable: they cannot be read.
        """
        await self.refresh()
        async with alongside(self._follow()):
            yield

    async def refresh(self) -> None:
        """Take over what was changed elsewhere, and what the time has changed."""
        async with self._syncing:  # or what was read before a change of ours would be taken after it
            began = time.monotonic()
            changed, last = await self._database.since(self._seq)
            if self._opened != self._database.opened or last < self._seq:
                # Another server has taken over, or a backup was put back: what it knows may be less.
                self._opened, self._seq = self._database.opened, 0
                changed, last = await self._database.since(0)
            if self._seq == 0 and (changed or len(self._index)):
                whole = Index()
                await asyncio.to_thread(whole.take, changed, self._clock())  # a second, for 100,000
                whole.generation = self._index.generation + 1
                self._index = whole
            else:
                self._index.take(changed, self._clock())
            self._seq, self._known_at = last, began
        self._index.turn(self._clock())

    async def _follow(self) -> None:
        while True:
            try:
                await self.refresh()
                self._note("")
                await self._end()
            except ConsentUnavailable as error:
                self._note(str(error))
                self._index.generation += 1  # what is under way decides again, and finds that it cannot
            except AuditUnavailable:
                self._index.generation += 1
            await asyncio.sleep(self._policy.poll_seconds)

    def _note(self, unread: str) -> None:
        """Tell when it begins that nothing can be read, and when it ends."""
        if bool(unread) != bool(self._unread):
            self._observe(ConsentsUnread(unread, self._policy.stale_seconds) if unread else ConsentsRead())
        self._unread = unread

    async def _keep(self, consent: Consent, *, replaces: int = 0, letter: Letter | None = None) -> None:
        """Have it on disk, then in force."""
        async with self._syncing:
            await self._database.put(consent, replaces=replaces, letter=letter)
            self._index.take([consent], self._clock())
        if letter is not None:
            self.posted.set()

    async def _record(self, actor: Principal, consent: Consent, told: str, request_id: str) -> None:
        await self._tell(actor, "directive", [consent.patient], consent.id, told, request_id)

    async def _tell(
        self, who: Principal, event: str, patients: Collection[PatientIdentifier], consent: str, told: str,
        request_id: str,
    ) -> None:  # fmt: skip
        if self._recorder is not None:
            await self._recorder(who, event, patients=patients, reason=told, directive=consent, request_id=request_id)


def _new_id() -> str:
    return secrets.token_hex(16)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _letter(event: str, consent: Consent) -> Letter:
    """Write what the organisation has to hear of an override."""
    override = consent.override
    if override is None:
        raise TypeError("only an override is told of")
    body = {
        "event": event,
        "consent": consent.id,
        "organisation": override.organisation,
        "organisationName": override.organisation_name,
        "subject": override.subject,
        "issuer": override.issuer,
        "person": override.person,
        "patient": {"issuer": consent.patient.issuer, "value": consent.patient.value},
        "reason": override.reason,
        "begins": _moment(override.begins),
        "ends": _moment(min(override.ends, consent.updated_at) if consent.status != ACTIVE else override.ends),
    }
    return Letter(f"{consent.id}-{event}", orjson.dumps(body))
