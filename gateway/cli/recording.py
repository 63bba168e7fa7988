"""What commands do beside a gateway is recorded in its audit log, by whoever runs them."""

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.access.permit import Recorder
from gateway.access.principal import Principal
from gateway.audit.log import AuditLog
from gateway.audit.record import Recorder as Recorded
from gateway.audit.running import anchors, replica
from gateway.audit.writer import LogWriter
from gateway.config.audit import AuditSettings
from gateway.config.settings import Settings


def local_user(purpose: str = "TREAT") -> Principal:
    """Return who runs the command; the host vouches for it."""
    return Principal(getpass.getuser(), os.uname().nodename, purpose=purpose, channel="cli")


@asynccontextmanager
async def own_log(settings: AuditSettings, folder: Path, writer: str) -> AsyncIterator[AuditLog]:
    """Write to the log of a folder as a writer of our own: the gateway's chain is the gateway's.

    Raises:
        ConfigError: the log cannot be written, or another command of that writer is under way.
    """
    known = anchors(settings)
    log = LogWriter(folder, f"{replica(settings)}-{writer}", anchors=known)
    async with AuditLog(log, anchors=known, stopped=None).running() as running:
        yield running


@asynccontextmanager
async def recorder(chosen: Settings, writer: str) -> AsyncIterator[Recorder | None]:
    """Record what a principal does in the audit log, if there is one.

    Raises:
        ConfigError: the log cannot be written, or another command of that writer is under way.
    """
    if not chosen.audit.folder:
        yield None
        return
    async with own_log(chosen.audit, Path(chosen.audit.folder), writer) as log:
        yield Recorded(log)
