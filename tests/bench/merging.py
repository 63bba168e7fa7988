"""Merge, order, complete and write ten thousand rows, with regions that answer at once.

Prints rows per second.
Run as ``python -m tests.bench.merging``, in a process of its own.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator

from gateway.cli.serve import settle
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Level, Query, Row
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from gateway.deadline import Deadline
from gateway.events import unobserved
from gateway.federation.findings import SearchLimits
from gateway.federation.search import FederatedSearch
from gateway.region.profile import Profile
from gateway.web.locations import Locations
from gateway.web.rows import CHUNK_ROWS, JsonListing, Presentation
from tests.bench import rows

MANY = 10_000
SHARED = MANY // 20


class Instant:
    """A region whose rows are decoded before they are asked for."""

    patience = 30.0
    usual = 0.0

    def walks(self, query: Query) -> bool:
        return False

    def __init__(self, name: str, first: int, count: int) -> None:
        self.profile = Profile(name=name, ae_title=name, host="127.0.0.1", port=104)
        self._made = [rows.row(number) for number in range(first, first + count)]
        self.rows: list[Row] = []

    def decode(self) -> None:
        self.rows = [to_json_model(one, EXPLICIT_VR_LE) for one in self._made]

    async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        for row in self.rows if query.level is Level.STUDY else ():
            yield row


async def run(regions: list[Instant]) -> float:
    """Return the rows per second of one search, from the regions' rows to the bytes of the body."""
    for region in regions:
        region.decode()
    limits = SearchLimits(max_results=2 * MANY, derived_studies=1)
    async with FederatedSearch(regions, unobserved, limits=limits) as federation:
        query = Query(Level.STUDY)
        began = time.perf_counter()
        result = await federation.search(query, Deadline.after(30.0))
        present = Presentation(query, Locations("/dicom-web", None))
        listing = JsonListing("application/dicom+json")
        chunks = (result.rows[at : at + CHUNK_ROWS] for at in range(0, MANY, CHUNK_ROWS))
        size = sum(len(listing.rows([present(row) for row in chunk])) for chunk in chunks)
        seconds = time.perf_counter() - began
    if len(result.rows) != MANY or size < 100 * MANY:
        raise RuntimeError(f"{len(result.rows)} rows in {size} bytes")
    return MANY / seconds


def main() -> None:
    quarter = MANY // 4
    regions = [Instant(name, rank * quarter, quarter + (SHARED if rank < 3 else 0)) for rank, name in enumerate("NSGH")]
    settle()  # as the gateway does
    rates = [asyncio.run(run(regions)) for _ in range(6)]
    print(statistics.median(rates[1:]))


if __name__ == "__main__":
    main()
