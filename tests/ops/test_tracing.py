"""Spans: sent where an endpoint is configured, joined to the caller's trace, with nothing of a patient in them."""

import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.ops.serving import CANARY, INSTANCES, archive, nobody, watched

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextlib.asynccontextmanager
async def collector(spans: list[Span]) -> AsyncIterator[str]:
    """Run what takes spans by OTLP over HTTP; yield its endpoint."""

    async def take(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(x for resource in sent.resource_spans for scope in resource.scope_spans for x in scope.spans)
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_a_search_is_a_span_in_the_callers_trace_with_one_below_it_for_each_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: int(time.monotonic() * 1e9))  # one clock for moments and durations
    spans: list[Span] = []
    async with (
        collector(spans) as endpoint,
        watched(archive(), absent=[nobody()], settings={"ops": {"otlp_endpoint": endpoint}}) as here,
    ):
        parent = f"00-{TRACE}-{SPAN}-01"
        status, headers, _ = await here.search(f"?PatientName={CANARY}*", traceparent=parent)
        assert status == 200
        await here.search("?limit=1", traceparent=f"00-{TRACE[::-1]}-{SPAN}-00")
    assert {x.trace_id.hex() for x in spans} == {TRACE}, "a trace that the caller does not record is not sent"
    [request] = [x for x in spans if x.kind == Span.SPAN_KIND_SERVER]
    assert (request.name, request.parent_span_id.hex()) == ("GET /dicom-web/studies", SPAN)
    told = {x.key: x.value.string_value for x in request.attributes}
    assert told["gateway.request_id"] == headers["X-Request-Id"]
    below = [x for x in spans if x.kind == Span.SPAN_KIND_CLIENT]
    assert {x.name for x in below} == {"region.find"}
    assert {x.parent_span_id for x in below} == {request.span_id}
    regions = {x.value.string_value for span in below for x in span.attributes if x.key == "gateway.region"}
    assert regions == {"neodin", "hdirs"}
    for x in below:
        assert request.start_time_unix_nano - 5e6 <= x.start_time_unix_nano <= x.end_time_unix_nano
        assert x.end_time_unix_nano <= request.end_time_unix_nano + 5e6
    assert CANARY not in repr(spans)
    assert INSTANCES[0].StudyInstanceUID not in repr(spans)


async def test_a_collector_that_is_not_there_harms_no_search() -> None:
    missing = f"http://127.0.0.1:{nobody().port}"
    async with watched(archive(), settings={"ops": {"otlp_endpoint": missing}}) as here:
        assert (await here.search())[0] == 200


def test_where_nobody_traces_nothing_of_it_is_imported() -> None:
    code = "import sys, gateway.assembly; sys.exit(any(x.startswith('opentelemetry') for x in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
