"""Matching keys: what a value may look like for its VR, in the notation of PS3.4 C.2.2.2."""

import re
from collections.abc import Callable
from datetime import date
from types import MappingProxyType
from typing import Final

from gateway.dataset.comparison import EMPTY
from gateway.dataset.uid import is_uid
from gateway.errors import RequestError

_MULTIPLE: Final = frozenset({"AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"})
_WITHOUT_COMMA: Final = frozenset({"AS", "AT", "CS"})
"""VRs whose values hold no comma: it can only separate them."""

_COMMAS: Final = ",\\"
_LISTED: Final = "; several are separated by backslashes and hold no wildcards"

_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])(([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?)?)?)?"
    r"(\+(0\d|1[0-4])[0-5]\d|-(0\d|1[0-2])[0-5]\d)?",
    re.ASCII,
)
_NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"


def key_value(name: str, vr: str, value: str, *, empty: bool, multiple: bool = False) -> str:
    """Check the value of a matching key; return it in C-FIND notation, empty for universal matching.

    Args:
        name: the parameter, as the caller wrote it.
        vr: of the attribute.
        value: decoded.
        empty: Empty Value Matching was asked for.
        multiple: Multiple Value Matching was asked for (PS3.4 C.2.2.2.8).

    Raises:
        RequestError: the value cannot be one of that VR; the text says what is expected, and not what was given.
    """
    if value.strip() in {"", "*"}:
        return ""
    if value == EMPTY:
        if empty:
            return EMPTY
        raise RequestError(f"{name}: expected a value; to find attributes without one, add emptyvaluematching=true")
    read = _READERS.get(vr, _one_value)
    listed = multiple and vr in _MULTIPLE
    found = _list(value, _COMMAS if vr in _WITHOUT_COMMA else "\\", read) if listed else read(value)
    if found is None:
        raise RequestError(f"{name}: expected {expectation(vr)}{_LISTED if listed else ''}")
    return found


def expectation(vr: str) -> str:
    """Say what the value of a matching key may be, for its VR."""
    return _EXPECTED.get(vr, "one value")


def _uid_list(value: str) -> str | None:
    uids = [part.strip() for part in re.split(r"[,\\]", value)]
    return "\\".join(uids) if all(map(is_uid, uids)) else None


def _code_list(value: str) -> str | None:
    codes = [part.strip() for part in re.split(r"[,\\]", value)]
    return "\\".join(codes) if all(codes) else None


def _list(value: str, separators: str, read: Callable[[str], str | None]) -> str | None:
    """Read one value or several; only one that stands alone may hold a wildcard (PS3.4 C.2.2.2.8)."""
    parts = [part.strip() for part in re.split(f"[{re.escape(separators)}]", value)]
    values = [found for part in parts if part and (found := read(part))]
    whole = len(values) == len(parts) and (len(parts) == 1 or not re.search("[*?]", value))
    return "\\".join(values) if whole else None


def _one_value(value: str) -> str | None:
    return None if "\\" in value else value


def _text(value: str) -> str | None:
    return value


def _nothing(value: str) -> str | None:  # noqa: ARG001  (one of the readers)
    return None


def _pattern(expression: str) -> Callable[[str], str | None]:
    compiled = re.compile(expression, re.ASCII)

    def read(value: str) -> str | None:
        trimmed = value.strip()
        return trimmed if compiled.fullmatch(trimmed) else None

    return read


def _is_date(value: str) -> bool:
    if not re.fullmatch(r"\d{8}", value, re.ASCII):
        return False
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return False
    return True


def _range(is_bound: Callable[[str], bool], *, may_turn: bool = False) -> Callable[[str], str | None]:
    """Make the reader of a VR with Range Matching whose values hold no hyphen (PS3.4 C.2.2.2.5).

    Times may run backwards: with a range of dates they bound one range of instants, from late on one day to early
    on another (PS3.18 8.3.4.1.1).
    """

    def read(value: str) -> str | None:
        begin, hyphen, end = (part.strip() for part in value.partition("-"))
        bounds = [bound for bound in (begin, end) if bound]
        if not bounds or not all(map(is_bound, bounds)):
            return None
        backwards = not may_turn and len(bounds) == 2 and begin > end and not begin.startswith(end)
        return None if backwards else f"{begin}{hyphen}{end}"

    return read


def _is_time(value: str) -> bool:
    return _TIME.fullmatch(value) is not None


def _moments(value: str) -> str | None:
    """Read a date time or a range of them; a hyphen may also belong to an offset from UTC (PS3.5 6.2)."""
    trimmed = value.replace(" ", "")
    splits = [(trimmed[: at.start()], trimmed[at.end() :]) for at in re.finditer("-", trimmed)]
    for begin, end in [(trimmed, ""), *splits]:
        bounds = [bound for bound in (begin, end) if bound]
        if bounds and all(map(_MOMENT.fullmatch, bounds)):
            return trimmed
    return None


_READERS: Final = MappingProxyType(
    {
        "UI": _uid_list,
        "CS": _code_list,
        "DA": _range(_is_date),
        "TM": _range(_is_time, may_turn=True),
        "DT": _moments,
        "IS": _pattern(r"[+-]?\d{1,11}"),
        "DS": _pattern(rf"(?=.{{1,16}}$){_NUMBER}"),
        "AS": _pattern(r"\d{3}[DWMY]"),
        "AT": _pattern(r"[0-9A-Fa-f]{8}"),
        **dict.fromkeys(("US", "UL", "UV"), _pattern(r"\d{1,20}")),
        **dict.fromkeys(("SS", "SL", "SV"), _pattern(r"[+-]?\d{1,19}")),
        **dict.fromkeys(("FL", "FD"), _pattern(_NUMBER)),
        **dict.fromkeys(("ST", "LT", "UT", "UR", "UN"), _text),
        **dict.fromkeys(("SQ", "OB", "OD", "OF", "OL", "OV", "OW"), _nothing),
    }
)

_RANGE = "a range such as {0}-{1}, {0}- or -{1}"
_EXPECTED: Final = MappingProxyType(
    {
        "UI": "a UID, or several separated by commas",
        "CS": "a code, or several separated by commas",
        "DA": f"a date YYYYMMDD, or {_RANGE.format('20240101', '20240331')}",
        "TM": f"a time HHMMSS, or {_RANGE.format('080000', '170000')}",
        "DT": f"a date time YYYYMMDDHHMMSS+ZZXX, or {_RANGE.format('20240101', '20240331')}",
        "IS": "an integer",
        "DS": "a number of at most 16 characters",
        "AS": "an age such as 042Y",
        "AT": "a tag of eight hexadecimal digits",
        **dict.fromkeys(("US", "UL", "UV"), "an unsigned integer"),
        **dict.fromkeys(("SS", "SL", "SV"), "an integer"),
        **dict.fromkeys(("FL", "FD"), "a number"),
        "SQ": "no value: name an attribute inside the sequence behind a dot",
        **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW"), "no value: bulk data cannot be matched"),
    }
)
