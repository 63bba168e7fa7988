"""What a region's row does not say, because its region takes it for granted."""

import re
from typing import Final
from zoneinfo import ZoneInfo

from gateway.dataset.query import Query, Row
from gateway.dataset.zones import TIMEZONE_OFFSET_FROM_UTC, offset
from gateway.region.profile import Profile

ISSUER: Final = "00100021"
OF_THE_RESPONSE: Final = ("00080005", "00080052")
"""What describes a response, not the entity: how its text was encoded, and its Query/Retrieve Level."""

UID: Final = re.compile(r"[0-9][0-9.]{0,63}", re.ASCII)


def of_the_region(row: Row, query: Query, profile: Profile, zone: ZoneInfo) -> Row:
    """Say what the region does not: whose Patient IDs they are if asked (trap 5), and its time zone (trap 8)."""
    asked = (ISSUER,) in query.include or (ISSUER,) in query.keys
    if asked and profile.issuer_of_patient_id and not row.get(ISSUER, {}).get("Value"):
        row[ISSUER] = {"vr": "LO", "Value": [profile.issuer_of_patient_id]}
    if not row.get(TIMEZONE_OFFSET_FROM_UTC, {}).get("Value"):
        known = offset(row, zone)
        if known:
            row[TIMEZONE_OFFSET_FROM_UTC] = {"vr": "SH", "Value": [known]}
    return row


def first(row: Row, tag: str) -> str:
    """Return the first value of an attribute as text, empty where there is none."""
    values = row.get(tag, {}).get("Value") or [""]
    return str(values[0] or "")
