"""What the caller accepts and prefers (PS3.18 8.3.3, 8.7; RFC 9110 12; RFC 7240)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from starlette.requests import Request

from gateway.dataset.transfer_syntax import (
    EXPLICIT_VR_BE,
    IMPLICIT_VR_LE,
)
from gateway.errors import NotAcceptable, RequestError
from gateway.web.parameters import Pair

DICOM: Final = "application/dicom"
MULTIPART: Final = "multipart/related"
DICOM_XML: Final = "application/dicom+xml"
NDJSON: Final = "application/x-ndjson"
JSON_TYPES: Final = ("application/dicom+json", "application/json")
SEARCH_TYPES: Final = (*JSON_TYPES, MULTIPART, NDJSON)
"""What a search answers with, the default first; its multipart body has parts of Native DICOM Model."""
RENDERED: Final = re.compile(r"image/(jpeg|gif|png|jp2)|video/.+|text/(html|plain|xml|rtf)|application/pdf")
NEVER_ON_THE_WEB: Final = frozenset({IMPLICIT_VR_LE, EXPLICIT_VR_BE})
ANY: Final = "*"

_TYPE = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+")
_QVALUE = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


class Unavailable(NotAcceptable):
    """Nothing acceptable can be made.

    Attributes:
        available: the media types that can.
    """

    def __init__(self, message: str, available: Sequence[str]) -> None:
        super().__init__(f"{message}; available: {', '.join(available)}")
        self.available = tuple(available)


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One member of an Accept field.

    Attributes:
        type: type and subtype in lower case; either may be ``*``.
        parameters: names in lower case, values without quotes.
        q: its weight, 0 to 1.
    """

    type: str
    parameters: Mapping[str, str]
    q: float = 1.0

    def specificity(self, media_type: str) -> int:
        """How closely the range fits a media type: 0 not at all, 3 exactly."""
        if self.type == "*/*":
            return 1
        if self.type.endswith("/*"):
            return 2 if media_type.startswith(self.type[:-1]) else 0
        return 3 if self.type == media_type else 0


def media_ranges(field: str) -> list[MediaRange]:
    """Parse an Accept field; members that are no media range are left out (PS3.18 8.7.5)."""
    members = (_split(member, ";") for member in _split(field, ","))
    return [parsed for head, *rest in members if (parsed := _media_range(head, rest)) is not None]


def _media_range(head: str, rest: Iterable[str]) -> MediaRange | None:
    media_type = head.lower()
    parameters = {}
    for part in rest:
        name, _, value = part.partition("=")
        parameters[name.strip().lower()] = _unquoted(value.strip())
    q = parameters.pop("q", "1")
    if not _TYPE.fullmatch(media_type) or not _QVALUE.fullmatch(q):
        return None
    return MediaRange(media_type, parameters, float(q))


def _split(text: str, separator: str) -> list[str]:
    """Split outside of quoted strings; empty members are left out."""
    parts = re.findall(rf'(?:[^{separator}"]|"(?:\\.|[^"\\])*"?)+', text)
    return [part.strip() for part in parts if part.strip()] or [""]


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def accepted(request: Request, parameters: Iterable[Pair]) -> Sequence[MediaRange]:
    """Return what the caller takes: the ``accept`` parameter before the Accept field, anything without either.

    Members of the parameter that are wildcards or that the field does not allow are left out (PS3.18 8.3.3.1).
    """
    ranges: Sequence[MediaRange] = _of_field(",".join(request.headers.getlist("accept")))
    wanted = [pair.literal("+") for pair in parameters if pair.name == "accept"]
    if wanted:
        chosen = [member for member in media_ranges(",".join(wanted)) if "*" not in member.type]
        ranges = [member for member in chosen if any(r.q and r.specificity(member.type) for r in ranges)]
    _refuse_mixture(ranges)
    return ranges


@lru_cache(maxsize=64)
def _of_field(field: str) -> tuple[MediaRange, ...]:
    """Parse an Accept field once for all requests of the same user agent."""
    return tuple(media_ranges(field)) if field.strip() else (MediaRange("*/*", {}),)


def _refuse_mixture(ranges: Sequence[MediaRange]) -> None:
    if len(ranges) < 2:
        return
    types = [member.parameters.get("type", member.type).lower() for member in ranges]
    dicom = any(name.startswith(DICOM) for name in types)
    if dicom and any(RENDERED.fullmatch(member.type) for member in ranges):
        raise RequestError("Accept lists DICOM and rendered media types: ask for one kind (PS3.18 8.7.5)")


def search_type(ranges: Iterable[MediaRange]) -> str:
    """Choose the media type of the rows of a search, one of ``SEARCH_TYPES`` (PS3.18 10.6.4)."""
    usable = [x for x in ranges if x.type != MULTIPART or x.parameters.get("type", DICOM_XML).lower() == DICOM_XML]
    if len(usable) == 1 and usable[0].type in JSON_TYPES and usable[0].q:
        return usable[0].type
    weights = {media_type: _weight(usable, media_type) for media_type in SEARCH_TYPES}
    best = max(SEARCH_TYPES, key=lambda media_type: weights[media_type])
    if not weights[best]:
        offers = (*JSON_TYPES, f'{MULTIPART}; type="{DICOM_XML}"', NDJSON)
        raise Unavailable("none of the media types in Accept can be made", offers)
    return best


def check_charset(parameters: Iterable[Pair]) -> None:
    """Refuse a ``charset`` parameter that leaves out UTF-8, the only one of text and of JSON here (PS3.18 8.3.3.2).

    The Accept-Charset field is left alone: RFC 9110 12.5.2 has done away with it.
    """
    for pair in parameters:
        if pair.name == "charset" and not any(map(_is_utf_8, _split(pair.value, ","))):
            raise RequestError("charset: expected UTF-8 among the character sets: every answer is in it")


def _is_utf_8(member: str) -> bool:
    name, *rest = _split(member, ";")
    weights = [part.partition("=")[2].strip() for part in rest if part.lower().startswith("q")]
    wanted = all(_QVALUE.fullmatch(weight) and float(weight) > 0 for weight in weights)
    return wanted and _unquoted(name).lower() in {"utf-8", "utf8", "iso_ir 192"}


def _weight(ranges: Iterable[MediaRange], media_type: str) -> float:
    """Return the weight that the most specific range gives a media type (RFC 9110 12.5.1)."""
    fits = [(member.specificity(media_type), member.q) for member in ranges if member.specificity(media_type)]
    return max(fits, default=(0, 0.0))[1]


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the ``Prefer`` field asks for (RFC 7240).

    Attributes:
        strict: all or nothing: an answer that lacks a region is an error.
        wait: seconds after which the caller would rather have what there is; None without the preference.
    """

    strict: bool = False
    wait: int | None = None


def preferences(request: Request) -> Preferences:
    """Read the preferences that are understood; others are left alone."""
    if "prefer" not in request.headers:
        return Preferences()
    wishes: dict[str, str] = {}
    for member in _split(",".join(request.headers.getlist("prefer")), ","):
        name, _, value = _split(member, ";")[0].partition("=")
        wishes.setdefault(name.strip().lower(), _unquoted(value.strip()).lower())
    wait = wishes.get("wait", "")
    seconds = int(wait) if re.fullmatch(r"\d{1,6}", wait, re.ASCII) else None
    return Preferences(strict=wishes.get("handling") == "strict", wait=seconds)
