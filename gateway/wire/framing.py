"""Cuts the byte stream into PDUs, and P-DATA-TF into fragments as their bytes arrive (PS3.8 9.3.1, 9.3.5)."""

import struct
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple, TypeAlias

from gateway.errors import RemoteProtocolError
from gateway.wire.limits import Limits
from gateway.wire.pdu import AbortReason, Buffer, Fragment, PduType, check_header


class DataStart(NamedTuple):
    """The header of a P-DATA-TF has arrived; its fragments follow."""


class ControlBody(NamedTuple):
    """A whole PDU of any other type."""

    pdu_type: int
    body: bytes


Frame: TypeAlias = DataStart | ControlBody | Fragment


class _Awaited(Enum):
    PDU_HEADER = auto()
    CONTROL_BODY = auto()
    PDV_HEADER = auto()


_HEADER: Final = struct.Struct(">BxI")
_PDV: Final = struct.Struct(">IBB")
_DATA_START: Final = DataStart()


class Framer:
    """Holds at most the bytes of one control PDU; data pass through as views."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._awaited = _Awaited.PDU_HEADER
        self._wanted = _HEADER.size
        self._partial = bytearray()
        self._pdu_type = 0
        self._pdu_left = 0
        self._pdv_left = 0
        self._context_id = 0
        self._is_command = False
        self._ends_message = False

    @property
    def inside_pdu(self) -> bool:
        """Whether the last byte received left a PDU unfinished."""
        return self._awaited is not _Awaited.PDU_HEADER or self._pdv_left > 0 or bool(self._partial)

    def feed(self, data: Buffer) -> Iterator[Frame]:
        """Yield what these bytes complete, a PDV in as many pieces as it arrives in.

        Raises:
            RemoteProtocolError: the stream cannot be framed any further.
        """
        view = memoryview(data)
        offset, end = 0, len(view)
        while offset < end:
            if left := self._pdv_left:
                size = min(left, end - offset)
                self._pdv_left = left - size
                piece = view[offset : offset + size]
                yield Fragment(self._context_id, self._is_command, self._ends_message and size == left, piece)
                offset += size
                continue
            missing = self._wanted - len(self._partial)
            if missing > end - offset:
                self._partial += view[offset:]
                return
            piece = view[offset : offset + missing]
            offset += missing
            if self._partial:
                piece = memoryview(bytes(self._partial) + piece)
                self._partial.clear()
            frame = self._take(piece)
            if frame is not None:
                yield frame

    def _take(self, piece: memoryview) -> Frame | None:
        if self._awaited is _Awaited.PDV_HEADER:
            return self._take_pdv_header(piece)
        if self._awaited is _Awaited.PDU_HEADER:
            return self._take_pdu_header(piece)
        self._await(_Awaited.PDU_HEADER, _HEADER.size)
        return ControlBody(self._pdu_type, bytes(piece))

    def _take_pdu_header(self, piece: memoryview) -> Frame | None:
        pdu_type, length = _HEADER.unpack(piece)
        check_header(pdu_type, length, self._limits)
        self._pdu_type = pdu_type
        if pdu_type == PduType.P_DATA_TF:
            self._pdu_left = length
            self._await(_Awaited.PDV_HEADER, _PDV.size)
            return _DATA_START
        self._await(_Awaited.CONTROL_BODY, length)
        return None

    def _take_pdv_header(self, piece: memoryview) -> Frame | None:
        length, self._context_id, control = _PDV.unpack(piece)
        self._pdu_left -= 4 + length
        # What follows this PDV is nothing, or room for one more: a shorter rest could never be read.
        if length < 2 or self._pdu_left < 0 or 0 < self._pdu_left < _PDV.size:
            raise RemoteProtocolError("a PDV of an impossible length", abort_reason=AbortReason.INVALID_PARAMETER)
        self._pdv_left = length - 2
        self._is_command = control & 1 != 0
        self._ends_message = control & 2 != 0
        if not self._pdu_left:
            self._await(_Awaited.PDU_HEADER, _HEADER.size)
        if self._pdv_left:
            return None
        return Fragment(self._context_id, self._is_command, self._ends_message, b"")

    def _await(self, awaited: _Awaited, wanted: int) -> None:
        self._awaited = awaited
        self._wanted = wanted
