"""Data Sets by hand: each element with the bytes that PS3.5 section 7 gives it."""

from struct import pack

LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF

ITEM_END = bytes.fromhex("FEFF0DE0 00000000")
SEQUENCE_END = bytes.fromhex("FEFFDDE0 00000000")


def explicit(key: str, vr: str, value: bytes = b"", *, length: int | None = None, order: str = "<") -> bytes:
    """Encode with VR: tag, VR, two reserved bytes where the length has 32 bits, length, value."""
    size = len(value) if length is None else length
    header = pack(order + "HH2s", int(key[:4], 16), int(key[4:], 16), vr.encode())
    return header + (pack(order + "HL", 0, size) if vr in LONG else pack(order + "H", size)) + value


def implicit(key: str, value: bytes = b"", *, length: int | None = None) -> bytes:
    """Encode without VR: tag, length, value."""
    size = len(value) if length is None else length
    return pack("<HHL", int(key[:4], 16), int(key[4:], 16), size) + value


def item(*elements: bytes, undefined: bool = False) -> bytes:
    """Encode an item, with its length or with a delimiter."""
    value = b"".join(elements)
    return implicit("FFFEE000", value + ITEM_END, length=UNDEFINED) if undefined else implicit("FFFEE000", value)


def sequence(key: str, *items: bytes, vr: str = "SQ", undefined: bool = False) -> bytes:
    """Encode a Sequence with VR, with its length or with a delimiter."""
    value = b"".join(items)
    return explicit(key, vr, value + SEQUENCE_END, length=UNDEFINED) if undefined else explicit(key, vr, value)


def implicit_sequence(key: str, *items: bytes, undefined: bool = False) -> bytes:
    """Encode a Sequence without VR."""
    value = b"".join(items)
    return implicit(key, value + SEQUENCE_END, length=UNDEFINED) if undefined else implicit(key, value)
