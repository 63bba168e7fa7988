"""Store transactions: what comes in is checked, routed, and brought to its regions or safely queued (PS3.18 10.5)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.alongside import alongside
from gateway.config.settings import StoreSettings
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.uid import is_uid
from gateway.errors import ConfigError, Inadmissible, QueueFull
from gateway.events import Observer, unobserved
from gateway.federation.admission import SOP_CLASS, SOP_INSTANCE, STUDY, Admission, Announced, Owners, required_keys
from gateway.federation.delivery import Courier, Decode, Outcome, Parcel, State, Target
from gateway.federation.issuers import Issuers
from gateway.federation.routing import Routing, Source
from gateway.spool.ledger import Kept
from gateway.spool.queue import Queue

QUEUED: Final = 0xBF00
PARTIAL: Final = 0xBF01
"""Warning Reasons of ours: the instance is safe but waits for a region; only some of its regions have it."""

OUT_OF_RESOURCES: Final = 0xA700
_NOT_YET: Final = Outcome(State.LATER, OUT_OF_RESOURCES, "timeout", "it did not take the instance in time")


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of one instance.

    Attributes:
        sop_class_uid: as far as it is known, like the other UIDs.
        status: 0, or why it was not taken: a DIMSE status, Failure Reason of PS3.18 Table I.2-1.
        warning: Warning Reason, None where nothing is to be said.
        delivered: regions that have it.
        queued: regions that it will be brought to, whatever happens to the gateway.
        missing: regions that do not have it and will not.
        detail: for people; without any value of the patient's.
        full: it was not taken for want of room.
        patients: whose it is, for the audit trail; nobody where that is not known.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    status: int = 0
    warning: int | None = None
    delivered: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    detail: str = ""
    full: bool = False
    patients: frozenset[PatientIdentifier] = field(default=frozenset(), repr=False)

    @property
    def stored(self) -> bool:
        """Whether its sender may forget it."""
        return self.status == 0


@dataclass(slots=True)
class _Taken:
    """An instance that is on the disk.

    Attributes:
        patients: whose it is.
        queued: regions that the queue brings it to; while there are any, the file is the queue's.
    """

    kept: Kept
    regions: tuple[str, ...]
    patients: frozenset[PatientIdentifier]
    parcels: dict[str, Parcel] = field(default_factory=dict)
    queued: tuple[str, ...] = ()

    def outcome(self, region: str) -> Outcome:
        """Return what became of it at a region by now."""
        parcel = self.parcels.get(region)
        if parcel is None or not parcel.outcome.done() or parcel.outcome.cancelled():
            return _NOT_YET
        return parcel.outcome.result()

    @property
    def later(self) -> tuple[str, ...]:
        """The regions that may have it later."""
        return tuple(region for region in self.regions if self.outcome(region).state is State.LATER)

    def result(self, unkept: str) -> StoreResult:
        """Tell what became of it; what is unkept is so for the reason given."""
        outcomes = {region: self.outcome(region) for region in self.regions}
        delivered = {x: outcome for x, outcome in outcomes.items() if outcome.state is State.DELIVERED}
        missing = {x: outcome for x, outcome in outcomes.items() if x not in delivered and x not in self.queued}
        taken = bool(delivered or self.queued)
        warnings = [PARTIAL] * bool(missing) + [QUEUED] * bool(self.queued)
        warnings += [outcome.status for outcome in delivered.values() if outcome.status]
        texts = [
            f"{region}: {outcome.reason}" for region, outcome in {**missing, **delivered}.items() if outcome.reason
        ]
        texts += [f"waits in the queue for {', '.join(self.queued)}"] * bool(self.queued)
        kept = self.kept
        return StoreResult(
            *(kept.sop_class_uid, kept.sop_instance_uid, kept.study_instance_uid, kept.series_instance_uid),
            status=0 if taken else next(outcome.status for outcome in missing.values()),
            warning=warnings[0] if taken and warnings else None,
            delivered=tuple(delivered),
            queued=self.queued,
            missing=tuple((region, outcome.slug) for region, outcome in missing.items()),
            detail="; ".join([*texts, unkept] if unkept else texts),
            full=not taken and all(outcome.state is State.LATER for outcome in missing.values()),
            patients=self.patients,
        )


@dataclass(frozen=True, slots=True)
class Aside:
    """Bytes on the disk that are no instance yet.

    Attributes:
        file: the name of their file.
        size: how many they are.
    """

    file: str
    size: int


class Intake:
    """The instances of one request or association, taken in together or one by one."""

    def __init__(
        self,
        source: Source,
        study: str,
        admission: Admission,
        routing: Routing,
        owners: Owners,
        couriers: dict[str, Courier],
        queue: Queue,
        settings: StoreSettings,
    ) -> None:
        self._source = source
        self._study = study
        self._admission = admission
        self._routing = routing
        self._owners = owners
        self._couriers = couriers
        self._queue = queue
        self._settings = settings
        self._entries: list[_Taken | StoreResult] = []
        self._asides: list[Aside] = []

    async def take(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, fragments: AsyncIterator[memoryview]
    ) -> StoreResult:
        """Take one instance in and return what became of it; what is not read of a refused one is the caller's.

        Raises what the fragments do; nothing of the instance stays then.
        """
        await self.accept(sop_class_uid, sop_instance_uid, transfer_syntax_uid, fragments)
        return (await self.settle())[-1]

    async def accept(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, fragments: AsyncIterator[memoryview]
    ) -> None:
        """Write one instance to the disk, to be brought to its regions by ``settle``, or not at all.

        UIDs that are not known beforehand are empty. Raises what the fragments do.
        """
        announced = Announced(sop_class_uid, sop_instance_uid, transfer_syntax_uid, self._study)
        found = {SOP_CLASS: sop_class_uid, SOP_INSTANCE: sop_instance_uid}
        kept: Kept | None = None
        try:
            kept, traits = await self._admission.admit(announced, fragments, self._source, found)
            regions = self._routing.regions(traits)
            self._entries.append(_Taken(kept, regions, self._owners.of(found, regions, self._source.issuer)))
        except Inadmissible as error:
            if kept is not None:
                self._queue.forget(kept.file)
            self.refuse(error, found)
        except QueueFull as error:
            self.refuse(error, found)

    async def aside(self, fragments: AsyncIterator[memoryview]) -> "Aside":
        """Write bytes to the disk, of which instances will be made, for as long as the intake lasts.

        Raises:
            QueueFull: there is no room for them.
        """
        arrival = self._queue.arrive()
        try:
            async for fragment in fragments:
                await arrival.write(fragment)
            await arrival.finish()
        except BaseException:
            arrival.discard()
            raise
        self._queue.account(arrival.size)
        self._asides.append(Aside(arrival.file, arrival.size))
        return self._asides[-1]

    def read(self, aside: "Aside") -> AsyncIterator[bytes]:
        """Yield what was put aside."""
        return self._queue.read(aside.file)

    def refuse(self, error: Inadmissible | QueueFull, found: dict[str, str] | None = None) -> None:
        """Note an instance that is not taken, with what is known of it."""
        sop_class, sop_instance, study = (
            uid if is_uid(uid) else ""
            for uid in ((found or {}).get(key, "") for key in (SOP_CLASS, SOP_INSTANCE, STUDY))
        )
        status = error.status if isinstance(error, Inadmissible) else error.dimse_status
        full = isinstance(error, QueueFull)
        patients = self._owners.of(found or {}, (), self._source.issuer)
        self._entries.append(
            StoreResult(sop_class, sop_instance, study, status=status, detail=str(error), full=full, patients=patients)
        )

    async def settle(self) -> list[StoreResult]:
        """Bring what was accepted since the last time to its regions, and return what became of each, in order."""
        taken = [entry for entry in self._entries if isinstance(entry, _Taken)]
        if self._settings.answer == "delivered":
            await self._deliver(taken)
        unkept = await self._keep(taken)
        results = [entry if isinstance(entry, StoreResult) else self._result(entry, unkept) for entry in self._entries]
        self._entries.clear()
        return results

    async def _deliver(self, taken: Sequence[_Taken]) -> None:
        """Give each instance one attempt at each of its regions, as long as an answer may wait."""
        for entry in taken:
            entry.parcels = {region: self._couriers[region].send(entry.kept) for region in entry.regions}
        waiting = [parcel.outcome for entry in taken for parcel in entry.parcels.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=self._settings.answer_seconds)

    async def _keep(self, taken: Sequence[_Taken]) -> str:
        """Have the queue bring what is not delivered to its regions; return why it cannot, if so."""
        if not self._queue.durable:
            return ""
        rest = [(entry, later) for entry in taken if (later := entry.later)]
        for parcel in (entry.parcels[region] for entry, later in rest for region in later if region in entry.parcels):
            parcel.is_kept = True
        try:
            await self._queue.keep([(entry.kept, later) for entry, later in rest])
        except QueueFull as error:
            return str(error)
        for entry, later in rest:
            entry.queued = later
            for region in set(later).difference(entry.later):  # delivered or refused meanwhile
                await self._queue.delivered(entry.kept, region)
        for courier in self._couriers.values():
            courier.wake()
        return ""

    def _result(self, entry: _Taken, unkept: str) -> StoreResult:
        if not entry.queued:
            self._give_up(entry)
        return entry.result(unkept)

    def _give_up(self, entry: _Taken) -> None:
        """Leave nothing of an instance that is not in the queue; a delivery under way reads on from its open file."""
        for parcel in entry.parcels.values():
            parcel.outcome.cancel()
        self._queue.forget(entry.kept.file)

    def close(self) -> None:
        """Drop what was never settled: its sender was told nothing."""
        for entry in self._entries:
            if isinstance(entry, _Taken) and not entry.queued:
                self._give_up(entry)
        self._entries.clear()
        for aside in self._asides:
            self._queue.forget(aside.file)


class FederatedStore:
    """Takes instances in for the regions; a context as long as it delivers."""

    def __init__(
        self,
        regions: Sequence[Target],
        settings: StoreSettings,
        queue: Queue,
        observer: Observer = unobserved,
        decode: Decode | None = None,
        *,
        issuers: Issuers = Issuers(),  # noqa: B008 - nothing changes it
    ) -> None:
        """Check the settings against the regions.

        Args:
            regions: where instances can go.
            settings: where they go, and when an answer is given.
            queue: where they are until then.
            observer: is told of what happens.
            decode: decompresses what a region takes in no other way; without it, that is refused.
            issuers: by which names the audit trail has those of Patient IDs.

        Raises:
            ConfigError: they do not fit.
        """
        if settings.answer == "durable" and not queue.durable:
            raise ConfigError('"store.answer" cannot be "durable" while "store.folder" is empty: name a folder')
        self._settings = settings
        self._queue = queue
        self._routing = Routing(settings, [region.profile.name for region in regions])
        self._owners = Owners(issuers, {region.profile.id: region.profile.namespace for region in regions})
        self._admission = Admission(queue, required_keys(settings), settings.max_part_bytes)
        self._couriers = {region.profile.id: Courier(region, queue, settings, observer, decode) for region in regions}

    @property
    def queue(self) -> Queue:
        """What was taken in and is not delivered yet."""
        return self._queue

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FederatedStore"]:
        """Deliver what waits, and what comes, as long as the context lasts."""
        try:
            self._queue.open()
            async with alongside(*(courier.run() for courier in self._couriers.values())):
                yield self
        finally:
            await self._queue.aclose()

    @asynccontextmanager
    async def intake(self, source: Source, *, study: str = "") -> AsyncIterator[Intake]:
        """Take instances in as long as the context lasts.

        Args:
            source: who brings them.
            study: Study Instance UID that they all must have, if any.
        """
        ways = self._admission, self._routing, self._owners, self._couriers
        intake = Intake(source, study, *ways, self._queue, self._settings)
        try:
            yield intake
        finally:
            intake.close()
