"""The items inside A-ASSOCIATE PDUs (PS3.8 9.3.2, 9.3.3, Annex D; PS3.7 D.3.3)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.errors import RemoteProtocolError

INVALID_PARAMETER: Final = 6

_LONGEST_UID: Final = 66  # PS3.5 9.1 has 64; some pad what needs no padding

_ITEM: Final = struct.Struct(">BxH")


def with_header(kind: int, value: bytes) -> bytes:
    """Return an item or sub-item: type, reserved byte, length, value."""
    return _ITEM.pack(kind, len(value)) + value


def items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and value of each item.

    Raises:
        RemoteProtocolError: an item claims more bytes than there are.
    """
    offset = 0
    while offset < len(data):
        start = offset + _ITEM.size
        if start > len(data):
            raise _invalid("an item without its header")
        kind, length = _ITEM.unpack_from(data, offset)
        offset = start + length
        if offset > len(data):
            raise _invalid(f"an item of type {kind:02X}H longer than its PDU")
        yield kind, data[start:offset]


def uid(value: memoryview | bytes) -> str:
    """Read a UID, padded or not.

    Raises:
        RemoteProtocolError: it is not ASCII, or longer than a UID can be.
    """
    if len(value) > _LONGEST_UID:
        raise _invalid(f"a UID of {len(value)} bytes")
    try:
        return bytes(value).rstrip(b"\0 ").decode("ascii")
    except UnicodeDecodeError as error:
        raise _invalid("a UID that is not ASCII") from error


def ae_title(value: bytes) -> str:
    """Read an AE title, whatever its bytes: an A-ASSOCIATE-AC has to repeat them."""
    return value.strip(b"\0 ").decode("latin-1")


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """A proposed Presentation Context (PS3.8 9.3.2.2)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the item."""
        value = bytes((self.context_id, 0, 0, 0)) + with_header(0x30, self.abstract_syntax.encode("ascii"))
        return with_header(
            0x20, value + b"".join(with_header(0x40, each.encode("ascii")) for each in self.transfer_syntaxes)
        )

    @classmethod
    def decode(cls, value: memoryview) -> "PresentationContext":
        """Read the value of the item; raise RemoteProtocolError when it is malformed."""
        context_id = _context_id(value)
        sub_items = list(items(value[4:]))
        abstract_syntaxes = [uid(content) for kind, content in sub_items if kind == 0x30]
        transfer_syntaxes = tuple(uid(content) for kind, content in sub_items if kind == 0x40)
        if len(abstract_syntaxes) != 1 or not transfer_syntaxes:
            raise _invalid("a Presentation Context without one Abstract Syntax and a Transfer Syntax")
        return cls(context_id, abstract_syntaxes[0], transfer_syntaxes)


