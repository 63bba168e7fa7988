"""File Meta Information (PS3.10 section 7.1)."""

from dataclasses import dataclass
from functools import lru_cache
from struct import unpack_from
from typing import Final

from gateway.dataset.headers import element_header
from gateway.dataset.json_model import to_json_model
from gateway.dataset.sink import Buffer
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from gateway.errors import DatasetError

IMPLEMENTATION_CLASS_UID: Final = "2.25.271606337458938424862186403137218604213"
IMPLEMENTATION_VERSION_NAME: Final = "PROVGW_010"

_START: Final = bytes(128) + b"DICM" + element_header("00020000", "UL", 4)
_MAX_GROUP: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What a Part 10 file says of the Data Set in it (PS3.10 Table 7.1-1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def _uid(key: str, uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    return element_header(key, "UI", len(value)) + value


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and File Meta Information, to go in front of a Data Set (PS3.10 7.1)."""
    before, after = _around(sop_class_uid, transfer_syntax_uid)
    instance = _uid("00020003", sop_instance_uid)
    length = len(before) + len(instance) + len(after)
    return b"".join((_START, length.to_bytes(4, "little"), before, instance, after))


@lru_cache(maxsize=256)
def _around(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """Return what stands before and behind the SOP Instance UID: the same for all instances of a series."""
    version = IMPLEMENTATION_VERSION_NAME.encode()
    before = element_header("00020001", "OB", 2) + b"\0\1" + _uid("00020002", sop_class_uid)
    after = (
        _uid("00020010", transfer_syntax_uid),
        _uid("00020012", IMPLEMENTATION_CLASS_UID),
        element_header("00020013", "SH", len(version)) + version,
    )
    return before, b"".join(after)


def split(data: Buffer) -> tuple[FileMeta, int]:
    """Read the head of a Part 10 file: its File Meta Information and where the Data Set begins (PS3.10 7.1).

    Raises:
        DatasetError: there is no complete File Meta Information, or it names no Transfer Syntax.
    """
    if len(data) < 144 or bytes(data[128:132]) != b"DICM":
        raise DatasetError("the file does not begin with a preamble and DICM")
    end = _group_end(data)
    row = to_json_model(data[132:end], EXPLICIT_VR_LE)
    sop_class, instance, syntax = (
        str((row.get(key, {}).get("Value") or [""])[0]) for key in ("00020002", "00020003", "00020010")
    )
    if not syntax:
        raise DatasetError("the File Meta Information names no Transfer Syntax")
    return FileMeta(sop_class, instance, syntax), end


def _group_end(data: Buffer) -> int:
    """Walk group 0002 by its own elements: group lengths in the field are wrong or missing."""
    position = 132
    while position + 8 <= len(data):
        group, _, vr, length = unpack_from("<HH2sH", data, position)
        if group != 2:
            return position
        position += 8
        if vr in {b"OB", b"UN", b"OW", b"UT"}:
            if position + 4 > len(data):
                break
            (length,) = unpack_from("<L", data, position)
            position += 4
        position += length
        if position > 132 + _MAX_GROUP:
            raise DatasetError("the File Meta Information is too long")
    if position == len(data):
        return position
    raise DatasetError("the file ends inside its File Meta Information")
