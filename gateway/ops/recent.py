"""What became of the last requests, region by region, for whoever knows their ids."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.events import REQUEST, Event, RegionOperation, Request, RequestHandled

MOST_REQUESTS: Final = 2000
MOST_OPERATIONS: Final = 200
KEPT_SECONDS: Final = 600.0


@dataclass(slots=True)
class _Entry:
    request: Request
    at: float
    operations: list[RegionOperation] = field(default_factory=list)
    handled: RequestHandled | None = None


class RecentRequests:
    """Keeps the outcome of some thousand requests for ten minutes; it holds no query and no UID."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __call__(self, event: Event) -> None:
        """Take note of what is done for a request, and of its end."""
        if isinstance(event, RequestHandled):
            if event.federation or event.request.id in self._entries:
                self._entry(event.request).handled = event
        elif isinstance(event, RegionOperation) and (request := REQUEST.get()) is not None:
            operations = self._entry(request).operations
            if len(operations) < MOST_OPERATIONS:
                operations.append(event)

    def find(self, request_id: str) -> dict[str, Any] | None:
        """Return what is known of a request, None where it is unknown or long ago."""
        entry = self._entries.get(request_id)
        if entry is None or time.monotonic() - entry.at > KEPT_SECONDS:
            return None
        handled = entry.handled
        return {
            "request_id": request_id,
            "trace_id": entry.request.trace_id,
            "finished": handled is not None,
            "service": handled and f"{handled.method} {handled.route}",
            "status": handled and handled.status,
            "outcome": handled and (entry.request.problem or "answered"),
            "duration_ms": handled and round(handled.seconds * 1000, 1),
            "federation_status": handled and handled.federation,
            "operations": [
                {
                    "region": x.region,
                    "service": x.verb,
                    "outcome": x.outcome,
                    "code": x.code,
                    "duration_ms": round(x.seconds * 1000, 1),
                    "rows": x.count,
                    "bytes": x.size,
                }
                for x in entry.operations
            ],
        }

    def _entry(self, request: Request) -> _Entry:
        entry = self._entries.get(request.id)
        if entry is None or entry.request is not request:  # an id that a caller gives twice names the later one
            entry = self._entries[request.id] = _Entry(request, time.monotonic())
            self._entries.move_to_end(request.id)
            if len(self._entries) > MOST_REQUESTS:
                self._entries.popitem(last=False)
        return entry
