"""Bringing instances to one region: those that came just now, and those that wait in the queue."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final, Protocol, TypeAlias

from gateway.config.settings import StoreSettings
from gateway.dataset.sink import Buffer
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, transfer_syntax
from gateway.deadline import Deadline
from gateway.errors import (
    Busy,
    DatasetError,
    DimseFailure,
    GatewayError,
    LimitExceeded,
    Loop,
    NotAcceptable,
    NotStorable,
    OpenCircuit,
    QueueFull,
    Refused,
    Rejected,
    Saturated,
    SpoolDamaged,
    Unreachable,
    WorkFailed,
)
from gateway.events import DeliveryQuarantined, Observer, RegionOperation
from gateway.federation.duplicate import HAD_IT, HELD, Searchable, settled
from gateway.hops import read_via
from gateway.region.profile import Profile
from gateway.region.storing import TRANSFER_SYNTAX_NOT_SUPPORTED, Outgoing
from gateway.spool.ledger import Delivery, Kept
from gateway.spool.queue import Queue
from gateway.wire.status import DUPLICATE_SOP_INSTANCE

POLL_SECONDS: Final = 1.0
"""How soon the command line's changes to the queue are seen."""
BATCH: Final = 64
CONNECT_SECONDS: Final = 30.0
MOST_DECODED: Final = 256 << 20
"""Bytes of a compressed instance that is held to be decoded."""

Decode: TypeAlias = Callable[[bytes, str, str], Awaitable[bytes]]
"""Turns a Data Set from one Transfer Syntax into another, in a worker process; raises GatewayError."""

_OUT_OF_RESOURCES: Final = 0xA700
_PASSING: Final = frozenset({0x0110, 0x0210, 0x0213})
_DOWN: Final = (Refused, Unreachable, Rejected, Busy, OpenCircuit, Saturated)


class Target(Searchable, Protocol):
    """What is asked of a region, beside a search for what it may have already."""

    async def store(self, instance: Outgoing, deadline: Deadline, *, stall_seconds: float) -> int:
        """Have the region keep an instance, and return the status."""


