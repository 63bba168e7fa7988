"""The log with its feeds, as the settings have them."""

import platform
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.audit.anchor import Anchors
from gateway.audit.feed import Feed, Receiver
from gateway.audit.fhir_feed import FhirReceiver
from gateway.audit.log import AuditLog, Upkeep
from gateway.audit.record import Event, Record
from gateway.audit.source import AuditSource
from gateway.audit.syslog import SyslogReceiver
from gateway.audit.tls import client_context
from gateway.audit.writer import LogWriter, Rotation
from gateway.config.audit import AuditSettings
from gateway.config.paths import path_of
from gateway.errors import ConfigError
from gateway.events import Observer

DAY = 86400.0


def replica(settings: AuditSettings) -> str:
    """Return the name of this gateway in the log."""
    return settings.replica or re.sub(r"[^A-Za-z0-9_.-]", "-", platform.node()).lstrip("-.") or "gateway"


def anchors(settings: AuditSettings) -> Anchors | None:
    """Return the second place of the log's heads, if there is one."""
    return Anchors(Path(settings.anchor)) if settings.anchor else None


def check_kept(settings: AuditSettings) -> None:
    """Refuse to serve real patients without a log.

    Raises:
        ConfigError: it says what to write.
    """
    if not settings.folder:
        raise ConfigError(
            '"audit.folder" is empty: name a folder for the audit log; only an open gateway, which has no real'
            " patients, goes without one"
        )


@asynccontextmanager
async def auditing(
    settings: AuditSettings, source: AuditSource, observe: Observer, *, started: str = ""
) -> AsyncIterator[AuditLog]:
    """Keep a log, and bring it to its receivers, as long as the context lasts; ``started`` tells of the start.

    Raises:
        ConfigError: the log cannot be written, or a certificate of a feed cannot be used.
        AuditUnavailable: the start cannot be recorded.
    """
    folder, second = Path(settings.folder), anchors(settings)
    rotation = Rotation(settings.segment_bytes, settings.segment_seconds)
    upkeep = Upkeep(settings.anchor_seconds, settings.retention_days * DAY, settings.write_seconds)
    writer = LogWriter(folder, source.id, rotation=rotation, anchors=second)
    log = AuditLog(writer, anchors=second, upkeep=upkeep, observe=observe)
    feeds = [Feed(folder, receiver, observe) for receiver in _receivers(settings, source)]
    if feeds:
        log.needed = lambda: min(feed.needed(source.id) for feed in feeds)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(log.running())
        await log.record(Record(Event.START, reason=started))
        for feed in feeds:
            await stack.enter_async_context(feed.running())
        yield log


def _receivers(settings: AuditSettings, source: AuditSource) -> list[Receiver]:
    receivers: list[Receiver] = []
    if settings.syslog_host:
        tls = client_context(
            path_of(settings.syslog_ca), path_of(settings.syslog_certificate), path_of(settings.syslog_key)
        )
        receivers.append(SyslogReceiver(settings.syslog_host, settings.syslog_port, tls, source))
    if settings.fhir_url:
        tls = client_context(path_of(settings.fhir_ca), path_of(settings.fhir_certificate), path_of(settings.fhir_key))
        token = path_of(settings.fhir_token_file)
        receivers.append(FhirReceiver(settings.fhir_url, source, token_file=token, tls=tls))
    return receivers
