"""The identity source of the settings: none, a crosswalk, or a PIXm manager; and the patients that it knows."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.config.paths import path_of
from gateway.config.settings import IdentitySettings
from gateway.errors import ConfigError
from gateway.events import Observer
from gateway.federation.crosswalk import Crosswalk
from gateway.federation.issuers import Issuers
from gateway.federation.patients import IdentitySource, NoIdentitySource, Patients
from gateway.federation.pixm import pix_manager
from gateway.federation.remembered import Remembered
from gateway.region.profile import Profile


@asynccontextmanager
async def identity_source(
    settings: IdentitySettings, issuers: Issuers, profiles: Sequence[Profile]
) -> AsyncIterator[IdentitySource]:
    """Have the identity source of the settings as long as the context lasts.

    Raises:
        ConfigError: its settings are not complete, its file cannot be used, or it knows no numbers of a region.
    """
    if settings.source == "none":
        yield NoIdentitySource()
        return
    needed = "crosswalk" if settings.source == "csv" else "pixm_url"
    for key in (needed, "provincial_issuer"):
        if not getattr(settings, key):
            raise ConfigError(f'"identity.{key}" is empty: source = "{settings.source}" needs it')
    provincial = issuers.name(settings.provincial_issuer)
    if settings.source == "csv":
        crosswalk = Crosswalk.read(Path(settings.crosswalk), issuers)
        _check_issuers(provincial, profiles, crosswalk.issuers, f"{settings.crosswalk} has no numbers of")
        yield crosswalk
        return
    addressed = frozenset(issuer.name for issuer in issuers if issuer.system)
    _check_issuers(provincial, profiles, addressed, '"identity.issuers" has neither oid nor uri of')
    token = path_of(settings.pixm_token_file)
    async with pix_manager(settings.pixm_url, issuers, token_file=token, seconds=settings.pixm_seconds) as manager:
        yield Remembered(manager, settings.cache_seconds)


def known_patients(
    settings: IdentitySettings,
    source: IdentitySource,
    issuers: Issuers,
    profiles: Sequence[Profile],
    observer: Observer,
) -> Patients:
    """Return what translates between the identifiers of callers and regions, as the settings have it."""
    return Patients(
        source,
        issuers,
        profiles,
        observer,
        provincial="" if settings.source == "none" else settings.provincial_issuer,
        show_provincial=settings.present == "provincial",
    )


def _check_issuers(provincial: str, profiles: Sequence[Profile], known: frozenset[str], lacks: str) -> None:
    """Refuse a source that never names a region's patients: that region would never be asked, and nobody would know."""
    named = {"identity.provincial_issuer": provincial}
    named |= {f"region {profile.name} (issuer_of_patient_id)": profile.namespace for profile in profiles}
    for whose, issuer in named.items():
        if issuer not in known:
            raise ConfigError(
                f"{lacks} {issuer!r}, the issuer of {whose}: add them, or write there the issuer that it has"
            )
