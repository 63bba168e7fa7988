"""What the caller accepts and prefers (PS3.18 8.3.3, 8.7; RFC 9110 12; RFC 7240)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from starlette.requests import Request

from gateway.dataset.transfer_syntax import (
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    TRANSFER_SYNTAXES,
    transfer_syntax,
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
_UID = re.compile(r"\d+(\.\d+)*")


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


def json_type(ranges: Iterable[MediaRange]) -> str:
    """Choose the media type of a list of Data Sets in the DICOM JSON Model (PS3.18 8.7.3.2)."""
    weights = {media_type: _weight(ranges, media_type) for media_type in JSON_TYPES}
    best = max(JSON_TYPES, key=lambda media_type: weights[media_type])
    if not weights[best]:
        raise Unavailable("none of the media types in Accept can be made", JSON_TYPES)
    return best


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
class InstanceFormat:
    """How instances leave as PS3.10 files.

    Attributes:
        single: one file as the whole body, not a part of a multipart body.
        transfer_syntaxes: UIDs that are acceptable; ``*`` stands for any (PS3.18 8.7.3.5.2).
        default: no Transfer Syntax was named, which means Explicit VR Little Endian.
    """

    single: bool
    transfer_syntaxes: frozenset[str]
    default: bool

    @property
    def media_type(self) -> str:
        """The media type without the Transfer Syntax."""
        return DICOM if self.single else f'{MULTIPART}; type="{DICOM}"'

    def outgoing(self, stored: str) -> str:
        """Return the Transfer Syntax UID in which an instance leaves.

        Raises:
            Unavailable: it would have to be decompressed.
        """
        syntax = transfer_syntax(stored)
        as_stored = stored not in NEVER_ON_THE_WEB and bool(self.transfer_syntaxes & {ANY, stored})
        # PS3.18 8.7.3.4: what exists only with losses may leave so, since nothing better can be made of it.
        lossy = self.default and syntax.lossy and stored in TRANSFER_SYNTAXES
        if as_stored or lossy:
            return stored
        if not syntax.encapsulated and (self.default or self.transfer_syntaxes & {ANY, EXPLICIT_VR_LE}):
            return EXPLICIT_VR_LE
        offers = [stored] if syntax.encapsulated else [EXPLICIT_VR_LE]
        raise Unavailable(
            f"the instance is held in {syntax.name} and cannot be converted: ask for transfer-syntax=*",
            [f"{self.media_type}; transfer-syntax={offer}" for offer in [*offers, ANY]],
        )


def instance_format(ranges: Sequence[MediaRange], *, one_instance: bool, default: str) -> InstanceFormat:
    """Choose how instances leave (PS3.18 10.4.4).

    Args:
        ranges: what the caller takes.
        one_instance: whether the resource is a single instance, which may leave as a single part.
        default: "explicit" or "stored", for a request that names no Transfer Syntax.
    """
    usable = [member for member in ranges if _names_web_syntax(member)]
    multipart = [member for member in usable if member.parameters.get("type", DICOM).lower() == DICOM]
    weights = [(_weight(multipart, MULTIPART), False)]
    if one_instance:
        weights.append((_weight(usable, DICOM), True))
    weight, single = max(weights, key=lambda choice: choice[0])
    if not weight:
        single_part = (DICOM,) if one_instance else ()
        offers = [f'{MULTIPART}; type="{DICOM}"; transfer-syntax={ANY}', *single_part]
        raise Unavailable("none of the media types in Accept can be made", offers)
    named = _named_syntaxes(usable if single else multipart, DICOM if single else MULTIPART)
    stored = "" in named and default == "stored"
    return InstanceFormat(single, (named | {ANY} if stored else named) - {""}, "" in named)


def _names_web_syntax(member: MediaRange) -> bool:
    uid = member.parameters.get("transfer-syntax", ANY)
    return uid == ANY or (_UID.fullmatch(uid) is not None and uid not in NEVER_ON_THE_WEB)


def _named_syntaxes(ranges: Iterable[MediaRange], media_type: str) -> frozenset[str]:
    """Collect the Transfer Syntaxes of the ranges that fit a media type best; "" where none is named."""
    fits = [(member.specificity(media_type), member) for member in ranges if member.q]
    best = max(fit for fit, _ in fits)
    return frozenset(member.parameters.get("transfer-syntax", "") for fit, member in fits if fit == best)


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
