"""What the HTTP status and header of a region's answer mean (RFC 9110, PS3.18 8.5), told to who can mend it.

Nothing of an answer's body is ever told: it may hold what a patient is called.
"""

import re
from collections.abc import Mapping
from email.message import Message
from typing import Final

from gateway.errors import Busy, DimseFailure, GatewayError, LimitExceeded, Loop, PartlyAnswered, Rejected, Unreachable
from gateway.region.profile import Profile
from gateway.wire.status import OUT_OF_RESOURCES, PROCESSING_FAILURE

NOT_UNDERSTOOD: Final = 0xA900
"""Failure: the Identifier, here the request, does not match the SOP Class (PS3.4 Table C.4-1)."""

LIMITED: Final = "limited"
_BREAK: Final = "remove one of the two profiles by which the gateways are regions of each other"
MOST_MEMBERS: Final = 64

_MEMBER: Final = re.compile(r"([A-Za-z0-9_-]{1,32})\s*;\s*state=([A-Za-z-]{1,32})", re.ASCII)
_ADDITIONAL: Final = re.compile(r"additional\s+results", re.IGNORECASE)


def missing(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of a region that is a federation itself which its answer lacks, and their states."""
    members = headers.get("Federation-Status", "").split(",")[:MOST_MEMBERS]
    found = (_MEMBER.match(member.strip()) for member in members)
    return {member[1].lower(): member[2] for member in found if member and member[2] != "complete"}


def partly(region: str, parts: Mapping[str, str]) -> GatewayError:
    """Return what such an answer lacks, as an error."""
    if set(parts.values()) == {LIMITED}:
        return LimitExceeded(f"region {region} has more matches than it gives: narrow the search", limit="max_matches")
    names = tuple(name for name, state in parts.items() if state != LIMITED)
    if looped := [name for name, state in parts.items() if state == Loop.slug]:
        return Loop(f"region {region} asks {' and '.join(looped)} in a circle: {_BREAK}", parts=names)
    return PartlyAnswered(f"region {region}: {' and '.join(names)} did not answer", parts=names)


def has_more(warnings: list[str]) -> bool:
    """Whether the server says that there are more results than it has sent (PS3.18 8.3.4.4)."""
    return any(_ADDITIONAL.search(text) for text in warnings)


def media_type(value: str) -> tuple[str, str]:
    """Return type and subtype in lower case, and the boundary, of a Content-Type field."""
    message = Message()
    message["Content-Type"] = value
    boundary = message.get_param("boundary", "")
    return message.get_content_type() if value else "", boundary if isinstance(boundary, str) else ""


def failure(profile: Profile, status: int, headers: Mapping[str, str], doing: str) -> GatewayError:
    """Return what a status is that is neither success nor a plain "there is none"."""
    region = f"region {profile.id}"
    parts = missing(headers)
    if status == 503 and parts:
        return partly(profile.id, parts)
    if status in {429, 503}:
        wait = retry_after(headers)
        return Busy(f"{region} is busy ({status})" + (f" and wants to be left alone for {wait} s" if wait else ""))
    if status == 508:
        return Loop(f"{region} is a gateway through which {doing} came to us: {_BREAK}")
    if status in {502, 504}:
        return Unreachable(f"{region}: its front answers {status}, the archive behind it does not: tell its operator")
    if status in {401, 403} or status < 400:
        return _rejected(profile, status, doing)
    return _failed(region, status, doing)


def _rejected(profile: Profile, status: int, doing: str) -> Rejected:
    """Return what somebody here or there has to set right; it says nothing of the region's health."""
    region = f"region {profile.id}"
    if status in {401, 403}:
        return Rejected(f"{region} refuses {doing} ({status}): {_credentials(profile)}", reason=0)
    if status >= 300:
        text = f'{region} redirects ({status}), which is not followed: write where it is into "dicomweb"'
        return Rejected(text, reason=0)
    return Rejected(f'{region} answers {doing} with {status}: check "dicomweb"', reason=0)


def _failed(region: str, status: int, doing: str) -> DimseFailure:
    """Return the DIMSE status that says the same."""
    if status in {413, 507}:
        return DimseFailure(f"{region} finds {doing} too large ({status})", status=OUT_OF_RESOURCES)
    if status >= 500:
        return DimseFailure(f"{region} failed at {doing} ({status})", status=PROCESSING_FAILURE)
    hint = ': check the path in "dicomweb"' if status in {404, 405} else ""
    return DimseFailure(f"{region} does not take {doing} ({status}){hint}", status=NOT_UNDERSTOOD)


def retry_after(headers: Mapping[str, str]) -> int:
    """Return the seconds of a Retry-After field, 0 where it has none or a date."""
    text = headers.get("Retry-After", "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0


def _credentials(profile: Profile) -> str:
    if profile.token_file:
        return "renew the token in token_file, or ask its administrator what our token may do"
    if profile.certificate:
        return "ask its administrator to admit our certificate"
    return 'it wants to know who asks: set "token_file", or "certificate" and "key"'
