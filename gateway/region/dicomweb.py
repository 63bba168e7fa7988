"""A region that speaks DICOMweb: search, retrieve, store and verify over QIDO-RS, WADO-RS and STOW-RS."""

from collections.abc import AsyncGenerator, Callable

from gateway.config.settings import Settings
from gateway.dataset.query import Query, Row, Selection
from gateway.deadline import Deadline
from gateway.dimse.suboperations import SubOperations
from gateway.errors import Stalled
from gateway.events import CircuitChanged, Observer
from gateway.region.breaker import Breaker
from gateway.region.dicomweb_answers import failure
from gateway.region.dicomweb_client import Client
from gateway.region.dicomweb_retrieve import WebTransfer
from gateway.region.dicomweb_search import JSON, WebFinder
from gateway.region.dicomweb_store import WebStoring
from gateway.region.guard import Guard
from gateway.region.inbox import Inbox, Receiver
from gateway.region.profile import Profile
from gateway.region.searching import Searching
from gateway.region.storing import Outgoing

MOST_BYTES = 1 << 20
"""Of the answer to ``verify``: one row fits."""


class DicomwebRegion:
    """One region of the province, made dependable: what ``Region`` is, for one that needs no DIMSE.

    Attributes:
        profile: what is known of it.
        patience: seconds that a search waits for it.
        usual: seconds that its searches take of late.
    """

    def __init__(
        self, profile: Profile, settings: Settings, inbox: Inbox, observer: Observer, pseudonym: str = ""
    ) -> None:
        """Raise ConfigError where its token or a certificate cannot be used.

        Args:
            profile: what is known of it.
            settings: how it is asked.
            inbox: where what it sends goes.
            observer: hears of what happens.
            pseudonym: what it is told that we are called; empty where it could not ask us back.
        """
        self.profile = profile
        self.breaker = Breaker(profile.id, changed=lambda state: observer(CircuitChanged(profile.id, state)))
        self._client = Client(profile, pseudonym)
        self._transfer = WebTransfer(profile, self._client, inbox)
        self._storing = WebStoring(profile, self._client)
        self._guard = Guard(self.breaker, self.verify)
        finder = WebFinder(profile, self._client, max_matches=settings.search.max_matches_per_region)
        self._searching = Searching(profile, settings.search, finder, finder.cap, self._guard)

    @property
    def patience(self) -> float:
        """How many seconds to wait for a search, from how long the last ones took (trap 11)."""
        return self._searching.latency.patience

    @property
    def usual(self) -> float:
        """How many seconds its searches take of late; 0 before anything is known."""
        return self._searching.latency.usual

    def walks(self, query: Query) -> bool:
        """Whether a query is answered level by level: it takes what it takes, and tells nothing of the region."""
        return self._searching.walks(query)

    def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each match as the region gives it (PS3.18 10.6), and raise at the end as ``Searching.rows`` does."""
        return self._searching.rows(query, deadline)

    async def retrieve(
        self,
        selection: Selection,
        receive: Receiver,
        deadline: Deadline,
        *,
        held_up: Callable[[], bool],  # noqa: ARG002 - what is not read is not waited for
    ) -> SubOperations:
        """Have each selected instance handed to ``receive``, by WADO-RS (PS3.18 10.4).

        Raises:
            RegionError: the region failed; what it had sent was handed on.
        """
        async with self._guard.operation(deadline):
            return await self._transfer.run(selection, receive, deadline)

    async def store(self, instance: Outgoing, deadline: Deadline, *, stall_seconds: float) -> int:
        """Have the region keep an instance by STOW-RS, and return the status: Success or a Warning (PS3.18 10.5).

        The deadline is for the connection; an instance may take as long as it goes on moving.

        Raises:
            NotStorable: the region does not take its Transfer Syntax.
            RegionError: the region refused it, or failed.
        """
        async with self._guard.operation(deadline):
            return await self._storing.run(instance, deadline, stall_seconds)

    async def verify(self, deadline: Deadline) -> None:
        """Ask for one study, past the circuit breaker, and look at nothing of it; raise RegionError without answer."""
        try:
            async with (
                deadline.timeout(),
                self._client.request("GET", "/studies", accept=JSON, query="limit=1") as response,
            ):
                if response.status not in {200, 204}:
                    raise failure(self.profile, response.status, response.headers, "a search")
                await self._client.whole(response, MOST_BYTES)
        except TimeoutError:
            raise Stalled(f"region {self.profile.id} did not answer in time") from None

    async def examine(self, deadline: Deadline) -> None:
        """Verify it through its circuit breaker, which learns from that.

        Raises:
            OpenCircuit: it is to be left alone.
            RegionError: it did not answer.
        """
        async with self._guard.operation(deadline):
            await self.verify(deadline)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()
