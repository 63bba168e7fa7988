"""What an operation's end says about the region."""

from gateway.errors import (
    Aborted,
    Closed,
    DimseFailure,
    LimitExceeded,
    Refused,
    Rejected,
    RemoteProtocolError,
    Reset,
    Stalled,
    Truncated,
    Unreachable,
)

BROKEN = (Refused, Unreachable, Reset, Closed, Truncated, Stalled, Aborted, Rejected, RemoteProtocolError)
"""Errors that say the region, or the way to it, is ill; Busy counts, for it is a rejection."""

ANSWERED = (DimseFailure, LimitExceeded)
"""Errors that a region in good health may cause."""


def is_answer(error: Exception) -> bool:
    """Whether an error is an answer of a region in good health, such as that it does not offer a service."""
    # Reason 0 is none that an A-ASSOCIATE-RJ can give: the association was accepted, a Presentation Context was not.
    return isinstance(error, ANSWERED) or (isinstance(error, Rejected) and error.reason == 0)
