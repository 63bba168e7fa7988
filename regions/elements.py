"""Data Sets as whole encoded elements: what the archive keeps of a header and answers with (PS3.5 7.1)."""

import struct
from collections.abc import Mapping
from typing import BinaryIO, Final, TypeAlias, cast

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

Elements: TypeAlias = dict[int, bytes]
"""Tag to the element as it is encoded, header and value."""

IMPLEMENTATION_CLASS_UID: Final = "2.25.290026149415497989883450754522028508081"
IMPLEMENTATION_VERSION_NAME: Final = "PROVINCE_1"
_LONG: Final = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))


def split(data: bytes, transfer_syntax: UID) -> Elements:
    """Cut a Data Set into its top-level elements, all of which have defined lengths."""
    implicit, order = _encoding(transfer_syntax)
    tag, short, long = struct.Struct(order + "HH"), struct.Struct(order + "H"), struct.Struct(order + "L")
    elements: Elements = {}
    start, end = 0, len(data)
    while start < end:
        group, element = tag.unpack_from(data, start)
        if implicit:
            body = start + 8 + long.unpack_from(data, start + 4)[0]
        elif data[start + 4 : start + 6] in _LONG:
            body = start + 12 + long.unpack_from(data, start + 8)[0]
        else:
            body = start + 8 + short.unpack_from(data, start + 6)[0]
        elements[group << 16 | element] = data[start:body]
        start = body
    return elements


def join(elements: Mapping[int, bytes]) -> bytes:
    """Put elements together in ascending order."""
    return b"".join(elements[tag] for tag in sorted(elements))


def encode(dataset: Dataset, transfer_syntax: UID, character_set: str | list[str] = "ISO_IR 6") -> bytes:
    """Encode a Data Set; the character set counts where it does not name its own."""
    implicit, order = _encoding(transfer_syntax)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, order == "<"
    write_dataset(buffer, dataset, character_set)
    return bytes(buffer.getvalue())


def decode(data: bytes, transfer_syntax: UID) -> Dataset:
    """Read an encoded Data Set."""
    implicit, order = _encoding(transfer_syntax)
    buffer = DicomBytesIO(data)
    return read_dataset(cast("BinaryIO", buffer), implicit, order == "<", bytelength=len(data))


def value(element: bytes) -> bytes:
    """The value field of an Explicit VR Little Endian element."""
    return element[12:] if element[4:6] in _LONG else element[8:]


def explicit(tag: int, vr: bytes, content: bytes) -> bytes:
    """An Explicit VR Little Endian element, padded as its VR asks."""
    if len(content) % 2:
        content += b"\0" if vr in {b"UI", b"OB", b"UN"} else b" "
    if vr in _LONG:
        return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr, len(content)) + content
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(content)) + content


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble and File Meta Information (PS3.10 7.1)."""
    group = explicit(0x00020001, b"OB", b"\0\1")
    for tag, vr, content in (
        (0x00020002, b"UI", sop_class),
        (0x00020003, b"UI", sop_instance),
        (0x00020010, b"UI", transfer_syntax),
        (0x00020012, b"UI", IMPLEMENTATION_CLASS_UID),
        (0x00020013, b"SH", IMPLEMENTATION_VERSION_NAME),
    ):
        group += explicit(tag, vr, content.encode())
    return bytes(128) + b"DICM" + explicit(0x00020000, b"UL", struct.pack("<L", len(group))) + group


def _encoding(transfer_syntax: UID) -> tuple[bool, str]:
    return transfer_syntax == ImplicitVRLittleEndian, ">" if transfer_syntax == ExplicitVRBigEndian else "<"
