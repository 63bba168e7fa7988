"""The audit log of a gateway: its name there, what it was started with, and who looks into it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.audit.configuration import note_configuration
from gateway.audit.desk import PrivacyDesk
from gateway.audit.log import AuditLog
from gateway.audit.record import Auditor
from gateway.audit.running import auditing, replica
from gateway.audit.source import AuditSource
from gateway.config.settings import Settings
from gateway.config.toml import Section
from gateway.dataset.patient import PatientIdentifier
from gateway.deadline import Deadline
from gateway.events import Observer
from gateway.federation.issuers import Issuers
from gateway.federation.patients import IdentitySource
from gateway.region.profile import Profile
from gateway.scp.profile import PeerProfile


@asynccontextmanager
async def audited(
    settings: Settings, issuers: Issuers, profiles: Sequence[Profile], peers: Sequence[PeerProfile], observer: Observer
) -> AsyncIterator[AuditLog | None]:
    """Keep the log as long as the context lasts, if there is one, beginning with what the gateway was started with.

    Raises:
        ConfigError: the log cannot be written, or a certificate of a feed cannot be used.
        AuditUnavailable: the start cannot be recorded.
    """
    if not settings.audit.folder:
        yield None
        return
    told = f"{len(profiles)} regions, {len(peers)} peers"
    async with auditing(settings.audit, audit_source(settings, issuers), observer, started=told) as log:
        parts = {name: section.model_dump_json() for name, section in settings if isinstance(section, Section)}
        parts |= {f"region {profile.name}": profile.model_dump_json() for profile in profiles}
        parts |= {f"peer {peer.name}": peer.model_dump_json() for peer in peers}
        await note_configuration(Path(settings.audit.folder), log, parts)
        yield log


def audit_fault(log: AuditLog) -> str:
    """Return why the log keeps the gateway from its work; empty if it does not."""
    return "" if log.is_writable else "the audit log cannot be written: nothing is released"


def audit_source(settings: Settings, issuers: Issuers) -> AuditSource:
    """Return how the gateway names itself in the log and in its feeds."""
    systems = {issuer.name: issuer.system for issuer in issuers}
    url, title = settings.http.public_url, settings.dimse.ae_title
    return AuditSource(replica(settings.audit), settings.audit.site, url, title, systems)


def privacy_desk(
    settings: Settings, source: IdentitySource, issuers: Issuers, auditor: Auditor, others: Sequence[Path] = ()
) -> PrivacyDesk:
    """Return what answers privacy officers from the log of the settings, and from those of other gateways."""

    async def linked(patient: PatientIdentifier) -> frozenset[PatientIdentifier]:
        return await source.identifiers(patient, Deadline.after(settings.search.hard_seconds))

    folder = Path(settings.audit.folder)
    own = audit_source(settings, issuers)
    return PrivacyDesk(folder, auditor, own, named=issuers.name, linked=linked, others=others)
