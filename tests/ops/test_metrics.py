"""Metrics: what Prometheus can read, with labels that nobody outside can choose."""

import io
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.events import (
    REQUEST,
    AuditFailed,
    AuditFeedState,
    CircuitChanged,
    RegionOperation,
    Request,
    RequestHandled,
)
from gateway.ops.audit_meters import AuditMeters
from gateway.ops.log import EventLog
from gateway.ops.meters import BUCKETS, Histogram
from gateway.ops.metrics import Metrics
from tests.ops.serving import CANARY, INSTANCES, Watched, archive, nobody, watched

STUDY = INSTANCES[0].StudyInstanceUID
MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'
REGION_LABELS = {"neodin", "hdirs"}


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ops.status.FRESH_SECONDS", 0.0)


async def scraped(here: Watched) -> dict[str, Metric]:
    status, headers, body = await here.get(f"{here.admin}/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(body.decode())}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the sum of the samples of a name that have these labels."""
    family = next(family for family in families.values() if any(x.name == name for x in family.samples))
    found = [x.value for x in family.samples if x.name == name and labels.items() <= x.labels.items()]
    assert found, (name, labels)
    return sum(found)


def well_formed(families: Iterable[Metric]) -> None:
    """Check what ``promtool check metrics`` does: names, help, types, no series twice, buckets that only rise."""
    for family in families:
        assert family.name.startswith("gateway_")
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge", "histogram"}
        seen = set()
        for sample in family.samples:
            series = sample.name, tuple(sorted(sample.labels.items()))
            assert series not in seen
            seen.add(series)
            assert sample.name.endswith("_total") or family.type != "counter"
        if family.type == "histogram":
            _check_buckets(family)


def _check_buckets(family: Metric) -> None:
    rows: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            labels = tuple(sorted((key, text) for key, text in sample.labels.items() if key != "le"))
            rows.setdefault(labels, []).append(sample.value)
    for labels, counts in rows.items():
        assert counts == sorted(counts), (family.name, labels)
        assert len(counts) == len(BUCKETS) + 1


async def test_what_happened_is_counted_where_it_happened() -> None:
    async with watched(archive(), absent=[nobody()]) as here:
        assert (await here.search())[0] == 200
        assert (await here.get(f"{here.web}/dicom-web/studies/{STUDY}", Accept=MULTIPART))[0] == 200
        assert (await here.get(f"{here.web}/no/such/page"))[0] == 404
        found = await scraped(here)
    well_formed(found.values())
    assert value(found, "gateway_http_requests_total", route="/dicom-web/studies", status="200") == 1
    assert value(found, "gateway_http_requests_total", route="none", status="404") == 1
    assert value(found, "gateway_http_response_bytes_total", route="/dicom-web/studies/{study}") > 1000
    operations = "gateway_region_operation_duration_seconds_count"
    assert value(found, operations, region="neodin", service="search", outcome="complete") >= 1
    assert value(found, operations, region="neodin", service="retrieve", outcome="complete") == 1
    assert value(found, operations, region="hdirs", service="search", outcome="refused") >= 1
    assert value(found, "gateway_region_first_match_seconds_count", region="neodin") >= 1
    assert value(found, "gateway_partial_responses_total", region="hdirs", outcome="refused") >= 1
    assert value(found, "gateway_suboperations_total", region="neodin", result="completed") == 2
    assert value(found, "gateway_instance_bytes_total", region="neodin", direction="in") > 500
    assert value(found, "gateway_retrieves_total", source="region") == 1
    assert value(found, "gateway_region_associations", region="neodin", state="cap") == 4
    assert value(found, "gateway_region_light", region="hdirs", light="red") == 1
    assert value(found, "gateway_region_move_destination_known", region="neodin") == 1
    assert value(found, "gateway_ready") == 1
    assert value(found, "gateway_spool_bytes") >= 0
    assert value(found, "gateway_unsolicited_store_total") == 0


async def test_the_audit_log_is_watched(tmp_path: Path) -> None:
    async with watched(archive(), settings={"audit": {"folder": str(tmp_path / "audit")}}) as here:
        before = value(await scraped(here), "gateway_audit_chain_height")
        assert (await here.search())[0] == 200
        found = await scraped(here)
    well_formed(found.values())
    assert value(found, "gateway_audit_chain_height") > before >= 1
    assert value(found, "gateway_audit_failures_total") == 0
    assert value(found, "gateway_audit_queue") == 0


def test_a_feed_lags_until_it_has_brought_all() -> None:
    meters = AuditMeters()

    def lag() -> list[float]:
        return [x.value for family in meters.families() for x in family.samples if x.labels == {"feed": "syslog"}]

    assert lag() == []
    meters(AuditFeedState("syslog", "feed-failed", 42.0, "refused"))
    assert lag() == [42.0]
    meters(AuditFeedState("syslog", "complete", 1.0))
    assert lag() == [0.0]
    meters(AuditFailed("no space"))
    assert [x.value for family in meters.families() for x in family.samples if x.name.endswith("failures_total")] == [1]


async def test_who_goes_beyond_a_limit_is_counted_with_its_name() -> None:
    async with watched(archive()) as here:
        many = b"PatientName=" + b"x" * 100_000
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        async with here.session.post(f"{here.web}/dicom-web/studies", data=many, headers=fields) as answer:
            status = answer.status
        found = await scraped(here)
    assert status == 413
    assert value(found, "gateway_limit_exceeded_total", limit="form_bytes") == 1


async def test_no_caller_can_make_a_series_of_his_own() -> None:
    async with watched(archive()) as here:
        before = {x.name for x in (await scraped(here)).values()}
        for path in (f"/{CANARY}", f"/dicom-web/studies/{CANARY}", f"/dicom-web/studies?{CANARY}={CANARY}"):
            await here.get(f"{here.web}{path}", **{"X-Request-Id": f"{CANARY}-{CANARY}", "User-Agent": CANARY})
        async with here.session.request(CANARY[:3], f"{here.web}/dicom-web/studies"):
            pass
        found = await scraped(here)
        samples = [sample for family in found.values() for sample in family.samples]
    assert {x.name for x in found.values()} == before
    for sample in samples:
        assert CANARY not in repr(sample.labels)
        assert sample.labels.get("region", "neodin") in REGION_LABELS
    assert {x.labels["method"] for x in samples if x.name == "gateway_http_requests_total"} <= {"GET", "other"}


async def test_metrics_are_on_the_address_for_operators_only() -> None:
    async with watched(archive()) as here:
        assert (await here.get(f"{here.web}/metrics"))[0] == 404
        assert (await here.get(f"{here.admin}/metrics"))[0] == 200
        assert (await here.get(f"{here.admin}/dicom-web/studies"))[0] == 404


async def test_metrics_of_an_idle_gateway_are_well_formed() -> None:
    async with watched(archive()) as here:
        well_formed((await scraped(here)).values())


def test_a_duration_is_counted_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram("gateway_x", "Some.", "region")
    for seconds in (0.001, 0.005, 0.0051, 59.0, 61.0):
        histogram.observe("a", seconds=seconds)
    found = {x.labels["le"]: x.value for x in histogram.family().samples if x.name.endswith("_bucket")}
    assert (found["0.005"], found["0.01"], found["60.0"], found["+Inf"]) == (2, 3, 4, 5)


def test_an_event_costs_microseconds() -> None:
    """A page costs nothing measurable under load only if what feeds it does not."""

    asked = Request("r", "a" * 32, "b" * 16)
    events = [
        RegionOperation("neodin", "search", "complete", 0.01, 5, 0.004),
        RequestHandled(asked, "GET", "/studies", "", (), "", 200, 0.01, 0.01, 99, "neodin;state=complete;matches=5"),
        CircuitChanged("neodin", "closed"),
    ]
    metrics, log = Metrics(lambda: 0.0), EventLog(io.StringIO())
    token = REQUEST.set(asked)
    began = time.process_time()
    for _ in range(2000):
        for event in events:
            metrics(event)
            log(event)
    each = (time.process_time() - began) / 6000
    REQUEST.reset(token)
    assert each < 200e-6
