"""Transfer Syntax changes that leave every value as it is (PS3.5 Annex A)."""

from typing import Final

from gateway.dataset.headers import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED, element_header
from gateway.dataset.reader import Reader
from gateway.dataset.sink import Buffer, DatasetLimits
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, IMPLICIT_VR_LE

_OPEN_ITEM: Final = ITEM + UNDEFINED.to_bytes(4, "little")
_EMPTY_ITEM: Final = ITEM + bytes(4)


class ElementWriter:
    """Writes Explicit or Implicit VR Little Endian while a Reader walks the Data Set: its sink (PS3.5 A.1, A.2)."""

    __slots__ = ("_chunks", "_out", "_undefined", "explicit", "large_from")

    def __init__(self, *, explicit: bool) -> None:
        self.explicit = explicit
        self.large_from = 16 * 1024
        self._chunks: list[Buffer] = []
        self._out = bytearray()
        self._undefined = False

    def take(self) -> list[Buffer]:
        """Hand over what was written since the last call."""
        self._flush()
        chunks, self._chunks = self._chunks, []
        return chunks

    def _flush(self) -> None:
        if self._out:
            self._chunks.append(bytes(self._out))
            self._out.clear()

    def value(self, key: str, vr: str, data: bytes) -> None:
        """Write an element."""
        self._out += element_header(key, vr, len(data), explicit=self.explicit)
        self._out += data

    def large(self, key: str, vr: str, length: int | None) -> bool:
        """Write the header of a value that comes in pieces."""
        self._undefined = length is None
        self._out += element_header(key, vr, UNDEFINED if length is None else length, explicit=self.explicit)
        return True

    def piece(self, data: memoryview) -> None:
        """Write the next bytes of it, large ones without a copy."""
        if len(data) < self.large_from:
            self._out += data
        else:
            self._flush()
            self._chunks.append(data)

    def end_large(self) -> None:
        """End it."""
        if self._undefined:
            self._out += SEQUENCE_END

    def begin_sequence(self, key: str) -> None:
        """Write the header of a Sequence."""
        # Headers grow on the way, so that no length inside is known before its end.
        self._out += element_header(key, "SQ", UNDEFINED, explicit=self.explicit)

    def end_sequence(self) -> None:
        """End it."""
        self._out += SEQUENCE_END

    def begin_item(self) -> None:
        """Begin an item."""
        self._out += _OPEN_ITEM

    def end_item(self) -> None:
        """End it."""
        self._out += ITEM_END

    def empty_items(self, count: int) -> None:
        """Write items without elements."""
        self._out += _EMPTY_ITEM * count


class Reencoder:
    """Re-encodes one Data Set as Explicit or Implicit VR Little Endian while it arrives in fragments (PS3.5 A.1, A.2).

    Values stay byte for byte what they are, but for the byte order; Specific Character Set included. An
    attribute that the dictionary does not know becomes UN, and so does a value too long for its VR. Group
    lengths, which would be wrong, are left out.

    Args:
        transfer_syntax_uid: how the source is encoded: Implicit VR LE, Explicit VR LE or BE, or Deflated.
        target_uid: Explicit VR LE or Implicit VR LE.

    Raises:
        DatasetError: from ``feed`` and ``finish``, when the bytes are no Data Set.
        LimitExceeded: from both, at a limit.
    """

    __slots__ = ("_reader", "_writer")

    def __init__(self, transfer_syntax_uid: str, target_uid: str = EXPLICIT_VR_LE) -> None:
        self._writer = ElementWriter(explicit=target_uid != IMPLICIT_VR_LE)
        self._reader = Reader(transfer_syntax_uid, self._writer, DatasetLimits())

    def feed(self, fragment: Buffer) -> list[Buffer]:
        """Return what the fragment becomes; large values are views of the fragment itself."""
        self._reader.feed(fragment)
        return self._writer.take()

    def finish(self) -> list[Buffer]:
        """Return what is left once all bytes are in."""
        self._reader.finish()
        return self._writer.take()
