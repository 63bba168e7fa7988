"""Consents with their receiver of overrides, as the settings have them."""

import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from gateway.access.consent import Consents, Policy
from gateway.access.database import ConsentDatabase
from gateway.access.fhir_consent import ConsentResources
from gateway.access.fhir_terms import Naming
from gateway.access.outbox import Outbox
from gateway.access.permit import Recorder
from gateway.access.postgres import postgres
from gateway.access.sqlite import sqlite
from gateway.alongside import alongside
from gateway.config.consent import ConsentSettings
from gateway.config.paths import path_of
from gateway.errors import ConfigError
from gateway.events import Observer, unobserved


@asynccontextmanager
async def consenting(
    settings: ConsentSettings,
    naming: Naming,
    recorder: Recorder | None,
    observe: Observer = unobserved,
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Consents]:
    """Enforce the consents of a database, and tell of overrides, as long as the context lasts.

    Raises:
        ConfigError: the database or a certificate cannot be used.
        ConsentUnavailable: the database cannot be read.
    """
    policy = Policy(
        settings.default,
        settings.disclosure,
        settings.override_seconds,
        settings.poll_seconds,
        settings.stale_seconds,
    )
    tls = _authority(settings)
    async with consent_database(settings) as database:
        consents = Consents(database, policy, ConsentResources(naming), recorder=recorder, observe=observe, clock=clock)
        async with consents.running(), _telling(settings, database, consents, observe, tls, clock):
            yield consents


def consent_database(settings: ConsentSettings) -> AbstractAsyncContextManager[ConsentDatabase]:
    """Open the database that the settings name, as long as the context lasts."""
    if "://" in settings.database:
        return postgres(settings.database, path_of(settings.database_password_file))
    return sqlite(Path(settings.database))


@asynccontextmanager
async def _telling(
    settings: ConsentSettings,
    database: ConsentDatabase,
    consents: Consents,
    observe: Observer,
    tls: ssl.SSLContext | None,
    clock: Callable[[], float],
) -> AsyncIterator[None]:
    """Send what the receiver of overrides has to hear, if there is one."""
    if not settings.webhook_url:
        yield
        return
    token = path_of(settings.webhook_token_file)
    outbox = Outbox(database, settings.webhook_url, observe, token_file=token, tls=tls, clock=clock)
    async with alongside(outbox.run(consents.posted, settings.poll_seconds)):
        yield


def _authority(settings: ConsentSettings) -> ssl.SSLContext | None:
    if not settings.webhook_ca:
        return None
    try:
        return ssl.create_default_context(cafile=settings.webhook_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f'"consent.webhook_ca" {settings.webhook_ca} cannot be used: give a PEM file') from error