@dataclass(frozen=True, slots=True)
class PresentationContextResult:
    """The answer to a proposed Presentation Context (PS3.8 9.3.3.2).

    Attributes:
        result: 0 acceptance, 1 user-rejection, 2 no-reason, 3 abstract-syntax-not-supported,
            4 transfer-syntaxes-not-supported.
        transfer_syntax: significant when accepted only.
    """

    context_id: int
    result: int
    transfer_syntax: str = ""

    def encode(self) -> bytes:
        """Return the item."""
        value = bytes((self.context_id, 0, self.result, 0))
        return with_header(0x21, value + with_header(0x40, self.transfer_syntax.encode("ascii")))

    @classmethod
    def decode(cls, value: memoryview) -> "PresentationContextResult":
        """Read the value of the item; raise RemoteProtocolError when it is malformed."""
        context_id = _context_id(value)
        result = value[2]
        if result != 0:
            return cls(context_id, result)  # what follows is not significant, and is garbage in the wild
        syntaxes = [uid(content) for kind, content in items(value[4:]) if kind == 0x40]
        if len(syntaxes) != 1 or not syntaxes[0]:
            raise _invalid("an accepted Presentation Context without one Transfer Syntax")
        return cls(context_id, result, syntaxes[0])


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU Role Selection (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool

    def encode(self) -> bytes:
        """Return the sub-item."""
        name = self.sop_class_uid.encode("ascii")
        return with_header(0x54, struct.pack(">H", len(name)) + name + bytes((self.scu_role, self.scp_role)))

    @classmethod
    def decode(cls, value: memoryview) -> "RoleSelection":
        """Read the value of the sub-item; raise RemoteProtocolError when it is malformed."""
        name, rest = _named(value)
        if len(rest) < 2:
            raise _invalid("a Role Selection without roles")
        return cls(name, bool(rest[0]), bool(rest[1]))


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """SOP Class Extended Negotiation (PS3.7 D.3.3.5); what the bytes mean, the SOP class says."""

    sop_class_uid: str
    information: bytes

    def encode(self) -> bytes:
        """Return the sub-item."""
        name = self.sop_class_uid.encode("ascii")
        return with_header(0x56, struct.pack(">H", len(name)) + name + self.information)

    @classmethod
    def decode(cls, value: memoryview) -> "ExtendedNegotiation":
        """Read the value of the sub-item; raise RemoteProtocolError when it is malformed."""
        name, rest = _named(value)
        return cls(name, bytes(rest))


@dataclass(frozen=True, slots=True)
class UserInformation:
    """User Information (PS3.8 9.3.2.3, Annex D; PS3.7 D.3.3).

    Attributes:
        max_length: bytes of the longest P-DATA-TF that the sender takes; 0 is no limit, None is not said.
    """

    max_length: int | None = None
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()

    def encode(self) -> bytes:
        """Return the item, its sub-items in ascending order of type."""
        value = b""
        if self.max_length is not None:
            value += with_header(0x51, struct.pack(">I", self.max_length))
        if self.implementation_class_uid:
            value += with_header(0x52, self.implementation_class_uid.encode("ascii"))
        value += b"".join(role.encode() for role in self.roles)
        if self.implementation_version_name:
            value += with_header(0x55, self.implementation_version_name.encode("ascii"))
        value += b"".join(extended.encode() for extended in self.extended)
        return with_header(0x50, value)

    @classmethod
    def decode(cls, value: memoryview) -> "UserInformation":
        """Read the value of the item; raise RemoteProtocolError when it is malformed."""
        max_length: int | None = None
        implementation_class_uid = implementation_version_name = ""
        roles: list[RoleSelection] = []
        extended: list[ExtendedNegotiation] = []
        for kind, content in items(value):
            match kind:
                case 0x51:
                    max_length = _max_length(content)
                case 0x52:
                    implementation_class_uid = uid(content)
                case 0x54:
                    roles.append(RoleSelection.decode(content))
                case 0x55:
                    implementation_version_name = ae_title(bytes(content))
                case 0x56:
                    extended.append(ExtendedNegotiation.decode(content))
                case _:  # skipped, as PS3.8 9.3.1 has it
                    pass
        return cls(max_length, implementation_class_uid, implementation_version_name, tuple(roles), tuple(extended))


def _context_id(value: memoryview) -> int:
    if len(value) < 4:
        raise _invalid("a Presentation Context that is too short")
    if value[0] % 2 == 0:
        raise _invalid(f"the even Presentation Context ID {value[0]}")
    return value[0]


def _max_length(value: memoryview) -> int:
    if len(value) != 4:
        raise _invalid("a Maximum Length that is not four bytes")
    return int.from_bytes(value, "big")


def _named(value: memoryview) -> tuple[str, memoryview]:
    end = 2 + int.from_bytes(value[:2], "big")
    if len(value) < end:
        raise _invalid("a sub-item shorter than the UID it names")
    return uid(value[2:end]), value[end:]


def _invalid(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(what, abort_reason=INVALID_PARAMETER)