class State(Enum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt.

    Attributes:
        state: whether the region has the instance, will never have it, or may have it later.
        status: the DIMSE status: Success or a Warning, or why not.
        slug: "complete", or that of the error.
        reason: for people.
        comment: the region's own words, which may name a patient: for the queue, and for nobody who asks.
        down: the region takes nothing at all.
    """

    state: State
    status: int
    slug: str = "complete"
    reason: str = ""
    comment: str = ""
    down: bool = False

    @property
    def code(self) -> str:
        """What observers hear beside the slug: why it failed, or that the region had the instance."""
        if self.status == HELD:
            return f"{DUPLICATE_SOP_INSTANCE:04X}"
        return f"{self.status:04X}" if self.slug == "failed" else ""

    @property
    def told(self) -> str:
        """What the queue keeps of it."""
        return f"{self.reason}: {self.comment}" if self.comment else self.reason


@dataclass(slots=True, eq=False)
class Parcel:
    """An instance whose sender waits for the outcome.

    Attributes:
        is_kept: it is in the queue as well, by now.
        sent_at: when it was handed in, on the monotonic clock.
    """

    kept: Kept
    outcome: "asyncio.Future[Outcome]"
    sent_at: float
    is_kept: bool = False


@dataclass(slots=True)
class _Pause:
    """How long a region that takes nothing is left alone."""

    first: float
    longest: float
    failures: int = 0
    until: float = 0.0
    began: float = 0.0
    outcome: Outcome | None = None

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def begin(self, outcome: Outcome | None = None) -> None:
        self.began, self.outcome = time.monotonic(), outcome
        self.until = self.began + backoff(self.first, self.longest, self.failures)
        self.failures += 1

    def end(self) -> None:
        self.failures, self.until, self.outcome = 0, 0.0, None


class Courier:
    """Brings instances to one region, a few at a time."""

    def __init__(
        self, region: Target, queue: Queue, settings: StoreSettings, observer: Observer, decode: Decode | None = None
    ) -> None:
        self._region = region
        self._name = region.profile.id
        self._queue = queue
        self._settings = settings
        self._observer = observer
        self._decode = decode
        self._jobs: asyncio.Queue[Parcel | Delivery] = asyncio.Queue()
        self._under_way: set[str] = set()
        self._pause = _Pause(settings.retry_seconds, settings.longest_retry_seconds)
        self._news = asyncio.Event()

    def send(self, kept: Kept) -> Parcel:
        """Try to deliver an instance once, as soon as its turn comes."""
        parcel = Parcel(kept, asyncio.get_running_loop().create_future(), time.monotonic())
        self._under_way.add(kept.file)
        self._jobs.put_nowait(parcel)
        return parcel

    def wake(self) -> None:
        """Look into the queue at once."""
        self._news.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_at_once(self._region.profile, self._settings.associations)):
                group.create_task(self._work())
            if self._queue.durable:
                group.create_task(self._fetch())

    # --- what waits

    async def _fetch(self) -> None:
        """Hand on what is due, a batch after the other."""
        version = 0
        while True:
            self._news.clear()
            with suppress(QueueFull):
                version, former = await self._queue.version(), version
                if version != former:
                    self._pause.until = 0.0
                await self._hand_on()
                await self._queue.remember()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._news.wait()

    async def _hand_on(self) -> None:
        if not self._pause.over or not self._jobs.empty():
            return
        longest = 2 * self._settings.longest_retry_seconds
        for delivery in await self._queue.due(self._name, longest=longest, limit=BATCH):
            if delivery.kept.file not in self._under_way:
                self._under_way.add(delivery.kept.file)
                self._jobs.put_nowait(delivery)

    # --- one after the other

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                await (self._parcel(job) if isinstance(job, Parcel) else self._delivery(job))
            except QueueFull:
                self._pause.begin()  # the ledger cannot be written: what is in it is tried again, which harms nothing
            except Exception as error:  # noqa: BLE001 - a defect ends one delivery, not the courier
                report = {"message": "a delivery failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(report)
                self._pause.begin()
            finally:
                self._under_way.discard(job.kept.file)
                if isinstance(job, Parcel):
                    job.outcome.cancel()  # unless it is told
                if self._jobs.empty() and self._pause.over:
                    self._news.set()

    async def _parcel(self, parcel: Parcel) -> None:
        if parcel.outcome.cancelled():
            return
        told = self._pause.outcome  # one attempt tells for all that were handed in before it
        known = told is not None and self._pause.began >= parcel.sent_at
        outcome = told if told is not None and known else await self._attempt(parcel.kept)
        if not parcel.outcome.done():
            parcel.outcome.set_result(outcome)
        if parcel.is_kept and outcome.state is State.DELIVERED:
            await self._queue.delivered(parcel.kept, self._name)

    async def _delivery(self, delivery: Delivery) -> None:
        if not self._pause.over:
            return
        outcome = await self._attempt(delivery.kept)
        if outcome.state is State.DELIVERED:
            await self._queue.delivered(delivery.kept, self._name)
        elif outcome.state is State.REFUSED:
            self._observer(DeliveryQuarantined(self._name, outcome.status))
            await self._queue.quarantine(delivery, outcome.told)
        else:
            settings = self._settings
            wait = backoff(settings.retry_seconds, settings.longest_retry_seconds, delivery.attempts)
            await self._queue.postpone(delivery, time.time() + wait, outcome.told)

    async def _attempt(self, kept: Kept) -> Outcome:
        """Deliver an instance; note what that says of the region."""
        began = time.monotonic()
        try:
            status = await self._store(kept)
            outcome = Outcome(State.DELIVERED, status, reason=HAD_IT if status == HELD else "")
            self._queue.note(kept, self._name)
        except GatewayError as error:
            outcome = judged(error)
        except OSError as error:  # the file: dropped from the command line, or damaged
            outcome = Outcome(
                State.LATER, _OUT_OF_RESOURCES, "unreadable", f"its file cannot be read ({error.strerror})"
            )
        self._observer(
            RegionOperation(
                self._name,
                "store",
                outcome.slug,
                time.monotonic() - began,
                int(outcome.slug == "complete"),
                size=kept.size if outcome.slug == "complete" else 0,
                code=outcome.code,
            )
        )
        if outcome.down:
            self._pause.begin(outcome)
        else:
            self._pause.end()
        return outcome

    async def _store(self, kept: Kept) -> int:
        """Store an instance as it is; decoded, where the region takes it in no other way."""
        try:
            return await self._send(kept, kept.transfer_syntax_uid, partial(self._queue.read, kept.file, kept.digest))
        except NotStorable as refusal:
            decoded = await self._decoded(kept, refusal)
        return await self._send(kept, EXPLICIT_VR_LE, partial(_once, decoded))

    async def _send(self, kept: Kept, transfer_syntax_uid: str, data: Callable[[], AsyncIterator[Buffer]]) -> int:
        uids = kept.sop_class_uid, kept.sop_instance_uid, transfer_syntax_uid
        outgoing = Outgoing(*uids, data, read_via(kept.origin))
        deadline = Deadline.after(CONNECT_SECONDS)
        try:
            return await self._region.store(outgoing, deadline, stall_seconds=self._settings.stall_seconds)
        except DimseFailure as error:
            if error.status != DUPLICATE_SOP_INSTANCE:
                raise
            return await settled(self._region, kept, error, Deadline.after(CONNECT_SECONDS))

    async def _decoded(self, kept: Kept, refusal: NotStorable) -> bytes:
        """Return an instance without compression; raise the refusal where that cannot be had."""
        is_compressed = transfer_syntax(kept.transfer_syntax_uid).encapsulated
        if not is_compressed or refusal.status != TRANSFER_SYNTAX_NOT_SUPPORTED or self._decode is None:
            raise refusal
        if kept.size > MOST_DECODED:
            raise refusal
        whole = b"".join([piece async for piece in self._queue.read(kept.file, kept.digest)])
        try:
            return await self._decode(whole, kept.transfer_syntax_uid, EXPLICIT_VR_LE)
        except (DatasetError, LimitExceeded, NotAcceptable, WorkFailed) as error:
            raise refusal from error


def _at_once(profile: Profile, associations: int) -> int:
    """Return how many instances a region is given at the same time; over the web one connection is left to searches."""
    return max(associations, profile.max_associations - 1) if profile.dicomweb else associations


async def _once(data: bytes) -> AsyncIterator[Buffer]:
    yield data


def judged(error: GatewayError) -> Outcome:
    """Tell what an error says: whether another attempt may do better, and whether with another instance."""
    if isinstance(error, NotStorable):
        return Outcome(State.REFUSED, error.status, error.slug, str(error))
    if isinstance(error, DimseFailure):
        passing = error.status in _PASSING or error.status >> 8 == 0xA7
        state = State.LATER if passing else State.REFUSED
        return Outcome(state, error.status, error.slug, str(error), error.comment)
    if isinstance(error, DatasetError | LimitExceeded | Loop | SpoolDamaged):
        return Outcome(State.REFUSED, error.dimse_status, error.slug, str(error))
    return Outcome(State.LATER, _OUT_OF_RESOURCES, error.slug, str(error), down=isinstance(error, _DOWN))


def backoff(first: float, longest: float, attempts: int) -> float:
    """Return the seconds to wait after so many attempts."""
    seconds: float = min(longest, first * 2 ** min(attempts, 30))
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
