"""PDV fragments to messages and back: order, contexts, every cap at its limit (R09 to R11), any cut (W01)."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.wire.command import Command, CommandField, encode
from gateway.wire.limits import Limits
from gateway.wire.message import FragmentWriter, MessageReader, MessageStart, check_response, command_pdus
from gateway.wire.pdu import DataTransfer, Fragment, decode
from tests.kit import pdus
from tests.wire.machines import joined

ECHO = encode(Command(command_field=CommandField.C_ECHO_RQ, message_id=1))
STORE = encode(Command(command_field=CommandField.C_STORE_RQ, command_data_set_type=1, message_id=1))
FIND_RSP = encode(Command(command_field=CommandField.C_FIND_RSP, command_data_set_type=1, status=0xFF00))


def reader(**limits: Any) -> MessageReader:
    return MessageReader({1, 3}, Limits(**limits))


def command(data: bytes, *, last: bool = True, context_id: int = 1) -> Fragment:
    return Fragment(context_id, True, last, data)


def data(content: bytes, *, last: bool = True, context_id: int = 1) -> Fragment:
    return Fragment(context_id, False, last, content)


def feed(reader: MessageReader, fragments: Iterable[Fragment]) -> list[Any]:
    return [taken for fragment in fragments if (taken := reader.feed(fragment)) is not None]


def test_a_command_without_a_data_set_is_a_whole_message() -> None:
    messages = reader()
    (start,) = feed(messages, [command(ECHO[:5], last=False), command(ECHO[5:])])
    assert (start.context_id, start.command.command_field) == (1, CommandField.C_ECHO_RQ)
    assert not messages.inside_message


def test_data_set_fragments_are_handed_on_as_they_are() -> None:
    messages = reader()
    pieces = [data(b"ab", last=False), data(b"", last=False), data(b"c", last=False), data(b"")]
    start, *rest = feed(messages, [command(STORE), *pieces])
    assert isinstance(start, MessageStart)
    assert all(kept is piece for kept, piece in zip(rest, pieces, strict=True))
    assert not messages.inside_message


def test_messages_follow_each_other_on_different_contexts() -> None:
    messages = reader()
    found = feed(messages, [command(STORE), data(b"x"), command(ECHO, context_id=3), command(STORE), data(b"")])
    assert [f.context_id for f in found if isinstance(f, MessageStart)] == [1, 3, 1]


VIOLATIONS: dict[str, tuple[list[Fragment], int]] = {
    "unknown context": ([command(ECHO, context_id=5)], 6),  # R10
    "data set on an unknown context": ([command(STORE), data(b"x", context_id=5)], 6),
    "data set before any command": ([data(b"x")], 0),
    "data set after a command that announces none": ([command(ECHO), data(b"x")], 0),  # R11
    "command where the data set is due": ([command(STORE), command(ECHO)], 0),  # R11
    "data set inside a command": ([command(ECHO[:5], last=False), data(b"x")], 0),
    "context changes inside a command": ([command(ECHO[:5], last=False), command(ECHO[5:], context_id=3)], 0),
    "context changes before the data set": ([command(STORE), data(b"x", context_id=3)], 0),
    "context changes inside the data set": ([command(STORE), data(b"x", last=False), data(b"y", context_id=3)], 0),
    "a command set of nothing": ([command(b"")], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_the_peers_mistake_with_the_reason_to_abort(name: str) -> None:
    fragments, reason = VIOLATIONS[name]
    with pytest.raises(RemoteProtocolError) as caught:
        feed(reader(), fragments)
    assert (caught.value.abort_source, caught.value.abort_reason) == (2, reason)


def outcome(fragments: list[Fragment], **limits: Any) -> bool:
    try:
        feed(reader(**limits), fragments)
    except RemoteProtocolError:
        return False
    return True


@pytest.mark.parametrize(("excess", "taken"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("pieces", [1, 7])
def test_caps_hold_over_the_sum_of_fragments(excess: int, taken: bool, pieces: int) -> None:
    def cut(content: bytes) -> list[bytes]:
        size = -(-len(content) // pieces)
        return [content[at : at + size] for at in range(0, len(content), size)]

    def split(content: bytes, *, is_command: bool) -> list[Fragment]:
        parts = cut(content)
        return [Fragment(1, is_command, part is parts[-1], part) for part in parts]

    assert outcome(split(ECHO, is_command=True), max_command_set=len(ECHO) - excess) is taken
    content = bytes(200 + excess)
    assert outcome([command(STORE), *split(content, is_command=False)], max_instance=200, max_identifier=1) is taken
    assert outcome([command(FIND_RSP), *split(content, is_command=False)], max_identifier=200, max_instance=1) is taken


def test_an_endless_command_set_is_stopped() -> None:
    messages = reader()
    with pytest.raises(RemoteProtocolError):
        feed(messages, (command(bytes(1024), last=False) for _ in range(100)))


@pytest.mark.parametrize("start", [[], [command(STORE)]])
def test_a_message_of_empty_fragments_is_stopped(start: list[Fragment]) -> None:
    messages = reader(max_empty_fragments=10)
    feed(messages, start)
    empty = data(b"", last=False) if start else command(b"", last=False)
    feed(messages, [empty] * 10)
    with pytest.raises(RemoteProtocolError):
        messages.feed(empty)


# --- check_response: R11

REQUEST = Command(command_field=CommandField.C_FIND_RQ, message_id=7)


def answer(context_id: int = 1, **fields: Any) -> MessageStart:
    given = {"command_field": 0x8020, "message_id_being_responded_to": 7, "status": 0xFF00, **fields}
    return MessageStart(context_id, Command(**given))


def test_the_status_of_the_answer_to_our_request() -> None:
    assert check_response(answer(), REQUEST, 1) == 0xFF00


@pytest.mark.parametrize(
    "wrong",
    [
        answer(command_field=0x8021),
        answer(command_field=0x0020),
        answer(message_id_being_responded_to=8),
        answer(message_id_being_responded_to=None),
        answer(status=None),
        answer(context_id=3),
    ],
    ids=["command field", "request", "message id", "no message id", "no status", "context"],
)
def test_what_answers_something_else_is_the_peers_mistake(wrong: MessageStart) -> None:
    with pytest.raises(RemoteProtocolError):
        check_response(wrong, REQUEST, 1)


# --- writing


def pdus_of(buffers: Iterable[Any]) -> list[DataTransfer]:
    stream, found = joined(buffers), []
    while stream:
        size = 6 + int.from_bytes(stream[2:6], "big")
        pdu = decode(stream[:size])
        assert isinstance(pdu, DataTransfer)
        found.append(pdu)
        stream = stream[size:]
    return found


@given(
    st.lists(st.binary(max_size=300), max_size=8),
    st.integers(8, 200),
    st.booleans(),
)
def test_what_is_written_arrives_whole_in_pdus_the_peer_can_take(
    buffers: list[bytes], max_length: int, is_command: bool
) -> None:
    writer = FragmentWriter(5, max_length, is_command=is_command)
    written = [piece for buffer in buffers for piece in writer.write(buffer)]
    written += writer.finish()
    fragments = [f for pdu in pdus_of(written) for f in pdu.fragments]
    assert b"".join(bytes(f.data) for f in fragments) == b"".join(buffers)
    assert [f.is_last for f in fragments] == [False] * (len(fragments) - 1) + [True]
    assert {(f.context_id, f.is_command) for f in fragments} == {(5, is_command)}
    assert all(len(pdu.encode()) - 6 <= max_length for pdu in pdus_of(written))
    assert all(len(f.data) and len(f.data) % 2 == 0 for f in fragments[:-1])  # DCMTK demands even fragments
    assert len(fragments) <= sum(map(len, buffers)) // ((max_length - 6) & ~1) + 1  # and no more than needed


@given(st.integers(8, 200))
def test_a_command_set_is_cut_to_the_peers_maximum_length(max_length: int) -> None:
    request = Command(command_field=CommandField.C_ECHO_RQ, affected_sop_class_uid=pdus.VERIFICATION, message_id=1)
    found = pdus_of(command_pdus(3, request, max_length))
    assert b"".join(bytes(f.data) for pdu in found for f in pdu.fragments) == encode(request)
    assert all(len(pdu.encode()) - 6 <= max_length for pdu in found)


@pytest.mark.parametrize("max_length", [0, 1, 6, 7])
def test_no_writer_can_loop_over_empty_pdus(max_length: int) -> None:  # R14
    with pytest.raises(LocalProtocolError):
        FragmentWriter(1, max_length)


def test_large_data_is_written_without_copying_it() -> None:
    content = bytearray(1_000_000)
    writer = FragmentWriter(1, 131_072)
    written = [*writer.write(content), *writer.finish()]
    views = [piece for piece in written if isinstance(piece, memoryview)]
    assert sum(map(len, views)) == len(content)
    assert all(view.obj is content for view in views)


# --- W01: however the data are cut


@given(st.binary(max_size=200), st.binary(max_size=200), st.lists(st.integers(1, 40), min_size=1))
def test_a_message_means_the_same_however_it_is_fragmented(content: bytes, more: bytes, sizes: list[int]) -> None:
    def fragments(whole: bytes, *, is_command: bool) -> list[Fragment]:
        found, at, turn = [], 0, 0
        while at < len(whole):
            size = sizes[turn % len(sizes)]
            found.append(Fragment(1, is_command, at + size >= len(whole), whole[at : at + size]))
            at, turn = at + size, turn + 1
        return found or [Fragment(1, is_command, True, b"")]

    stream: list[Fragment] = []
    for body in (content, more):
        stream += fragments(STORE, is_command=True) + fragments(body, is_command=False)
    taken = feed(reader(), stream)
    assert [t.command.command_field for t in taken if isinstance(t, MessageStart)] == [1, 1]
    assert b"".join(bytes(t.data) for t in taken if isinstance(t, Fragment)) == content + more


contents = st.binary(max_size=60) | st.sampled_from([ECHO, STORE])


@given(st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.booleans(), st.booleans(), contents)))
def test_any_fragments_parse_or_raise_the_remote_protocol_error(stream: list[tuple[int, bool, bool, bytes]]) -> None:
    outcome([Fragment(*fields) for fields in stream])
