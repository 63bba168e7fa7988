"""Cuts the byte stream into PDUs, and P-DATA-TF into fragments as their bytes arrive (PS3.8 9.3.1, 9.3.5)."""

import struct
from collections.abc import Callable, Iterator
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


_HEADER: Final = struct.Struct(">BxI")
_PDV: Final = struct.Struct(">IBB")
_BOTH: Final = struct.Struct(">BxIIBB")
_DATA_START: Final = DataStart()
_P_DATA_TF: Final = int(PduType.P_DATA_TF)


class Framer:
    """Holds at most the bytes of one control PDU; data pass through as views.

    Attributes:
        announces: whether the header of each P-DATA-TF is told.
    """

    def __init__(self, limits: Limits) -> None:
        self.announces = True
        self._limits = limits
        # What the next bytes are, and how many of them make it whole; PDV data are not gathered.
        self._take: Callable[[memoryview], Frame | None] = self._take_pdu_header
        self._wanted = _HEADER.size
        self._between_pdus = True
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
        return not self._between_pdus or self._pdv_left > 0 or bool(self._partial)

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
            if self._between_pdus and not self._partial and not self.announces and end - offset >= _BOTH.size:
                # Nearly every PDU there is: P-DATA-TF of one PDV, both headers at hand.
                pdu_type, length, pdv_length, context_id, control = _BOTH.unpack_from(view, offset)
                if pdu_type == _P_DATA_TF and length == pdv_length + 4 and pdv_length > 2:
                    check_header(pdu_type, length, self._limits)
                    offset += _BOTH.size
                    self._pdv_left = pdv_length - 2
                    self._context_id = context_id
                    self._is_command = control & 1 != 0
                    self._ends_message = control & 2 != 0
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

    def _take_pdu_header(self, piece: memoryview) -> Frame | None:
        pdu_type, length = _HEADER.unpack(piece)
        check_header(pdu_type, length, self._limits)
        self._between_pdus = False
        if pdu_type == _P_DATA_TF:
            self._pdu_left = length
            self._take, self._wanted = self._take_pdv_header, _PDV.size
            return _DATA_START if self.announces else None
        self._pdu_type = pdu_type
        self._take, self._wanted = self._take_control_body, length
        return None

    def _take_control_body(self, piece: memoryview) -> Frame | None:
        self._await_pdu()
        return ControlBody(self._pdu_type, bytes(piece))

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
            self._await_pdu()
        if self._pdv_left:
            return None
        return Fragment(self._context_id, self._is_command, self._ends_message, b"")

    def _await_pdu(self) -> None:
        self._between_pdus = True
        self._take, self._wanted = self._take_pdu_header, _HEADER.size
