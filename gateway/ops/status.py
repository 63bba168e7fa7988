"""How the gateway and its regions are: a model that events feed, and the snapshot that pages, probes and metrics show.

No attribute value of a patient and no UID is ever in it.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.config.settings import Settings
from gateway.dimse.pool import Usage
from gateway.events import Event, RegionOperation, RetrieveAnswered
from gateway.federation.flights import Flight
from gateway.federation.retrieve import FederatedRetrieve
from gateway.ops.advice import advice
from gateway.ops.lights import Facts, Light, light
from gateway.ops.record import RegionRecord, quantiles
from gateway.region.breaker import Breaker
from gateway.region.profile import Profile
from gateway.spool.ledger import QUARANTINED, WAITING
from gateway.spool.queue import Queue

FRESH_SECONDS: Final = 1.0
"""How long a snapshot serves all who ask."""


class Watched(Protocol):
    """What is looked at of a region."""

    @property
    def profile(self) -> Profile:
        """What is known of it."""

    @property
    def breaker(self) -> Breaker:
        """Its circuit breaker."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is looked at of the gateway.

    Attributes:
        regions: the regions.
        retrieves: what retrieves for the province, and for each region alone.
        queue: what was taken in and waits.
        certificates: when our own end, in seconds since 1970, by the face that shows them.
    """

    regions: Sequence[Watched]
    retrieves: Sequence[FederatedRetrieve]
    queue: Queue
    certificates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """One region: its record, what its light is, and why."""

    profile: Profile
    record: RegionRecord
    light: Light
    reasons: tuple[str, ...]
    circuit: str
    probe_seconds: float
    usage: Usage | None
    certificate_end: float | None


@dataclass(frozen=True, slots=True)
class FlightStatus:
    """One retrieve under way.

    Attributes:
        seconds: since it began.
        state: "planning", "bringing" or "background", which nobody waits for.
        readers: how many read it.
        instances: that are here whole.
        expected: that it is to bring; None where nobody has counted.
        size: bytes of what is here.
        regions: those that bring it.
    """

    seconds: float
    state: str
    readers: int
    instances: int
    expected: int | None
    size: int
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How everything is at one moment.

    Attributes:
        at: seconds since 1970.
        uptime: seconds.
        ready: whether the gateway takes requests.
        checks: each check of the readiness, and what is wrong; nothing where all is well.
        waiting: deliveries in the queue by region.
        quarantined: those that somebody must look at, by region.
        disk_free: share of the spool's disk that is free.
    """

    at: float
    version: str
    uptime: float
    ready: bool
    checks: Mapping[str, str]
    regions: tuple[RegionStatus, ...]
    flights: tuple[FlightStatus, ...]
    spool_bytes: int
    spool_max_bytes: int
    spool_full: bool
    disk_free: float
    queue_durable: bool
    queue_bytes: int
    queue_max_bytes: int
    waiting: Mapping[str, int]
    quarantined: Mapping[str, int]
    certificates: Mapping[str, float]


class StatusModel:
    """Keeps a record of each region, and makes snapshots."""

    def __init__(
        self, settings: Settings, profiles: Sequence[Profile], checks: Callable[[], Mapping[str, str]]
    ) -> None:
        self.ae_title = settings.dimse.ae_title
        self.records = {profile.id: RegionRecord() for profile in profiles}
        self._settings = settings
        self._checks = checks
        self._sources: Sources | None = None
        self._began = time.monotonic()
        self._snapshot: tuple[float, Snapshot] | None = None
        self.version = _version()

    def attach(self, sources: Sources) -> None:
        """Begin to look at a gateway."""
        self._sources = sources

    def __call__(self, event: Event) -> None:
        """Take note of what tells how a region is."""
        if isinstance(event, RegionOperation):
            if (record := self.records.get(event.region)) is not None:
                record.note(event)
        elif isinstance(event, RetrieveAnswered) and (record := self.records.get(event.region)) is not None:
            record.moved(event)

    async def current(self) -> Snapshot:
        """Return a snapshot that is a second old at the most."""
        now = time.monotonic()
        if self._snapshot is None or now - self._snapshot[0] > FRESH_SECONDS:
            self._snapshot = now, await self._look()
        return self._snapshot[1]

    async def _look(self) -> Snapshot:
        if (sources := self._sources) is None:
            raise RuntimeError("there is no gateway to look at yet")
        counted = await sources.queue.counted()
        spools = [retrieve.spool for retrieve in sources.retrieves]
        problems = self._checks()
        settings = self._settings
        return Snapshot(
            time.time(),
            self.version,
            time.monotonic() - self._began,
            not any(problems.values()),
            problems,
            tuple(self._region(region) for region in sources.regions),
            tuple(_flight(flight) for retrieve in sources.retrieves for flight in retrieve.under_way),
            sum(spool.size for spool in spools),
            settings.spool.max_bytes,
            any(spool.is_full for spool in spools),
            _free(spools[0].path),
            sources.queue.durable,
            sources.queue.size,
            settings.store.max_bytes,
            {region: count for (region, state), count in counted.items() if state == WAITING},
            {region: count for (region, state), count in counted.items() if state == QUARANTINED},
            sources.certificates,
        )

    def _region(self, region: Watched) -> RegionStatus:
        record, breaker = self.records[region.profile.id], region.breaker
        usage: Usage | None = getattr(region, "associations", None)  # a region of DICOMweb has none
        end: float | None = getattr(region, "certificate_end", None)
        left = None if end is None else end - time.time()
        colour, reasons = light(Facts(record, breaker.state, usage, left))
        return RegionStatus(
            region.profile, record, colour, reasons, breaker.state.value, breaker.retry_after, usage, end
        )


