"""The Command Set codec against bytes written by hand and against pynetdicom (W03); hostile sets (R11, W01)."""

import contextlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom import dimse_messages, dimse_primitives
from pynetdicom.dsutils import encode as their_encode

from gateway.errors import RemoteProtocolError
from gateway.wire.command import DATA_SET, NO_DATA_SET, Command, CommandField, decode, encode
from tests.kit import pdus

GOLDEN = (
    b"\x00\x00\x00\x00\x04\x00\x00\x00\x6e\x00\x00\x00"  # (0000,0000) UL Command Group Length 110
    b"\x00\x00\x02\x00\x1a\x00\x00\x00"  # (0000,0002) UI Affected SOP Class UID, 26 bytes
    b"1.2.840.10008.5.1.4.1.1.2\x00"  # CT Image Storage, padded with NUL
    b"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x00"  # (0000,0100) US Command Field: C-STORE-RQ
    b"\x00\x00\x10\x01\x02\x00\x00\x00\x2a\x00"  # (0000,0110) US Message ID 42
    b"\x00\x00\x00\x07\x02\x00\x00\x00\x00\x00"  # (0000,0700) US Priority: medium
    b"\x00\x00\x00\x08\x02\x00\x00\x00\x01\x00"  # (0000,0800) US Command Data Set Type: there is one
    b"\x00\x00\x00\x10\x06\x00\x00\x00"  # (0000,1000) UI Affected SOP Instance UID, 6 bytes
    b"1.2.3\x00"
    b"\x00\x00\x30\x10\x04\x00\x00\x00"  # (0000,1030) AE Move Originator Application Entity Title
    b"GW1 "  # padded with a space
    b"\x00\x00\x31\x10\x02\x00\x00\x00\x07\x00"  # (0000,1031) US Move Originator Message ID 7
)
STORE = Command(
    command_field=CommandField.C_STORE_RQ,
    command_data_set_type=DATA_SET,
    affected_sop_class_uid=pdus.CT_IMAGE,
    message_id=42,
    priority=0,
    affected_sop_instance_uid="1.2.3",
    move_originator_ae_title="GW1",
    move_originator_message_id=7,
)


def test_golden_bytes_of_a_c_store_request() -> None:
    assert encode(STORE) == GOLDEN
    assert decode(GOLDEN) == STORE


FIND, MOVE, GET, CT = pdus.STUDY_FIND, pdus.STUDY_MOVE, pdus.STUDY_GET, pdus.CT_IMAGE


def primitive(kind: Callable[[], Any], **fields: Any) -> Any:
    made = kind()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def with_data(name: str) -> dict[str, BytesIO]:
    return {name: BytesIO(b"\x08\x00\x52\x00\x06\x00\x00\x00STUDY ")}


