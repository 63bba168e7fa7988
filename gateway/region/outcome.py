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
