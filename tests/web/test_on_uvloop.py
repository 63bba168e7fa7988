"""What depends on the event loop's transports holds on uvloop as well, which runs in production."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from tests.web import test_disconnect, test_guard, test_server, test_web_retrieve

SCENARIOS: list[Callable[[], Awaitable[Any]]] = [
    test_guard.test_reader_that_stops_is_cut_and_the_retrieval_with_it,
    test_guard.test_reader_that_leaves_the_last_bytes_is_cut_too,
    test_guard.test_slow_reader_that_goes_on_reading_is_served,
    test_guard.test_nothing_is_written_into_a_running_response,
    test_disconnect.test_thousand_impatient_callers_leave_nothing_behind,
    test_server.test_response_that_does_not_end_is_broken_after_the_grace,
    test_server.test_idle_connections_do_not_delay_the_end,
    test_web_retrieve.test_status_waits_for_the_first_instance_and_the_rest_is_sent_as_it_comes,
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_uvloop(scenario: Callable[[], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock of uvloop goes on while a busy machine lets us wait: who shall not be cut has more time.
    served = scenario is test_guard.test_slow_reader_that_goes_on_reading_is_served
    slower = replace(test_guard.QUICK, header_seconds=30, write_stall_seconds=3 if served else 1.5)
    monkeypatch.setattr(test_guard, "QUICK", slower)

    async def main() -> None:
        await scenario()

    uvloop.run(main())
