"""All that watches a gateway, joined: one observer, the pages that show what it saw, and two quiet tasks."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography import x509

from gateway.alongside import alongside
from gateway.config.settings import Settings
from gateway.errors import ConfigError
from gateway.events import Event, Observer
from gateway.ops.lights import Light as StatusLight
from gateway.ops.metrics import CONTENT_TYPE, Metrics
from gateway.ops.probes import Probes
from gateway.ops.pulse import Echoes, Examined, Lag
from gateway.ops.recent import RecentRequests
from gateway.ops.status import Sources, StatusModel
from gateway.ops.status_pages import StatusPages
from gateway.region.profile import Profile
from gateway.web.home import Light, LightState
from gateway.web.pages import Maker, Page, Visit

_STATES: Final[Mapping[StatusLight, LightState]] = MappingProxyType({
    StatusLight.GREEN: "up",
    StatusLight.AMBER: "trying",
    StatusLight.RED: "down",
    StatusLight.GREY: "unknown",
})  # fmt: skip
STATUS = "/status"
REQUEST = "/federation/status/{request_id}"


class Operations:
    """What operators have of a gateway.

    Attributes:
        probes: whether it lives, has started and takes requests.
        model: how it is.
        recent: what became of the last requests.
        metrics: what it has counted.
    """

    def __init__(self, settings: Settings, profiles: Sequence[Profile], observer: Observer) -> None:
        self.probes = Probes()
        self.model = StatusModel(settings, profiles, self.probes.problems)
        self.recent = RecentRequests()
        self._lag = Lag()
        self.metrics = Metrics(lambda: self._lag.worst)
        self._settings = settings.ops
        self._pages = StatusPages(self.model, self.recent)
        self._observers: list[Observer] = [observer, self.model, self.recent, self.metrics]

    def __call__(self, event: Event) -> None:
        """Tell all who watch."""
        for observer in self._observers:
            observer(event)

    def pages(self) -> Mapping[str, Maker]:
        """Return the pages that everybody may see."""
        probes, pages = self.probes, self._pages
        return {
            "/livez": probes.livez,
            "/readyz": probes.readyz,
            "/startupz": probes.startupz,
            STATUS: pages.html,
            f"{STATUS}.json": pages.json,
            f"{STATUS}/events": pages.events,
            REQUEST: pages.request,
        }

    def admin_pages(self) -> Mapping[str, Maker]:
        """Return the pages of the address for operators: the same, and the metrics."""
        return {**self.pages(), "/metrics": self._metrics}

    @asynccontextmanager
    async def watching(self, sources: Sources, regions: Sequence[Examined]) -> AsyncIterator[None]:
        """Look at a gateway as long as the context lasts."""
        self.model.attach(sources)
        self.probes.require("spool", lambda: _spool_problem(sources))
        seconds = self._settings.echo_seconds
        echoing = [Echoes(regions, self, seconds).run()] if seconds and regions else []
        async with self._tracing(), alongside(self._lag.run(), *echoing):
            yield

    async def lights(self) -> list[Light]:
        """Return how the regions are, for the home page."""
        snapshot = await self.model.current()
        return [Light(x.profile.name, x.profile.title, _STATES[x.light]) for x in snapshot.regions]

    def drain(self) -> None:
        """Say that the gateway is about to stop, and end what would keep it from that."""
        self.probes.drain()
        self._pages.close()

    @asynccontextmanager
    async def _tracing(self) -> AsyncIterator[None]:
        endpoint = self._settings.otlp_endpoint
        if not endpoint:
            yield
            return
        from gateway.ops.tracing import Tracing  # noqa: PLC0415 - it costs 20 MB where nobody traces

        tracing = Tracing(endpoint, self.model.version)
        self._observers.append(tracing)
        try:
            yield
        finally:
            self._observers.remove(tracing)
            await asyncio.to_thread(tracing.close)

    async def _metrics(self, _: Visit) -> Page:
        return Page(self.metrics.exposition(await self.model.current()), CONTENT_TYPE)


def certificate_ends(files: Mapping[str, str]) -> dict[str, float]:
    """Return when the first certificate of each PEM file ends, in seconds since 1970; faces without one are left out.

    Raises:
        ConfigError: a file holds none.
    """
    ends: dict[str, float] = {}
    for face, name in files.items():
        if not name:
            continue
        try:
            ends[face] = x509.load_pem_x509_certificate(Path(name).read_bytes()).not_valid_after_utc.timestamp()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{name}: holds no certificate: give a PEM chain") from error
    return ends


def _spool_problem(sources: Sources) -> str:
    full = any(retrieve.spool.is_full for retrieve in sources.retrieves)
    return "the spool's disk has no room: make room there, or choose another [spool] folder" if full else ""
