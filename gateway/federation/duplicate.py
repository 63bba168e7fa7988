"""What a region means that refuses an instance because it has one of that UID (PS3.7 C.5, Duplicate SOP Instance).

Most often it is the same one: of a gateway that was killed before it could note the delivery, or of a sender who
repeats himself. It is delivered then. One of another study, series or SOP Class is a conflict for people to solve.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Protocol

from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import Busy, DatasetError, DimseFailure, LimitExceeded, Rejected, RequestError
from gateway.federation.admission import SOP_CLASS, SOP_INSTANCE
from gateway.region.profile import Profile
from gateway.spool.ledger import Kept
from gateway.wire.status import DUPLICATE_SOP_INSTANCE

HELD: Final = 0xBF02
"""Warning Reason of ours: a region has had the instance, and keeps what it has."""
HAD_IT: Final = "it has this SOP Instance UID already and keeps what it has, which was not compared byte by byte"


class Searchable(Protocol):
    """What is asked of a region."""

    @property
    def profile(self) -> Profile:
        """What is known of it."""

    def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each match, and raise at the end as the region fails."""


async def settled(region: Searchable, kept: Kept, refusal: DimseFailure, deadline: Deadline) -> int:
    """Return the status of an instance that its region calls a duplicate, once the region shows that it has it.

    A region that answers no such search is believed: to send the instance again would not tell more.

    Raises:
        DimseFailure: it shows no such instance in that series.
        RegionError: it cannot say now.
    """
    query = Query(
        Level.IMAGE,
        study=kept.study_instance_uid,
        series=kept.series_instance_uid,
        keys={(SOP_INSTANCE,): kept.sop_instance_uid},
        include=frozenset({(SOP_CLASS,)}),
        bare=True,
    )
    try:
        async with aclosing(region.search(query, deadline)) as rows:
            async for row in rows:
                if _is(row, kept):
                    return HELD
    except Busy:
        raise
    except (DatasetError, DimseFailure, LimitExceeded, Rejected, RequestError):
        return HELD
    text = (
        f"region {region.profile.id} has another instance of this SOP Instance UID (0111), for it shows none in this "
        "series: compare the two, and have one of them given a new UID, or deleted there"
    )
    raise DimseFailure(text, status=DUPLICATE_SOP_INSTANCE, comment=refusal.comment)


def _is(row: Row, kept: Kept) -> bool:
    """Whether a row is of an instance, as far as it says."""
    return (
        first(row.get(SOP_INSTANCE)) == kept.sop_instance_uid
        and (first(row.get(SOP_CLASS)) or kept.sop_class_uid) == kept.sop_class_uid
    )
