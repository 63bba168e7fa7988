"""Spans of requests and of what regions did for them, sent by OTLP over HTTP where an endpoint is configured.

A span is made when what it tells of is over, from events that are there anyway.
"""

import os
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.events import REQUEST, Event, RegionOperation, Request, RequestHandled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

SPANS: Final = {"search": "region.find", "retrieve": "region.retrieve", "store": "region.store"}
EXPORT_SECONDS: Final = 5


class Tracing:
    """An Observer that makes spans; one thread of its own sends them."""

    def __init__(self, endpoint: str, version: str) -> None:
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._processor = BatchSpanProcessor(exporter)
        self._resource = Resource({"service.name": "provincial-dicomweb-gateway", "service.version": version})
        self._scope = InstrumentationScope("gateway", version)

    def __call__(self, event: Event) -> None:
        """Make a span of what has ended."""
        if isinstance(event, RequestHandled):
            if event.request.sampled:
                self._of_request(event)
        elif isinstance(event, RegionOperation):
            request = REQUEST.get()
            if request is not None and request.sampled:
                self._of_region(event, request)

    def close(self) -> None:
        """Send what is left; waits for that, so call it in a thread."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # as the SDK has it

    def _of_request(self, event: RequestHandled) -> None:
        request = event.request
        self._end(
            f"{event.method} {event.route}".strip(),
            SpanKind.SERVER,
            _context(request, request.span_id),
            _context(request, request.parent_id, remote=True) if request.parent_id else None,
            event.seconds,
            {
                "http.request.method": event.method,
                "http.route": event.route,
                "http.response.status_code": event.status,
                "gateway.request_id": request.id,
                "gateway.keys": event.keys,
                "gateway.bytes": event.size,
                "gateway.federation_status": event.federation,
            },
            failed=event.status >= 500,
        )

    def _of_region(self, event: RegionOperation, request: Request) -> None:
        self._end(
            SPANS.get(event.verb, f"region.{event.verb}"),
            SpanKind.CLIENT,
            _context(request, os.urandom(8).hex()),
            _context(request, request.span_id),
            event.seconds,
            {
                "gateway.region": event.region,
                "gateway.outcome": event.outcome,
                "gateway.code": event.code,
                "gateway.rows": event.count,
                "gateway.bytes": event.size,
            },
            failed=event.outcome not in {"complete", "limited"},
        )

    def _end(
        self,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        seconds: float,
        attributes: "Mapping[str, AttributeValue]",
        *,
        failed: bool,
    ) -> None:
        ended = time.time_ns()
        span = ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=ended - int(seconds * 1e9),
            end_time=ended,
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)


def _context(request: Request, span_id: str, *, remote: bool = False) -> SpanContext:
    return SpanContext(int(request.trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))
