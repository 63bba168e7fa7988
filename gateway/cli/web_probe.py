"""What `gateway region profile` asks an archive that speaks DICOMweb: little, and nothing that costs it much."""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from gateway.cli.learned import Learned
from gateway.cli.probe import IMPOSSIBLE, ISSUER, OFFSET, SAMPLE
from gateway.cli.visit import INSTANCE, SERIES, STUDY, first
from gateway.dataset.query import Row
from gateway.errors import DatasetError, GatewayError, Stalled
from gateway.region.dicomweb_answers import failure
from gateway.region.dicomweb_client import Client
from gateway.region.dicomweb_retrieve import ACCEPT
from gateway.region.dicomweb_search import JSON
from gateway.region.profile import Profile

MOST_BYTES = 8 << 20


class WebProbe:
    """Asks one archive, question by question."""

    def __init__(self, profile: Profile, seconds: float) -> None:
        """Raise ConfigError where its token or a certificate cannot be used."""
        self._profile = profile
        self._seconds = seconds
        self._client = Client(profile)
        self._rows: list[Row] = []
        self.learned = Learned(relational="not known")

    async def run(self, told: Callable[[str], None]) -> Learned:
        """Learn what can be learned; ``told`` hears what is asked.

        Raises:
            RegionError: it does not answer a search.
        """
        questions = {"keys": self._keys, "searches without a study": self._relational, "WADO-RS": self._retrieve}
        try:
            told("searching")
            await self._sample()
            await self.learned.ask(questions, told)
        finally:
            await self._client.aclose()
        return self.learned

    async def _sample(self) -> None:
        wanted = urlencode({"limit": SAMPLE, "includefield": f"{ISSUER},{OFFSET}"})
        began = time.monotonic()
        self._rows = await self._search("/studies", wanted)
        self.learned.milliseconds["search"] = round(1000 * (time.monotonic() - began))
        self.learned.sop_classes.append("QIDO-RS")
        self.learned.issuer = next((x for row in self._rows if (x := first(row, ISSUER))), None)
        self.learned.offset = next((x for row in self._rows if (x := first(row, OFFSET))), None)
        if not self._rows:
            self.learned.remarks.append("no study is shown to us: little could be learned")

    async def _keys(self) -> None:
        """Ask for values that no study has: rows show that a key is not looked at (PS3.18 10.6.1.2)."""
        if not self._rows:
            return
        for name, (_, value) in IMPOSSIBLE.items():
            try:
                found = await self._search("/studies", f"{name}={quote(value)}&limit=1")
            except GatewayError:
                self.learned.refused.append(name)
            else:
                (self.learned.ignored if found else self.learned.honoured).append(name)

    async def _relational(self) -> None:
        """Ask for series of no study in particular."""
        if not self._rows:
            return
        try:
            found = await self._search("/series", "limit=1")
        except GatewayError:
            found = []
        self.learned.relational = "granted" if found else "refused"

    async def _retrieve(self) -> None:
        """Ask for one instance, and read nothing of it."""
        for study in filter(None, (first(row, STUDY) for row in self._rows)):
            for row in await self._search(f"/studies/{study}/instances", "limit=1"):
                path = f"/studies/{study}/series/{first(row, SERIES)}/instances/{first(row, INSTANCE)}"
                status, _ = await self._asked(path, "", ACCEPT, is_read=False)
                if status == 200:
                    self.learned.sop_classes.append("WADO-RS")
                else:
                    self.learned.remarks.append(f"WADO-RS: it answers {status} for an instance that it lists")
                return

    async def _search(self, path: str, query: str) -> list[Row]:
        status, content = await self._asked(path, query, JSON)
        if status == 204:
            return []
        try:
            rows: Any = orjson.loads(content)
        except orjson.JSONDecodeError:
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DatasetError(f"region {self._profile.id} answers a search with what is no DICOM JSON")
        return rows

    async def _asked(self, path: str, query: str, accept: str, *, is_read: bool = True) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.request("GET", path, accept=accept, query=query) as response,
            ):
                if is_read and response.status not in {200, 204}:
                    raise failure(self._profile, response.status, response.headers, "a search")
                return response.status, await self._client.whole(response, MOST_BYTES) if is_read else b""
        except TimeoutError:
            raise Stalled(f"region {self._profile.id} did not answer in time") from None
