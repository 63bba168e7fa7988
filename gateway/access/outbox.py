"""Tells a receiver of each override, by POST, until it has taken it."""

import asyncio
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp

from gateway.access.database import ConsentDatabase, Letter
from gateway.errors import ConsentUnavailable
from gateway.events import Event, Observer

LONGEST_PAUSE: Final = 300.0
SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class OverrideNotTold(Event):
    """The receiver of overrides did not take one; it will be sent again.

    Attributes:
        why: for who can mend it.
        attempts: how often it was sent.
    """

    why: str
    attempts: int


class Outbox:
    """Sends letters in the order in which they are due; a receiver knows one that it has by Idempotency-Key.

    Args:
        database: keeps them, until they are taken and after.
        url: of the receiver.
        token_file: holds a bearer token, read for each letter.
        tls: how the receiver is believed to be itself; None takes the system's authorities.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        database: ConsentDatabase,
        url: str,
        observe: Observer,
        *,
        token_file: Path | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._url = url
        self._observe = observe
        self._token_file = token_file
        self._tls = tls
        self._clock = clock

    async def run(self, posted: asyncio.Event, seconds: float) -> None:
        """Send what there is, whenever there is something new or it is time to try again, until cancelled."""
        connector = aiohttp.TCPConnector(limit=1, ssl=self._tls if self._tls is not None else True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                posted.clear()
                try:
                    await self._send_all(session)
                except ConsentUnavailable as error:
                    self._observe(OverrideNotTold(str(error), 0))
                try:
                    async with asyncio.timeout(seconds):
                        await posted.wait()
                except TimeoutError:
                    continue

    async def _send_all(self, session: aiohttp.ClientSession) -> None:
        while letter := await self._database.claim_letter(self._clock()):
            problem = await self._send(session, letter)
            now = self._clock()
            if not problem:
                await self._database.sent(letter, at=now)
                continue
            self._observe(OverrideNotTold(problem, letter.attempts + 1))
            pause = min(LONGEST_PAUSE, 2.0 ** min(letter.attempts, 10)) * random.uniform(0.8, 1.2)  # noqa: S311
            await self._database.sent(letter, again_at=now + pause)

    async def _send(self, session: aiohttp.ClientSession, letter: Letter) -> str:
        """Send one; return why it was not taken."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": letter.id}
        if self._token_file is not None:
            try:
                token = await asyncio.to_thread(self._token_file.read_text, "ascii")
            except (OSError, UnicodeDecodeError):
                return f"{self._token_file} holds no bearer token: check consent.webhook_token_file"
            headers["Authorization"] = f"Bearer {token.strip()}"
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        try:
            async with session.post(
                self._url, data=letter.body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    return ""
                return f"the receiver of overrides does not take them ({answer.status}): check consent.webhook_url"
        except TimeoutError:
            return f"the receiver of overrides did not answer within {SECONDS:g} s"
        except (aiohttp.ClientError, OSError) as error:
            # The error's own text may hold the URL's secrets.
            return f"the receiver of overrides cannot be reached ({type(error).__name__}): check consent.webhook_url"
