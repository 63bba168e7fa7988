"""Data Set bytes -> DICOM JSON Model (PS3.18 Annex F)."""

from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Final, TypeAlias

import orjson

from gateway.dataset.charset import SPECIFIC_CHARACTER_SET, CharacterSet, character_set
from gateway.dataset.dictionary import LUT_DESCRIPTORS
from gateway.dataset.headers import SHORT_FORMS, header_format
from gateway.dataset.image import PIXELS
from gateway.dataset.query import Row
from gateway.dataset.reader import Reader
from gateway.dataset.sink import Buffer, DatasetLimits
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from gateway.dataset.values import BINARY_VRS, DECODERS, PADDING, TRIMMED_VRS, Decoder
from gateway.errors import LimitExceeded

BulkPath: TypeAlias = tuple[str | int, ...]
"""Where a value is in its Data Set: keys, and behind each Sequence the index of the item, from 0."""

BulkData: TypeAlias = Callable[[BulkPath, str, int | None], str]
"""Gives the BulkDataURI for (path, VR, length); the length is None for encapsulated Pixel Data."""

_WATCHED: Final = PIXELS | LUT_DESCRIPTORS | {SPECIFIC_CHARACTER_SET}
_LONGEST_TERMS: Final = 256  # all terms there are; a longer value is no Specific Character Set
_NEVER: Final = 1 << 62
_LIMITS: Final = DatasetLimits()
_SMALL: Final = 16 * 1024  # bytes, which hold no number of elements that any limit minds
_SHORT_HEADER: Final = Struct("<6sH")  # tag and VR as they stand there, and the length


class _RowSink:
    """Builds the row while a Reader walks the Data Set."""

    __slots__ = (
        "_bulk_data",
        "_charset",
        "_inline",
        "_items",
        "_keys",
        "_limit",
        "_row",
        "_stack",
        "_terms",
        "large_from",
    )

    def __init__(self, terms: str, bulk_data: BulkData | None, threshold: int, limits: DatasetLimits) -> None:
        self._terms = terms
        self._charset = character_set(terms)
        self._bulk_data = bulk_data
        self.large_from = threshold + 1 if bulk_data else _NEVER
        self._limit = limits.max_header
        self._row: Row = {}
        self._items: list[Row] = [self._row]
        self._keys: list[str] = []
        self._stack: list[tuple[Row, list[Row], CharacterSet]] = []
        self._inline: tuple[str, bytearray] | None = None

    def row(self) -> Row:
        return _ascending(self._row)

    def value(self, key: str, vr: str, data: bytes) -> None:
        self._row[key] = DECODERS[vr](data, self._charset) if data else {"vr": vr}
        if key in _WATCHED:
            self._watch(key, vr, data)

    def _watch(self, key: str, vr: str, data: bytes) -> None:
        """Look again at the few elements that mean more than their value."""
        if key == SPECIFIC_CHARACTER_SET:
            self._charset = _declared(data[:_LONGEST_TERMS], self._terms)
        elif key in PIXELS:
            if self._bulk_data and data:
                self.large(key, vr, len(data))
        elif vr == "SS":
            # Number of entries and bits per entry are unsigned whatever the VR says (PS3.3 C.11.1.1).
            attribute = self._row[key]
            if "Value" in attribute:
                attribute["Value"] = [v if i == 1 else v & 0xFFFF for i, v in enumerate(attribute["Value"])]

    def large(self, key: str, vr: str, length: int | None) -> bool:
        if length is not None and vr not in BINARY_VRS:
            return False
        if self._bulk_data:
            self._row[key] = {"vr": vr, "BulkDataURI": self._bulk_data(self._path(key), vr, length)}
        else:
            self._row[key] = {"vr": vr}
            self._inline = key, bytearray()
        return True

    def _path(self, key: str) -> BulkPath:
        items = [*(level[1] for level in self._stack[1:]), self._items] if self._stack else []
        steps = zip(self._keys, items, strict=True)
        return (*(step for sequence, held in steps for step in (sequence, len(held) - 1)), key)

    def piece(self, data: memoryview) -> None:
        if self._inline:
            self._inline[1].extend(data)
            if len(self._inline[1]) > self._limit:
                raise LimitExceeded(f"a value has more than {self._limit} bytes", limit="max_header")

    def end_large(self) -> None:
        if self._inline:
            key, data = self._inline
            self._inline = None
            if data:
                self._row[key]["InlineBinary"] = b64encode(data).decode()

    def begin_sequence(self, key: str) -> None:
        self._stack.append((self._row, self._items, self._charset))
        self._keys.append(key)
        self._items = []
        self._row[key] = {"vr": "SQ", "Value": self._items}

    def end_sequence(self) -> None:
        items = self._items
        self._row, self._items, self._charset = self._stack.pop()
        key = self._keys.pop()
        if not items:
            self._row[key] = {"vr": "SQ"}

    def begin_item(self) -> None:
        self._charset = self._stack[-1][2]
        self._row = {}
        self._items.append(self._row)

    def end_item(self) -> None:
        self._items[-1] = _ascending(self._row)

    def empty_items(self, count: int) -> None:
        self._items.extend({} for _ in range(count))


