"""The query component of a Search transaction: parameters into a ``Query`` (PS3.18 8.3.4)."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from gateway.dataset.dictionary import keywords, vr_of
from gateway.dataset.query import Level, Query, TagPath
from gateway.dataset.required import LOWER_LEVELS
from gateway.errors import RequestError
from gateway.web.keys import key_value

MOST_PARAMETERS: Final = 100
MOST_HINTS: Final = 5
_KEYWORDS: Final = re.compile(r"[A-Za-z._]{1,64}")
_TAGS: Final = re.compile(r"00[0-9A-Fa-f]{6}(\.[0-9A-Fa-f]{8})*")
STUDY_INSTANCE_UID: Final = ("0020000D",)
SERIES_INSTANCE_UID: Final = ("0020000E",)
MODALITY: Final = ("00080060",)
TIMEZONE_OFFSET: Final = ("00080201",)
CONTROLS: Final = ("limit", "offset", "fuzzymatching", "includefield", "emptyvaluematching", "multiplevaluematching")
ELSEWHERE: Final = frozenset({"accept", "charset"})
UNMATCHABLE: Final = frozenset({"00080005", "00080052"})
"""Specific Character Set and Query/Retrieve Level steer a C-FIND; they are no keys of it."""
WESTERNMOST, EASTERNMOST = -12 * 60, 14 * 60
PLUS_IS_PLUS: Final = frozenset({"DT", "TM", "UR", "DS", "IS"})

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)", re.ASCII)
_UNSIGNED = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pair:
    """One parameter as it stands in the URL.

    Attributes:
        name: its name, decoded.
        encoded: its value, still percent-encoded.
    """

    name: str
    encoded: str

    @property
    def value(self) -> str:
        """The value decoded as HTML forms encode it: ``+`` is a space."""
        return self.literal(" ")

    def literal(self, plus: str) -> str:
        """Decode the value with ``+`` standing for the given character."""
        try:
            text = unquote(self.encoded.replace("+", plus), errors="strict")
        except UnicodeDecodeError:
            raise RequestError(f"{self.name}: expected percent-encoded UTF-8") from None
        if _CONTROL_CHARACTER.search(text):
            raise RequestError(f"{self.name}: expected no control characters")
        return text


def pairs(query_string: bytes) -> list[Pair]:
    """Split the query component into its parameters (RFC 3986 3.4)."""
    try:
        parts = [part for part in query_string.decode().split("&") if part]
    except UnicodeDecodeError:
        raise RequestError("the query is not percent-encoded UTF-8") from None
    if len(parts) > MOST_PARAMETERS:
        raise RequestError(f"more than {MOST_PARAMETERS} query parameters")
    split = (part.partition("=") for part in parts)
    return [Pair(_printable(unquote(name)), value) for name, _, value in split]


def _printable(name: str) -> str:
    return _CONTROL_CHARACTER.sub("?", name[:64])


def search_query(
    level: Level,
    parameters: Iterable[Pair],
    *,
    study: str | None = None,
    series: str | None = None,
    strict: bool = False,
) -> Query:
    """Make the query that the parameters describe.

    Args:
        level: what the rows are.
        parameters: the query component.
        study: Study Instance UID in the resource path.
        series: Series Instance UID in the resource path.
        strict: an unknown parameter is an error, not a warning.

    Raises:
        RequestError: a parameter is known and its value is wrong, or it is given twice; the text names it.
    """
    reading = _Reading(parameters)
    for path, given in ((STUDY_INSTANCE_UID, study), (SERIES_INSTANCE_UID, series)):
        if given is not None:
            reading.fixed(path, given)
    reading.check_private()
    reading.check_levels(level)
    if reading.unknown and strict:
        raise RequestError("; ".join(_unknown(reading.unknown)))
    return Query(
        level,
        study,
        series,
        keys=reading.keys,
        include=frozenset(path for path in reading.include if path[0] not in LOWER_LEVELS[level]),
        include_all=reading.include_all,
        offset=reading.unsigned("offset") or 0,
        limit=reading.unsigned("limit"),
        fuzzy=reading.boolean("fuzzymatching"),
        warnings=tuple(f"{text} It was ignored." for text in _unknown(reading.unknown)),
        utc_offset=reading.utc_offset,
        every_value=reading.boolean("multiplevaluematching"),
    )


@dataclass(slots=True)
class _Reading:
    """The parameters of one search, sorted by what they are."""

    parameters: Iterable[Pair]
    controls: dict[str, str] = field(default_factory=dict)
    keys: dict[TagPath, str] = field(default_factory=dict)
    matched: set[TagPath] = field(default_factory=set)
    names: dict[TagPath, str] = field(default_factory=dict)
    include: set[TagPath] = field(default_factory=set)
    include_all: bool = False
    unknown: list[str] = field(default_factory=list)
    utc_offset: int | None = None

    def __post_init__(self) -> None:
        matches: list[Pair] = []
        for pair in self.parameters:
            if pair.name == "includefield":
                self._include(pair.value)
            elif pair.name in CONTROLS:
                self._control(pair)
            elif pair.name not in ELSEWHERE:
                matches.append(pair)
        empty, multiple = self.boolean("emptyvaluematching"), self.boolean("multiplevaluematching")
        for pair in matches:
            self._match(pair, empty=empty, multiple=multiple)

    def _control(self, pair: Pair) -> None:
        if pair.name in self.controls:
            raise RequestError(f"{pair.name}: expected once, given twice")
        self.controls[pair.name] = pair.value

    def _include(self, value: str) -> None:
        for name in filter(None, map(str.strip, value.split(","))):
            path = tag_path(name)
            if name == "all":
                self.include_all = True
            elif path is None:
                self.unknown.append(name)
            else:
                self.include.add(path)
                self.names.setdefault(path, name)

    def _match(self, pair: Pair, *, empty: bool, multiple: bool) -> None:
        path = tag_path(pair.name)
        if path is None or path[-1] in UNMATCHABLE:
            self.unknown.append(pair.name)
            return
        if path in self.matched:
            raise RequestError(f"{pair.name}: expected once, given twice")
        self.matched.add(path)
        if path == TIMEZONE_OFFSET:
            self.utc_offset = _minutes(pair.name, pair.literal("+"))
            return
        vr = vr_of(path[-1])
        value = pair.literal("+") if vr in PLUS_IS_PLUS else pair.value
        self.keys[path] = key_value(pair.name, vr, value, empty=empty, multiple=multiple)
        self.names[path] = pair.name

    def boolean(self, name: str) -> bool:
        value = self.controls.get(name, "false")
        if value not in {"true", "false"}:
            raise RequestError(f"{name}: expected true or false")
        return value == "true"

    def unsigned(self, name: str) -> int | None:
        value = self.controls.get(name)
        if value is None:
            return None
        if not _UNSIGNED.fullmatch(value):
            raise RequestError(f"{name}: expected a number, 0 or more")
        return int(value)

    def fixed(self, path: TagPath, given: str) -> None:
        """Take out a key that the resource path already answers; it must not contradict it."""
        value = self.keys.pop(path, "")
        if value and given not in value.split("\\"):
            raise RequestError(f"{self.names[path]}: expected the UID that the path names, or none")

    def check_levels(self, level: Level) -> None:
        """Refuse a key of a level below: rows of this one do not have it, and without it the search is wider."""
        for path, key in self.keys.items():
            if key and path[0] in LOWER_LEVELS[level]:
                name = self.names[path]
                lower = "instances" if level is Level.SERIES or path[0] in LOWER_LEVELS[Level.SERIES] else "series"
                other = " or ModalitiesInStudy" if path == MODALITY and level is Level.STUDY else ""
                raise RequestError(
                    f"{name}: no attribute of a {level.value.lower()}; expected in /{lower}?{name}={other}"
                )

    def check_private(self) -> None:
        """Demand the Private Creator beside each private attribute (PS3.18 8.3.4.1)."""
        for path, name in self.names.items():
            group, element = path[-1][:4], path[-1][4:]
            if int(group, 16) & 1 and int(element, 16) >= 0x1000:
                creator = f"{group}00{element[:2]}"
                if not self.keys.get((*path[:-1], creator)):
                    prefix = name.rpartition(".")[0]
                    wanted = f"{prefix}.{creator}" if prefix else creator
                    raise RequestError(f"{name}: a private attribute; expected its Private Creator in {wanted}=")


def _minutes(name: str, value: str) -> int | None:
    """Read an offset from UTC as minutes east of Greenwich; an empty one says nothing (PS3.3 C.12.1.1.8)."""
    if not value.strip():
        return None
    found = _OFFSET.fullmatch(value.strip())
    minutes = int(found[1] + "1") * (int(found[2]) * 60 + int(found[3])) if found else WESTERNMOST - 1
    if not WESTERNMOST <= minutes <= EASTERNMOST or value.strip() == "-0000":
        raise RequestError(f"{name}: expected an offset +hhmm or -hhmm, from -1200 to +1400")
    return minutes


@lru_cache(maxsize=1024)
def tag_path(name: str) -> TagPath | None:
    """Return the tags that an attribute parameter names: keywords or hexadecimal tags, dotted for sequences.

    None for one that the Data Dictionary does not know.

    Raises:
        RequestError: something before a dot is no sequence.
    """
    parts = name.split(".")
    tags = tuple(tag for part in parts if (tag := _tag(part)) is not None)
    if len(tags) < len(parts):
        return None
    for part, tag in zip(parts[:-1], tags[:-1], strict=True):
        if vr_of(tag) not in {"SQ", "UN"}:
            raise RequestError(f"{name}: {part} is not a sequence, so nothing can follow the dot")
    return tags


def _tag(part: str) -> str | None:
    tag = part.upper() if _TAG.fullmatch(part) else keywords().get(part)
    if tag is None or tag[:4] in {"0000", "0002"} or tag[4:] == "0000":
        return None
    private = int(tag[:4], 16) & 1
    return tag if private or vr_of(tag) != "UN" else None


def _unknown(names: Sequence[str]) -> list[str]:
    return [_told(name, hint=index < MOST_HINTS) for index, name in enumerate(dict.fromkeys(names))]


def _told(name: str, *, hint: bool) -> str:
    if name in keywords() or name in UNMATCHABLE:
        return f"{name} is no attribute that a search matches or returns."
    return f"{_quoted(name)} is no parameter and no attribute{_hint(name) if hint else '.'}"


def _quoted(name: str) -> str:
    """Return a name that may be repeated: a value that came where a name belongs, e.g. an MRN, goes into no answer."""
    is_keyword = _KEYWORDS.fullmatch(name) and not name.isupper()
    return name if is_keyword or _TAGS.fullmatch(name) else "one of the names"


def _hint(name: str) -> str:
    """Suggest what a misspelt name may have meant."""
    known: Mapping[str, str] = keywords()
    folded = name.casefold()
    choices = [word for word in (*CONTROLS, *known) if word[:1].casefold() == folded[:1]]
    same = [word for word in choices if word.casefold() == folded]
    near = same or difflib.get_close_matches(name, [w for w in choices if abs(len(w) - len(name)) <= 3], n=1)
    return f": did you mean {near[0]}?" if near else "."
