"""In which form a Retrieve answer leaves: media type, Transfer Syntax, one part or many (PS3.18 8.7, 10.4.4)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from gateway.dataset import transfer_syntax as ts
from gateway.dataset.codestreams import MEDIA_TYPES, OCTET_STREAM, media_type
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, transfer_syntax
from gateway.web.negotiation import ANY, DICOM, MULTIPART, NEVER_ON_THE_WEB, MediaRange, Unavailable

Default: TypeAlias = Literal["explicit", "stored"]
"""What a request that names no Transfer Syntax means."""

XML: Final = "application/dicom+xml"
ZIP: Final = "application/zip"
JPEG: Final = "image/jpeg"

DEFAULT_SYNTAXES: Final = MappingProxyType(
    {
        JPEG: ts.JPEG_LOSSLESS_SV1,
        "image/jls": ts.JPEG_LS_LOSSLESS,
        "image/jp2": ts.JPEG_2000_LOSSLESS,
        "image/jpx": ts.JPEG_2000_MC_LOSSLESS,
        "image/jphc": ts.HTJ2K_LOSSLESS,
        "image/jxl": ts.JPEG_XL_LOSSLESS,
        "image/dicom-rle": ts.RLE_LOSSLESS,
    }
)
"""What a media type means when no Transfer Syntax is named with it (PS3.18 Table 8.7.3-5)."""

_OLD_NAMES: Final = MappingProxyType(
    {
        "image/x-dicom-rle": "image/dicom-rle",
        "image/x-dicom+rle": "image/dicom-rle",
        "image/x-jls": "image/jls",
        "image/dicom+jp2": "image/jp2",
        "image/dicom+jpx": "image/jpx",
        "image/dicom+jpeg": JPEG,
    }
)
_UID = re.compile(r"\d+(\.\d+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which something can leave.

    Attributes:
        media_type: of the body, or of each part of it.
        transfer_syntax: its UID, empty where there is none.
        single: whether it is the whole body, not a part of a multipart body.
        default: whether it is what the media type means when no Transfer Syntax is named.
        stored: whether it is the nearest to what the region sent that may leave.
        named: whether only a range that names the media type means it, and no wildcard.
    """

    media_type: str
    transfer_syntax: str = ""
    single: bool = False
    default: bool = True
    stored: bool = False
    named: bool = False

    @property
    def content_type(self) -> str:
        """The Content-Type of the body or the part."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else self.media_type

    def __str__(self) -> str:
        """Write it as a member of Accept."""
        if self.single:
            return self.content_type
        syntax = f"; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else ""
        return f'{MULTIPART}; type="{self.media_type}"{syntax}'


@dataclass(frozen=True, slots=True)
class _Wish:
    """One member of Accept, as it reads for a Retrieve.

    Attributes:
        type: of the body or its parts; either half may be ``*``.
        syntax: Transfer Syntax UID, ``*``, or empty.
        single: whether one part is meant; None for either.
    """

    type: str
    syntax: str
    single: bool | None
    q: float

    def fit(self, form: Form) -> tuple[int, int]:
        """How closely it describes a form: of type, then of Transfer Syntax; (0, 0) not at all."""
        if self.single not in {None, form.single}:
            return 0, 0
        kind = 3 if self._means_codestream(form) else self._kind(form.media_type)
        if not kind or (form.named and kind < 3):
            return 0, 0
        if not self.syntax or not form.transfer_syntax:
            return (kind, 1) if form.default else (0, 0)
        if self.syntax == ANY:
            typed = kind == 3 and form.media_type in DEFAULT_SYNTAXES and form.default and self.type != OCTET_STREAM
            return (kind, 1) if form.stored or typed else (0, 0)
        return (kind, 2) if self.syntax == form.transfer_syntax else (0, 0)

    def _means_codestream(self, form: Form) -> bool:
        """Whether it is octets of a named Transfer Syntax, which leave under their own media type."""
        if self.type != OCTET_STREAM or not self.syntax or form.media_type in {DICOM, ZIP}:
            return False
        return form.transfer_syntax in {*MEDIA_TYPES, self.syntax}

    def _kind(self, media_type: str) -> int:
        if self.type == "*/*":
            return 1
        if self.type.endswith("/*"):
            return 2 if media_type.lower().startswith(self.type[:-1]) else 0
        return 3 if self.type == media_type.lower() else 0


class Wishes:
    """What a caller takes, ready to be held against what can be made."""

    def __init__(self, ranges: Iterable[MediaRange], default: Default = "explicit") -> None:
        self.default: Default = default
        self._wishes = [_wish(member) for member in ranges if _possible(member)]

    def choose(self, forms: Sequence[Form], why: str = "none of the media types in Accept can be made") -> Form:
        """Choose the form of the highest weight, of equal ones the first (PS3.18 8.7.5, RFC 9110 12.5.1).

        Raises:
            Unavailable: none is acceptable; it names them.
        """
        best = max(forms, key=self._weight, default=None)
        if best is None or not self._weight(best):
            raise Unavailable(why, offers(forms))
        return best

    def _weight(self, form: Form) -> float:
        fits = [(fit, wish.q) for wish in self._wishes if (fit := wish.fit(form))[0]]
        if not fits:
            return 0.0
        closest = max(fit for fit, _ in fits)
        return max(q for fit, q in fits if fit == closest)


def offers(forms: Iterable[Form]) -> list[str]:
    """Name forms as members of Accept, with the ``*`` that stands for the stored one behind it."""
    named: dict[str, None] = {}
    for form in forms:
        named[str(form)] = None
        if form.stored and form.transfer_syntax:
            named[str(replace(form, transfer_syntax=ANY))] = None
    return list(named)


def _possible(member: MediaRange) -> bool:
    """Whether it names a Transfer Syntax that may be on the web, or none; others are ignored (PS3.18 8.7.3)."""
    uid = member.parameters.get("transfer-syntax", ANY)
    return uid == ANY or (_UID.fullmatch(uid) is not None and uid not in NEVER_ON_THE_WEB)


def _wish(member: MediaRange) -> _Wish:
    syntax = member.parameters.get("transfer-syntax", "")
    if member.type == MULTIPART:
        media_type = member.parameters.get("type", "*/*").lower()
        return _Wish(_OLD_NAMES.get(media_type, media_type), syntax, single=False, q=member.q)
    if member.type == "multipart/*":
        return _Wish("*/*", syntax, single=False, q=member.q)
    single = None if member.type == "*/*" else True
    return _Wish(_OLD_NAMES.get(member.type, member.type), syntax, single=single, q=member.q)


# --- what can be made of what is stored


def instance_forms(
    stored: str, container: Form, default: Default, targets: Iterable[str] = (), *, decodable: bool = False
) -> list[Form]:
    """List the Transfer Syntaxes in which an instance can leave, the default one first (PS3.18 8.7.3.4).

    Args:
        stored: Transfer Syntax UID in which it came.
        container: the media type and kind of body that are settled.
        default: what no ``transfer-syntax`` means.
        targets: what it can be transcoded into.
        decodable: whether its compressed pixels can be decompressed.
    """
    syntax = transfer_syntax(stored)
    as_stored = stored not in NEVER_ON_THE_WEB
    explicit = not syntax.encapsulated or decodable
    # PS3.18 8.7.3.4: what exists only with losses may leave so, since nothing better can be made of it.
    lossy = syntax.lossy and stored in ts.TRANSFER_SYNTAXES
    stays = as_stored and (default == "stored" or stored == EXPLICIT_VR_LE or lossy)
    forms = [replace(container, transfer_syntax=stored, default=stays, stored=True)] if as_stored else []
    if explicit and stored != EXPLICIT_VR_LE:
        forms.append(replace(container, transfer_syntax=EXPLICIT_VR_LE, default=not stays, stored=not as_stored))
    done = {stored, EXPLICIT_VR_LE}
    forms += (replace(container, transfer_syntax=uid, default=False) for uid in targets if uid not in done)
    return sorted(forms, key=lambda form: not form.default)


def frame_forms(
    stored: str, default: Default, targets: Iterable[str] = (), *, decodable: bool, single: bool
) -> list[Form]:
    """List the forms in which frames can leave, the default one first (PS3.18 8.7.3.3, 10.4.4).

    Args:
        stored: Transfer Syntax UID in which they came.
        default: what no ``transfer-syntax`` means.
        targets: Transfer Syntaxes they can be transcoded into.
        decodable: whether compressed ones can be decompressed.
        single: whether they may be one part.
    """
    syntax = transfer_syntax(stored)
    if not syntax.encapsulated:
        forms = [Form(OCTET_STREAM, EXPLICIT_VR_LE, stored=True)]
    else:
        forms = [Form(media_type(stored), stored, stored=True)]
        explicit = [Form(OCTET_STREAM, EXPLICIT_VR_LE)] if decodable else []
        lossy = syntax.lossy and stored in ts.TRANSFER_SYNTAXES
        forms = [*forms, *explicit] if default == "stored" or lossy else [*explicit, *forms]
    for uid in targets:
        if uid not in {stored, EXPLICIT_VR_LE} and transfer_syntax(uid).encapsulated:
            name = media_type(uid)
            forms.append(Form(name, uid, default=DEFAULT_SYNTAXES.get(name) == uid))
    return forms + [replace(form, single=True) for form in forms] if single else forms


def value_forms(own_type: str = OCTET_STREAM) -> list[Form]:
    """List the forms of a bulk data value that is no Pixel Data, or is a document with a type of its own."""
    types = dict.fromkeys((OCTET_STREAM, own_type))
    return [*(Form(name, stored=True) for name in types), *(Form(name, single=True, stored=True) for name in types)]
