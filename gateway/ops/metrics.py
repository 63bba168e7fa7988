"""Metrics in the exposition format of Prometheus; every label value comes from the configuration or from our code."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from gateway.events import (
    AssociationRefused,
    AuditFailed,
    AuditFeedState,
    AuditWritten,
    CircuitChanged,
    DemographicsDiffer,
    Event,
    IdentityConflict,
    IdentitySourceFailed,
    InstanceConflict,
    PeerOperation,
    RegionOperation,
    RequestHandled,
    RetrieveAnswered,
    RetrieveBegun,
    RetrieveRepeated,
    StoreRefused,
)
from gateway.ops.audit_meters import AuditMeters
from gateway.ops.lights import Light
from gateway.ops.meters import Counter, Histogram
from gateway.ops.status import Snapshot
from gateway.region.breaker import CircuitState

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
SHED: Final = frozenset({"saturated", "spool-full", "queue-full", "workers-busy", "limit-exceeded", "busy"})
"""Slugs of errors with which a request is turned away for want of room."""


LabelsT = TypeVar("LabelsT", bound=tuple[str, ...])


class Metrics:
    """Counts events; a registry of its own shows the counts and a snapshot."""

    def __init__(self, lag: Callable[[], float]) -> None:
        self._lag = lag
        self._requests = Counter("gateway_http_requests", "HTTP requests.", "method", "route", "status")
        self._request_seconds = Histogram(
            "gateway_http_request_duration_seconds", "Until the end of the response.", "method", "route"
        )
        self._first_byte = Histogram("gateway_http_time_to_first_byte_seconds", "Until the first byte.", "route")
        self._sent = Counter("gateway_http_response_bytes", "Bytes of response bodies.", "route")
        self._operations = Histogram(
            "gateway_region_operation_duration_seconds", "What regions were asked for.", "region", "service", "outcome"
        )
        self._first_match = Histogram("gateway_region_first_match_seconds", "Until a search's first match.", "region")
        self._transitions = Counter("gateway_breaker_transitions", "Changes of a circuit.", "region", "state")
        self._partial = Counter(
            "gateway_partial_responses", "Responses that may lack something of a region.", "region", "outcome"
        )
        self._suboperations = Counter(
            "gateway_suboperations", "C-STOREs of our C-MOVEs and C-GETs, as regions count.", "region", "result"
        )
        self._bytes = Counter("gateway_instance_bytes", "Bytes of Data Sets of instances.", "region", "direction")
        self._retrieves = Counter(
            "gateway_retrieves", "Where retrieves found their instances: spool, joined, region.", "source"
        )
        self._retries = Counter(
            "gateway_retry", "Instances asked for once more, at another holder or the same.", "region", "holder"
        )
        self._joins = Counter("gateway_flight_joins", "Retrieves that joined one under way.")
        self._shed = Counter("gateway_shed", "Requests turned away for want of room.", "reason")
        self._limits = Counter("gateway_limit_exceeded", "Requests that went beyond a limit.", "limit")
        self._audit = AuditMeters()
        self._peers = Counter("gateway_peer_operations", "What peers asked for by DIMSE.", "service", "status")
        self._unsolicited = Counter("gateway_unsolicited_store", "C-STOREs refused: of no retrieve of ours.")
        self._rejected = Counter("gateway_associations_refused", "Associations that were rejected.", "reason")
        self._conflicts = Counter("gateway_merge_conflicts", "Contradictions between regions.", "kind")
        self._identity = Counter("gateway_identity_source_failures", "Questions that it did not answer.")
        for never in (self._joins, self._unsolicited, self._identity):
            never.add(by=0)  # a series that is absent cannot rise
        self._snapshot: Snapshot | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collected(self._families))

    def exposition(self, snapshot: Snapshot) -> bytes:
        """Return all metrics as a scrape gets them."""
        self._snapshot = snapshot
        return generate_latest(self._registry)

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case RegionOperation():
                self._operation(event)
            case RequestHandled():
                self._request(event)
            case RetrieveBegun():
                self._retrieves.add(event.source)
                if event.source == "joined":
                    self._joins.add()
            case RetrieveRepeated():
                self._retries.add(event.region, event.holder)
            case RetrieveAnswered():
                self._suboperations.add(event.region, "completed", by=event.completed)
                self._suboperations.add(event.region, "failed", by=event.failed)
            case AuditWritten() | AuditFailed() | AuditFeedState():
                self._audit(event)
            case _:
                self._rest(event)

    def _rest(self, event: Event) -> None:
        match event:
            case PeerOperation():
                self._peers.add(event.service, event.status)
            case CircuitChanged():
                self._transitions.add(event.region, str(event.state))
            case StoreRefused():
                self._unsolicited.add()
            case AssociationRefused():
                self._rejected.add(event.reason)
            case IdentityConflict() | InstanceConflict() | DemographicsDiffer():
                kinds = {IdentityConflict: "identity", InstanceConflict: "instance"}
                self._conflicts.add(kinds.get(type(event), "demographics"))
            case IdentitySourceFailed():
                self._identity.add()
            case _:
                pass  # what is only for the log

    def _operation(self, event: RegionOperation) -> None:
        self._operations.observe(event.region, event.verb, event.outcome, seconds=event.seconds)
        if event.first_seconds is not None:
            self._first_match.observe(event.region, seconds=event.first_seconds)
        if event.size:
            self._bytes.add(event.region, "out" if event.verb == "store" else "in", by=event.size)

    def _request(self, event: RequestHandled) -> None:
        route = event.route or "none"
        self._requests.add(event.method, route, str(event.status))
        self._request_seconds.observe(event.method, route, seconds=event.seconds)
        self._first_byte.observe(route, seconds=event.first_seconds)
        self._sent.add(route, by=event.size)
        if event.request.problem in SHED:
            self._shed.add(event.request.problem)
        if event.request.limit:
            self._limits.add(event.request.limit)
        for member in event.federation.split(", ") if event.federation else ():
            region, *parameters = member.split(";")
            state = parameters[0].removeprefix("state=") if parameters else "complete"
            if state != "complete":
                self._partial.add(region, state)

    def _families(self) -> Iterator[Metric]:
        counted = (
            *(self._requests, self._request_seconds, self._first_byte, self._sent, self._operations),
            *(self._first_match, self._transitions, self._partial, self._suboperations, self._bytes),
            *(self._retrieves, self._joins, self._shed, self._peers, self._unsolicited, self._rejected),
            *(self._conflicts, self._identity, self._retries, self._limits),
        )
        yield from (meter.family() for meter in counted)
        yield _gauge(
            "gateway_eventloop_lag_seconds", "The longest wait for the event loop of the last minute.", self._lag()
        )
        yield from self._audit.families()
        if self._snapshot is not None:
            yield from _gauges(self._snapshot)


class _Collected(Collector):
    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _by(name: str, text: str, labels: tuple[str, ...], rows: Mapping[LabelsT, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in rows.items():
        family.add_metric(values, value)
    return family


def _gauges(now: Snapshot) -> Iterator[Metric]:
    yield _by("gateway_build_info", "Which gateway this is.", ("version",), {(now.version,): 1})
    yield _gauge("gateway_ready", "1 while the gateway takes requests.", float(now.ready))
    yield _gauge("gateway_uptime_seconds", "Since the start.", now.uptime)
    yield from _of_regions(now)
    states = [flight.state for flight in now.flights]
    flights = {(state,): float(states.count(state)) for state in ("planning", "bringing", "background")}
    yield _by("gateway_flights", "Retrieves under way.", ("state",), flights)
    yield _gauge("gateway_spool_bytes", "Bytes of the spool's files.", now.spool_bytes)
    yield _gauge("gateway_spool_max_bytes", "The most that they may take.", now.spool_max_bytes)
    yield _gauge("gateway_spool_reserve_ratio", "Share of the spool's disk that is free.", now.disk_free)
    yield _gauge("gateway_store_queue_bytes", "Bytes that wait for delivery.", now.queue_bytes)
    queued = {(region.profile.id, "waiting"): float(now.waiting.get(region.profile.id, 0)) for region in now.regions}
    queued |= {
        (region.profile.id, "quarantined"): float(now.quarantined.get(region.profile.id, 0)) for region in now.regions
    }
    yield _by("gateway_store_queue_deliveries", "Instances that wait for a region.", ("region", "state"), queued)
    ends = {(face,): end for face, end in now.certificates.items()}
    yield _by("gateway_certificate_end_seconds", "When our certificate ends, since 1970.", ("face",), ends)


def _of_regions(now: Snapshot) -> Iterator[Metric]:
    usages = {x.profile.id: x.usage for x in now.regions if x.usage is not None}
    associations = {
        (region, state): float(getattr(usage, state))
        for region, usage in usages.items()
        for state in ("in_use", "idle", "waiting", "cap")
    }
    yield _by("gateway_region_associations", "Associations, by what they do.", ("region", "state"), associations)
    circuits = {
        (x.profile.id, state.value): float(x.circuit == state.value) for x in now.regions for state in CircuitState
    }
    yield _by("gateway_breaker_state", "1 for the state that a circuit is in.", ("region", "state"), circuits)
    lights = {(x.profile.id, colour.value): float(x.light is colour) for x in now.regions for colour in Light}
    yield _by("gateway_region_light", "1 for the light of a region.", ("region", "light"), lights)
    echoes = {(x.profile.id,): x.record.echo.at for x in now.regions if x.record.echo is not None}
    yield _by("gateway_region_last_echo_timestamp_seconds", "When C-ECHO was last tried.", ("region",), echoes)
    ends = {(x.profile.id,): x.certificate_end for x in now.regions if x.certificate_end is not None}
    yield _by("gateway_region_certificate_end_seconds", "When its certificate ends, since 1970.", ("region",), ends)
    known = {
        (x.profile.id,): float(x.record.destination.known) for x in now.regions if x.record.destination is not None
    }
    yield _by("gateway_region_move_destination_known", "0 where it refuses ours with A801.", ("region",), known)