COUNTERS = {
    "NumberOfRemainingSuboperations": 4,
    "NumberOfCompletedSuboperations": 3,
    "NumberOfFailedSuboperations": 2,
    "NumberOfWarningSuboperations": 1,
}
P = dimse_primitives
THEIRS: dict[str, tuple[Any, Any]] = {
    "C_ECHO_RQ": (dimse_messages.C_ECHO_RQ, primitive(P.C_ECHO, MessageID=1, AffectedSOPClassUID=pdus.VERIFICATION)),
    "C_ECHO_RSP": (
        dimse_messages.C_ECHO_RSP,
        primitive(P.C_ECHO, MessageIDBeingRespondedTo=1, AffectedSOPClassUID=pdus.VERIFICATION, Status=0),
    ),
    "C_STORE_RQ": (
        dimse_messages.C_STORE_RQ,
        primitive(
            P.C_STORE, MessageID=42, AffectedSOPClassUID=CT, AffectedSOPInstanceUID="1.2.3", Priority=0,
            MoveOriginatorApplicationEntityTitle="GW1", MoveOriginatorMessageID=7, **with_data("DataSet"),
        ),
    ),
    "C_STORE_RSP": (
        dimse_messages.C_STORE_RSP,
        primitive(
            P.C_STORE, MessageIDBeingRespondedTo=65535, AffectedSOPClassUID=CT, AffectedSOPInstanceUID="1.2.3",
            Status=0xA700, ErrorComment="Disk full",
        ),
    ),
    "C_FIND_RQ": (
        dimse_messages.C_FIND_RQ,
        primitive(P.C_FIND, MessageID=1, AffectedSOPClassUID=FIND, Priority=2, **with_data("Identifier")),
    ),
    "C_FIND_RSP": (
        dimse_messages.C_FIND_RSP,
        primitive(
            P.C_FIND, MessageIDBeingRespondedTo=1, AffectedSOPClassUID=FIND, Status=0xFF00, **with_data("Identifier")
        ),
    ),
    "C_MOVE_RQ": (
        dimse_messages.C_MOVE_RQ,
        primitive(
            P.C_MOVE, MessageID=3, AffectedSOPClassUID=MOVE, Priority=1, MoveDestination="GATEWAY",
            **with_data("Identifier"),
        ),
    ),
    "C_MOVE_RSP": (
        dimse_messages.C_MOVE_RSP,
        primitive(P.C_MOVE, MessageIDBeingRespondedTo=3, AffectedSOPClassUID=MOVE, Status=0xFF00, **COUNTERS),
    ),
    "C_GET_RQ": (
        dimse_messages.C_GET_RQ,
        primitive(P.C_GET, MessageID=3, AffectedSOPClassUID=GET, Priority=0, **with_data("Identifier")),
    ),
    "C_GET_RSP": (
        dimse_messages.C_GET_RSP,
        primitive(P.C_GET, MessageIDBeingRespondedTo=3, AffectedSOPClassUID=GET, Status=0xB000, **COUNTERS),
    ),
    "N_ACTION_RQ": (
        dimse_messages.N_ACTION_RQ,
        primitive(
            P.N_ACTION, MessageID=4, RequestedSOPClassUID=pdus.STORAGE_COMMITMENT, ActionTypeID=1,
            RequestedSOPInstanceUID=pdus.STORAGE_COMMITMENT_INSTANCE, **with_data("ActionInformation"),
        ),
    ),
    "N_ACTION_RSP": (
        dimse_messages.N_ACTION_RSP,
        primitive(
            P.N_ACTION, MessageIDBeingRespondedTo=4, AffectedSOPClassUID=pdus.STORAGE_COMMITMENT, ActionTypeID=1,
            AffectedSOPInstanceUID=pdus.STORAGE_COMMITMENT_INSTANCE, Status=0x0213,
        ),
    ),
    "N_EVENT_REPORT_RQ": (
        dimse_messages.N_EVENT_REPORT_RQ,
        primitive(
            P.N_EVENT_REPORT, MessageID=5, AffectedSOPClassUID=pdus.STORAGE_COMMITMENT, EventTypeID=2,
            AffectedSOPInstanceUID=pdus.STORAGE_COMMITMENT_INSTANCE, **with_data("EventInformation"),
        ),
    ),
    "N_EVENT_REPORT_RSP": (
        dimse_messages.N_EVENT_REPORT_RSP,
        primitive(
            P.N_EVENT_REPORT, MessageIDBeingRespondedTo=5, AffectedSOPClassUID=pdus.STORAGE_COMMITMENT, EventTypeID=1,
            AffectedSOPInstanceUID=pdus.STORAGE_COMMITMENT_INSTANCE, Status=0,
        ),
    ),
    "C_CANCEL_RQ": (dimse_messages.C_CANCEL_RQ, primitive(P.C_CANCEL, MessageIDBeingRespondedTo=9)),
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_pynetdicom_writes_the_same_command_set_and_we_read_it(name: str) -> None:
    kind, made = THEIRS[name]
    message = kind()
    message.primitive_to_message(made)
    written = their_encode(message.command_set, True, True)
    command = decode(written)
    assert CommandField(command.command_field).name == name
    assert encode(command) == written
    assert command == decode(pdus.command_set(pdus.read_command(written)))
    for element in message.command_set:
        if element.keyword != "CommandGroupLength" and element.value is not None:
            assert getattr(command, snake(element.keyword)) == element.value


def snake(keyword: str) -> str:
    known = {
        "AffectedSOPClassUID": "affected_sop_class_uid",
        "AffectedSOPInstanceUID": "affected_sop_instance_uid",
        "RequestedSOPClassUID": "requested_sop_class_uid",
        "RequestedSOPInstanceUID": "requested_sop_instance_uid",
        "EventTypeID": "event_type_id",
        "ActionTypeID": "action_type_id",
        "MessageID": "message_id",
        "MessageIDBeingRespondedTo": "message_id_being_responded_to",
        "MoveOriginatorApplicationEntityTitle": "move_originator_ae_title",
        "MoveOriginatorMessageID": "move_originator_message_id",
    }
    return known.get(keyword) or "".join(f"_{c.lower()}" if c.isupper() else c for c in keyword).lstrip("_")


us = st.none() | st.integers(0, 0xFFFF)
uid = st.none() | st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,5}){1,6}", fullmatch=True)
ae = st.none() | st.from_regex(r"[A-Z0-9_]{1,16}", fullmatch=True)
commands = st.builds(
    Command,
    command_field=st.sampled_from(list(CommandField)).map(int),
    command_data_set_type=st.sampled_from([NO_DATA_SET, DATA_SET, 0, 0x0102]),
    affected_sop_class_uid=uid,
    message_id=us,
    message_id_being_responded_to=us,
    move_destination=ae,
    priority=us,
    status=us,
    error_comment=st.none() | st.from_regex(r"[A-Za-zéà]{1,64}", fullmatch=True),
    affected_sop_instance_uid=uid,
    number_of_remaining_suboperations=us,
    number_of_completed_suboperations=us,
    number_of_failed_suboperations=us,
    number_of_warning_suboperations=us,
    move_originator_ae_title=ae,
    move_originator_message_id=us,
    requested_sop_class_uid=uid,
    requested_sop_instance_uid=uid,
    event_type_id=us,
    action_type_id=us,
)


