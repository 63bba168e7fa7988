"""Who was turned away at the DIMSE face, told to the audit trail (PS3.15 A.5.3: Node Authentication)."""

import asyncio
from contextlib import suppress
from typing import Final

from gateway.access.permit import Recorder
from gateway.access.principal import Principal
from gateway.errors import AuditUnavailable
from gateway.events import AssociationRefused, Event, Observer

MOST_WAITING: Final = 1000
"""Refusals that are not on the disk yet; more at once are a flood, of which these tell enough."""


class Refusals:
    """An observer that has refused associations recorded, if there is a trail, and passes all events on."""

    def __init__(self, recorder: Recorder | None, observer: Observer) -> None:
        self._recorder = recorder
        self._observer = observer
        self._waiting: asyncio.Queue[AssociationRefused] = asyncio.Queue(MOST_WAITING)

    def __call__(self, event: Event) -> None:
        """Take note of a refusal."""
        self._observer(event)
        if self._recorder is not None and isinstance(event, AssociationRefused) and not self._waiting.full():
            self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Have them recorded, until cancelled."""
        while self._recorder is not None:
            refused = await self._waiting.get()
            stranger = Principal(refused.calling_ae_title, channel="dimse", address=refused.address)
            with suppress(AuditUnavailable):  # nothing was released; the log's own state is told elsewhere
                await self._recorder(stranger, "unauthenticated", "denied", reason=refused.reason)
