"""The FHIR feed: each AuditEvent is posted to an audit record repository (IHE ITI-20, RESTful ATNA)."""

import asyncio
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from gateway.audit.chain import Entry
from gateway.audit.feed import FeedFailed
from gateway.audit.fhir_event import audit_events
from gateway.audit.source import AuditSource

MEDIA_TYPE: Final = "application/fhir+json"
AT_ONCE: Final = 8
"""Records that are posted together; when one fails, those of the same eight are posted again."""


class FhirReceiver:
    """An audit record repository that takes FHIR R4 AuditEvents."""

    name = "fhir"

    def __init__(
        self,
        url: str,
        source: AuditSource,
        *,
        token_file: Path | None = None,
        tls: ssl.SSLContext | None = None,
        seconds: float = 10.0,
    ) -> None:
        self._url = f"{url.rstrip('/')}/AuditEvent"
        self._source = source
        self._token_file = token_file
        self._tls = tls
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def send(self, batch: Sequence[Entry]) -> None:
        """Return when the receiver has answered every POST with success."""
        for start in range(0, len(batch), AT_ONCE):
            together = batch[start : start + AT_ONCE]
            async with asyncio.TaskGroup() as group:
                posts = [group.create_task(self._bring(entry)) for entry in together]
            if problem := next(filter(None, (post.result() for post in posts)), ""):
                raise FeedFailed(problem, start)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _bring(self, entry: Entry) -> str:
        """Post the events of a record one behind the other; return why that failed."""
        for event in audit_events(entry, self._source):
            del event["id"]  # the receiver gives it one of its own
            try:
                problem = await self._post(orjson.dumps(event))
            except TimeoutError:
                problem = f"the FHIR receiver did not answer within {self._seconds:g} s"
            except (aiohttp.ClientError, OSError) as error:
                # The error's own text holds nothing that helps and may hold the URL's secrets.
                problem = f"the FHIR receiver cannot be reached ({type(error).__name__}): check audit.fhir_url"
            if problem:
                return problem
        return ""

    async def _post(self, body: bytes) -> str:
        session = self._session or self._open()
        headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE, "Prefer": "return=minimal"}
        if self._token_file is not None:
            try:
                token = await asyncio.to_thread(self._token_file.read_text, "ascii")
            except (OSError, UnicodeDecodeError):
                return f"{self._token_file}: holds no bearer token: check audit.fhir_token_file"
            headers["Authorization"] = f"Bearer {token.strip()}"
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        async with session.post(
            self._url, data=body, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            return "" if response.status in {HTTPStatus.OK, HTTPStatus.CREATED} else _told(response.status)

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=self._tls if self._tls is not None else True)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _told(status: int) -> str:
    """Say what is wrong to who can mend it."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"the FHIR receiver refuses us ({status}): check audit.fhir_token_file and audit.fhir_certificate"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"the FHIR receiver redirects ({status}), which is not followed: put its own address in audit.fhir_url"
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return f"what answers at audit.fhir_url ({status}) takes no AuditEvent: name its FHIR base"
    return f"the FHIR receiver does not take an AuditEvent ({status})"