def document(snapshot: Snapshot, ae_title: str) -> dict[str, Any]:
    """Return a snapshot as ``/status.json`` shows it; times are in seconds since 1970, durations in milliseconds."""
    lights = [region.light for region in snapshot.regions]
    return {
        "at": round(snapshot.at, 1),
        "version": snapshot.version,
        "uptime_seconds": round(snapshot.uptime),
        "ready": snapshot.ready,
        "checks": snapshot.checks,
        "lights": {colour.value: lights.count(colour) for colour in Light},
        "regions": [_region_document(region, ae_title) for region in snapshot.regions],
        "flights": [
            {
                "seconds": round(x.seconds, 1),
                "state": x.state,
                "readers": x.readers,
                "instances": x.instances,
                "expected": x.expected,
                "bytes": x.size,
                "regions": x.regions,
            }
            for x in snapshot.flights
        ],
        "spool": {
            "bytes": snapshot.spool_bytes,
            "max_bytes": snapshot.spool_max_bytes,
            "full": snapshot.spool_full,
            "disk_free_ratio": round(snapshot.disk_free, 3),
        },
        "queue": {
            "durable": snapshot.queue_durable,
            "bytes": snapshot.queue_bytes,
            "max_bytes": snapshot.queue_max_bytes,
            "waiting": snapshot.waiting,
            "quarantined": snapshot.quarantined,
        },
        "certificates": {face: round(end) for face, end in snapshot.certificates.items()},
    }


def _region_document(region: RegionStatus, ae_title: str) -> dict[str, Any]:
    record, profile = region.record, region.profile
    found, failure, usage = quantiles(record.first_matches), record.failure, region.usage
    said = None if failure is None else advice(failure.outcome, failure.code, profile, ae_title)
    return {
        "region": profile.id,
        "title": profile.title,
        "ae_title": profile.ae_title,
        "light": region.light,
        "reasons": region.reasons,
        "last_echo": record.echo
        and {"at": round(record.echo.at, 1), "outcome": record.echo.outcome, "ms": _ms(record.echo.seconds)},
        "first_match": found
        and {"p50_ms": _ms(found[0]), "p95_ms": _ms(found[1]), "recent_ms": [_ms(x) for x in record.first_matches]},
        "associations": usage
        and {"in_use": usage.in_use, "idle": usage.idle, "waiting": usage.waiting, "cap": usage.cap},
        "breaker": {"state": region.circuit, "next_probe_seconds": round(region.probe_seconds, 1)},
        "last_error": failure
        and said
        and {
            "at": round(failure.at, 1),
            "service": failure.service,
            "outcome": failure.outcome,
            "code": failure.code,
            "over": not record.absent,
            "text": said.what,
            "remedy": said.remedy,
        },
        "certificate_end": region.certificate_end and round(region.certificate_end),
        "move_destination": {
            "configured": profile.move_destinations,
            "known": None if record.destination is None else record.destination.known,
            "at": record.destination and round(record.destination.at, 1),
        },
    }


def _flight(flight: Flight) -> FlightStatus:
    instances, size = flight.arrived
    readers = len(flight.subscriptions)
    state = "planning" if not flight.planned.is_set() else "bringing" if readers else "background"
    regions = tuple(name for name, x in flight.states.items() if x.count != 0)
    return FlightStatus(time.monotonic() - flight.began_at, state, readers, instances, flight.expected, size, regions)


def _free(folder: Path) -> float:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return 0.0
    return usage.free / usage.total if usage.total else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _version() -> str:
    try:
        return version("provincial-dicomweb-gateway")
    except PackageNotFoundError:
        return "unknown"
