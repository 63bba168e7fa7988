"""Unique Identifiers (PS3.5 section 9)."""

import re
from typing import Final

_UID: Final = re.compile(r"\d+(\.\d+)*", re.ASCII)


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID; leading zeros, which archives hold, are let pass (PS3.5 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None