@lru_cache(maxsize=256)
def _declared(value: bytes, default: str) -> CharacterSet:
    return character_set(value.decode("ascii", "replace").strip(PADDING), default)


def _ascending(row: Row) -> Row:
    """Return the row with its keys in ascending order, as Data Sets mostly have them (PS3.18 F.2.2)."""
    keys = list(row)
    return row if keys == sorted(keys) else dict(sorted(row.items()))


class JsonModelBuilder:
    """Builds the DICOM JSON Model of one Data Set that arrives in fragments (PS3.18 F.2).

    Args:
        transfer_syntax_uid: how the Data Set is encoded.
        character_set: what (0008,0005) means where it is absent, empty or unknown.
        bulk_data: gives the BulkDataURI of Pixel Data and of long binary values, which then are passed over
            without being held; None puts every value into the row.
        bulk_threshold: bytes up to which a binary value other than Pixel Data stays in the row.
        limits: what the Data Set may cost.

    Raises:
        DatasetError: from ``feed`` and ``finish``, when the bytes are no Data Set.
        LimitExceeded: from both, at a limit.
    """

    __slots__ = ("_reader", "_sink")

    def __init__(
        self,
        transfer_syntax_uid: str,
        *,
        character_set: str = "ISO_IR 6",
        bulk_data: BulkData | None = None,
        bulk_threshold: int = 1024,
        limits: DatasetLimits = _LIMITS,
    ) -> None:
        self._sink = _RowSink(character_set, bulk_data, bulk_threshold, limits)
        self._reader = Reader(transfer_syntax_uid, self._sink, limits)

    def feed(self, fragment: Buffer) -> None:
        """Take the next bytes of the Data Set."""
        self._reader.feed(fragment)

    def finish(self) -> Row:
        """Return the row once all bytes are in."""
        self._reader.finish()
        return self._sink.row()


def to_json_model(
    data: Buffer,
    transfer_syntax_uid: str,
    *,
    character_set: str = "ISO_IR 6",
    bulk_data: BulkData | None = None,
    bulk_threshold: int = 1024,
    limits: DatasetLimits = _LIMITS,
) -> Row:
    """Return the DICOM JSON Model of a whole Data Set (PS3.18 F.2); see ``JsonModelBuilder``."""
    if transfer_syntax_uid == EXPLICIT_VR_LE and len(data) <= _SMALL and limits is _LIMITS:
        flat = _flat(bytes(data), character_set)
        if flat is not None:
            return flat
    sink = _RowSink(character_set, bulk_data, bulk_threshold, limits)
    reader = Reader(transfer_syntax_uid, sink, limits, len(data))
    reader.feed(data)
    reader.finish()
    return sink.row()


def _flat(data: bytes, terms: str) -> Row | None:
    """Read a Data Set of short elements that PS3.6 lists, as matches of a C-FIND are, in a third of a Reader's time.

    None where there is anything else, for a Reader to look at.
    """
    charset = character_set(terms)
    whole = data.decode("latin-1")
    row: Row = {}
    position, size = 0, len(data)
    last = size - _SHORT_HEADER.size
    while position <= last:
        tag_and_vr, length = _SHORT_HEADER.unpack_from(data, position)
        start = position + _SHORT_HEADER.size
        position = start + length
        element = _plain_element(tag_and_vr)
        if element is None or position > size:
            return None
        key, vr, decode = element
        if decode is None:  # text without code extensions, nearly always: no bytes are made of it
            text = whole[start:position].strip(" \0")
            if text.isascii() and "\\" not in text and "\x1b" not in text:
                row[key] = {"vr": vr, "Value": [text]} if text else {"vr": vr}
                continue
            decode = DECODERS[vr]
        value = data[start:position]
        row[key] = decode(value, charset) if value else {"vr": vr}
        if key == SPECIFIC_CHARACTER_SET:
            charset = _declared(value[:_LONGEST_TERMS], terms)
    return _ascending(row) if position == size else None


@lru_cache(maxsize=4096)
def _plain_element(tag_and_vr: bytes) -> tuple[str, str, Decoder | None] | None:
    """Return the key of a listed tag, its VR, and the decoder where it needs one.

    None for a tag whose values mean more than themselves, and for a VR whose length has 32 bits.
    """
    form = header_format(explicit=True, little_endian=True)
    key, vr = form.keys.get(form.explicit(tag_and_vr + b"\0\0")[0]), SHORT_FORMS.get(tag_and_vr[4:])
    if key is None or vr is None or (key in _WATCHED and key != SPECIFIC_CHARACTER_SET):
        return None
    return key, vr, None if vr in TRIMMED_VRS and key != SPECIFIC_CHARACTER_SET else DECODERS[vr]


def dumps(row: Row) -> bytes:
    """Return the row as JSON (PS3.18 F.2): UTF-8, keys ascending, numbers finite."""
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
