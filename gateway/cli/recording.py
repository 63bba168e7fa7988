"""What commands do beside a gateway is recorded in its audit log, by whoever runs them."""

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.access.permit import Recorder
from gateway.access.principal import Principal
from gateway.assembly import audit_source
from gateway.audit.log import AuditLog
from gateway.audit.record import Recorder as Recorded
from gateway.audit.running import anchors
from gateway.audit.writer import LogWriter
from gateway.config.settings import Settings


def local_user(purpose: str = "TREAT") -> Principal:
    """Return who runs the command; the host vouches for it."""
    return Principal(getpass.getuser(), os.uname().nodename, purpose=purpose, channel="cli")


@asynccontextmanager
async def recorder(chosen: Settings, writer: str) -> AsyncIterator[Recorder | None]:
    """Write to the audit log, if there is one, as a writer of our own: the gateway's chain is the gateway's.

    Raises:
        ConfigError: the log cannot be written, or another command of that writer is under way.
    """
    if not chosen.audit.folder:
        yield None
        return
    known = anchors(chosen.audit)
    log = LogWriter(Path(chosen.audit.folder), f"{audit_source(chosen).id}-{writer}", anchors=known)
    async with AuditLog(log, anchors=known, stopped=None).running() as running:
        yield Recorded(running)