@given(commands)
def test_what_is_encoded_is_decoded_again(command: Command) -> None:
    assert decode(encode(command)) == command


@given(commands)
def test_the_kit_reads_and_writes_the_same(command: Command) -> None:
    read = pdus.read_command(encode(command))
    assert read.pop("command_group_length") == len(encode(command)) - 12
    assert pdus.command_set(read) == encode(command)


def test_elements_are_sent_in_ascending_order_with_their_group_length() -> None:
    data = encode(STORE)
    held = read_dataset(BytesIO(data), True, True)
    tags = [int(element.tag) for element in held]
    assert tags == sorted(tags)
    assert held[0x00000000].value == len(data) - 12


def base(**more: Any) -> bytes:
    return pdus.command_set({"command_field": 0x8020, "command_data_set_type": 0x0101, **more})


TOLERATED = {
    "unknown element": base() + pdus.element(0x5010, b"??"),
    "wrong group length": base(command_group_length=3),
    "no group length": base()[12:],
    "retired Length to End": pdus.element(0x0001, bytes(4)) + base(),
    "Offending Element": base() + pdus.element(0x0901, bytes(8)),
    "empty status": base() + pdus.element(0x0900, b""),
    "comment that is not ASCII": base(error_comment=b"\xe9chec"),
}


@pytest.mark.parametrize("name", TOLERATED)
def test_what_real_peers_write_is_tolerated(name: str) -> None:
    command = decode(TOLERATED[name])
    assert (command.command_field, command.status) == (0x8020, None)


MALFORMED = {
    "empty": b"",
    "cut in a tag": base()[:-9],
    "cut in a length": base() + b"\x00\x00\x00\x09\x02\x00",
    "cut in a value": base() + b"\x00\x00\x00\x09\x02\x00\x00\x00\xff",
    "length of 4 GiB": base() + pdus.element(0x0900, b"", length=0xFFFFFFFF),
    "another group": base() + b"\x08\x00\x52\x00\x00\x00\x00\x00",
    "no command field": pdus.command_set({"command_data_set_type": 0x0101}),
    "no data set type": pdus.command_set({"command_field": 0x8020}),
    "empty command field": base()[:12] + pdus.element(0x0100, b"") + pdus.element(0x0800, b"\x01\x01"),
    "UID that is not ASCII": base() + pdus.element(0x0002, b"1.2.\xe9\0"),
    "status of one byte": base() + pdus.element(0x0900, b"\x00"),
    "status of four bytes": base() + pdus.element(0x0900, bytes(4)),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_command_set_is_the_peers_mistake(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(MALFORMED[name])


@given(st.binary(max_size=120) | st.binary(max_size=60).map(lambda data: base() + data))
def test_any_bytes_parse_or_raise_the_remote_protocol_error(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode(data)


@given(commands, st.data())
def test_a_command_set_with_changed_bytes_parses_or_raises_the_remote_protocol_error(
    command: Command, data: st.DataObject
) -> None:
    encoded = bytearray(encode(command))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteProtocolError):
        decode(encoded)
