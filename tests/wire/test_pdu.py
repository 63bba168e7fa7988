"""The seven PDUs: golden bytes with a comment per field, and pynetdicom as the oracle in both directions (W03)."""

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import pdu as theirs
from pynetdicom import pdu_primitives as primitives
from pynetdicom.presentation import PresentationContext as TheirContext

from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.wire.items import (
    ExtendedNegotiation,
    PresentationContext,
    PresentationContextResult,
    RoleSelection,
    UserInformation,
)
from gateway.wire.limits import Limits
from gateway.wire.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    DataTransfer,
    Fragment,
    Pdu,
    ReleaseReply,
    ReleaseRequest,
    data_header,
    decode,
)
from tests.kit import pdus

# --- golden bytes

GOLDEN: dict[str, tuple[Pdu, bytes]] = {
    "A-ASSOCIATE-RQ": (
        AssociateRequest(
            "ARCHIVE",
            "GATEWAY",
            (PresentationContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")),),
            UserInformation(
                131_072,
                "1.2.3",
                "GW_1",
                (RoleSelection("1.2.4", scu_role=False, scp_role=True),),
                (ExtendedNegotiation("1.2.5", b"\x01\x00\x01"),),
            ),
        ),
        b"\x01"  # PDU type
        b"\x00"  # reserved
        b"\x00\x00\x00\xde"  # PDU length 222
        b"\x00\x01"  # protocol version 1
        b"\x00\x00"  # reserved
        b"ARCHIVE         "  # called AE title, padded to 16
        b"GATEWAY         "  # calling AE title
        + bytes(32)  # reserved
        + b"\x10\x00\x00\x15"  # application context item, 21 bytes
        b"1.2.840.10008.3.1.1.1"
        b"\x20\x00\x00\x45"  # presentation context item, 69 bytes
        b"\x01"  # presentation context id 1
        b"\x00\x00\x00"  # reserved
        b"\x30\x00\x00\x11"  # abstract syntax sub-item, 17 bytes
        b"1.2.840.10008.1.1"
        b"\x40\x00\x00\x11"  # first transfer syntax sub-item, 17 bytes
        b"1.2.840.10008.1.2"
        b"\x40\x00\x00\x13"  # second transfer syntax sub-item, 19 bytes
        b"1.2.840.10008.1.2.1"
        b"\x50\x00\x00\x34"  # user information item, 52 bytes
        b"\x51\x00\x00\x04"  # maximum length sub-item
        b"\x00\x02\x00\x00"  # 131,072
        b"\x52\x00\x00\x05"  # implementation class UID sub-item
        b"1.2.3"
        b"\x54\x00\x00\x09"  # role selection sub-item
        b"\x00\x05"  # length of the UID
        b"1.2.4"
        b"\x00"  # SCU role: no
        b"\x01"  # SCP role: yes
        b"\x55\x00\x00\x04"  # implementation version name sub-item
        b"GW_1"
        b"\x56\x00\x00\x0a"  # SOP class extended negotiation sub-item
        b"\x00\x05"  # length of the UID
        b"1.2.5"
        b"\x01\x00\x01",  # service class application information
    ),
    "A-ASSOCIATE-AC": (
        AssociateAccept(
            "ARCHIVE",
            "GATEWAY",
            (PresentationContextResult(1, 0, "1.2.840.10008.1.2.1"), PresentationContextResult(3, 3, "")),
            UserInformation(16_384, "1.2.3"),
        ),
        b"\x02\x00"  # PDU type, reserved
        b"\x00\x00\x00\x9d"  # PDU length 157
        b"\x00\x01\x00\x00"  # protocol version, reserved
        b"ARCHIVE         "  # called AE title, repeated
        b"GATEWAY         "  # calling AE title, repeated
        + bytes(32)  # reserved
        + b"\x10\x00\x00\x15"  # application context item
        b"1.2.840.10008.3.1.1.1"
        b"\x21\x00\x00\x1b"  # presentation context item, 27 bytes
        b"\x01\x00"  # presentation context id 1, reserved
        b"\x00\x00"  # result: acceptance, reserved
        b"\x40\x00\x00\x13"  # transfer syntax sub-item
        b"1.2.840.10008.1.2.1"
        b"\x21\x00\x00\x08"  # presentation context item, 8 bytes
        b"\x03\x00"  # presentation context id 3, reserved
        b"\x03\x00"  # result: abstract syntax not supported, reserved
        b"\x40\x00\x00\x00"  # transfer syntax sub-item: not significant, empty
        b"\x50\x00\x00\x11"  # user information item, 17 bytes
        b"\x51\x00\x00\x04"  # maximum length sub-item
        b"\x00\x00\x40\x00"  # 16,384
        b"\x52\x00\x00\x05"  # implementation class UID sub-item
        b"1.2.3",
    ),
    "A-ASSOCIATE-RJ": (
        AssociateReject(result=2, source=3, reason=2),
        (
            b"\x03\x00"  # PDU type, reserved
            b"\x00\x00\x00\x04"  # PDU length
            b"\x00"  # reserved
            b"\x02"  # result: transient
            b"\x03"  # source: service-provider, presentation related
            b"\x02"  # reason: local limit exceeded
        ),
    ),
    "P-DATA-TF": (
        DataTransfer((Fragment(1, True, True, b"CMD!"), Fragment(3, False, False, b"da"))),
        (
            b"\x04\x00"  # PDU type, reserved
            b"\x00\x00\x00\x12"  # PDU length 18
            b"\x00\x00\x00\x06"  # first PDV: 6 bytes with its two header bytes
            b"\x01"  # presentation context id 1
            b"\x03"  # message control header: command, last
            b"CMD!"
            b"\x00\x00\x00\x04"  # second PDV
            b"\x03"  # presentation context id 3
            b"\x00"  # message control header: data set, not last
            b"da"
        ),
    ),
    "A-RELEASE-RQ": (ReleaseRequest(), b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    "A-RELEASE-RP": (ReleaseReply(), b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    "A-ABORT": (
        Abort(source=2, reason=6),
        (
            b"\x07\x00"  # PDU type, reserved
            b"\x00\x00\x00\x04"  # PDU length
            b"\x00\x00"  # reserved
            b"\x02"  # source: service-provider
            b"\x06"  # reason: invalid PDU parameter value
        ),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name: str) -> None:
    pdu, encoded = GOLDEN[name]
    assert pdu.encode() == encoded
    assert decode(encoded) == pdu


def test_the_header_of_outgoing_data_is_that_of_a_p_data_tf_with_one_pdv() -> None:
    for is_command, is_last in ((True, True), (True, False), (False, True), (False, False)):
        whole = DataTransfer((Fragment(5, is_command, is_last, b"x" * 300),)).encode()
        assert data_header(5, 300, is_command=is_command, is_last=is_last) + b"x" * 300 == whole


# --- what Hypothesis makes

ae_titles = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=16)
uids = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(lambda parts: "1.2." + ".".join(map(str, parts)))
proposals = st.lists(st.tuples(uids, st.lists(uids, min_size=1, max_size=4, unique=True)), min_size=1, max_size=12).map(
    lambda items: tuple(PresentationContext(2 * n + 1, name, tuple(t)) for n, (name, t) in enumerate(items))
)
results = st.lists(st.tuples(st.integers(0, 4), uids), min_size=1, max_size=12).map(
    lambda items: tuple(
        PresentationContextResult(2 * n + 1, result, "" if result else name) for n, (result, name) in enumerate(items)
    )
)
either_role = st.sampled_from([(True, False), (False, True), (True, True)])  # pynetdicom refuses to write neither
roles = st.lists(st.tuples(uids, either_role), max_size=3, unique_by=lambda role: role[0]).map(
    lambda items: tuple(RoleSelection(name, scu, scp) for name, (scu, scp) in items)
)
extended = st.lists(
    st.builds(ExtendedNegotiation, uids, st.binary(min_size=1, max_size=8)),
    max_size=3,
    unique_by=lambda item: item.sop_class_uid,
)
user_informations = st.builds(
    UserInformation,
    st.integers(0, 2**32 - 1),
    uids,
    st.text("ABCDEFGH_0123", max_size=16),
    roles,
    extended.map(tuple),
)
requests = st.builds(AssociateRequest, ae_titles, ae_titles, proposals, user_informations)
accepts = st.builds(AssociateAccept, ae_titles, ae_titles, results, user_informations)
fragments = st.builds(Fragment, st.integers(0, 127).map(lambda n: 2 * n + 1), st.booleans(), st.booleans(), st.binary())
transfers = st.lists(fragments, min_size=1, max_size=5).map(lambda items: DataTransfer(tuple(items)))
rejects = st.builds(AssociateReject, st.integers(1, 2), st.integers(1, 3), st.integers(1, 2))
aborts = st.builds(Abort, st.sampled_from([0, 2]), st.sampled_from([0, 1, 2, 4, 5, 6]))


@given(st.one_of(requests, accepts, transfers, rejects, aborts))
def test_what_is_encoded_is_decoded_again(pdu: Pdu) -> None:
    assert decode(pdu.encode()) == pdu
    assert decode(pdu.encode()).encode() == pdu.encode()


def their_user_information(ours: UserInformation) -> list[Any]:
    length = primitives.MaximumLengthNotification()
    length.maximum_length_received = ours.max_length
    implementation = primitives.ImplementationClassUIDNotification()
    implementation.implementation_class_uid = ours.implementation_class_uid
    items: list[Any] = [length, implementation]
    for each in ours.roles:
        role = primitives.SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = each.sop_class_uid, each.scu_role, each.scp_role
        items.append(role)
    if ours.implementation_version_name:
        version = primitives.ImplementationVersionNameNotification()
        version.implementation_version_name = ours.implementation_version_name
        items.append(version)
    for one in ours.extended:
        negotiation = primitives.SOPClassExtendedNegotiation()
        negotiation.sop_class_uid = one.sop_class_uid
        negotiation.service_class_application_information = one.information
        items.append(negotiation)
    return items


def their_association(ours: AssociateRequest | AssociateAccept) -> primitives.A_ASSOCIATE:
    primitive = primitives.A_ASSOCIATE()
    primitive.application_context_name = ours.application_context
    primitive.called_ae_title, primitive.calling_ae_title = ours.called_ae_title, ours.calling_ae_title
    primitive.user_information = their_user_information(ours.user_information)
    return primitive


def their_context(context_id: int, abstract_syntax: str, transfer_syntaxes: Sequence[str]) -> Any:
    context = TheirContext()
    context.context_id = context_id
    if abstract_syntax:
        context.abstract_syntax = abstract_syntax
    context.transfer_syntax = list(transfer_syntaxes)
    return context


@given(requests)
@settings(max_examples=60)
def test_pynetdicom_writes_the_same_a_associate_rq_and_reads_ours(ours: AssociateRequest) -> None:
    primitive = their_association(ours)
    primitive.presentation_context_definition_list = [
        their_context(c.context_id, c.abstract_syntax, c.transfer_syntaxes) for c in ours.presentation_contexts
    ]
    written = theirs.A_ASSOCIATE_RQ()
    written.from_primitive(primitive)
    assert ours.encode() == written.encode()
    read = theirs.A_ASSOCIATE_RQ()
    read.decode(ours.encode())
    assert read == written
    assert decode(written.encode()) == ours


@given(accepts)
@settings(max_examples=60)
def test_pynetdicom_writes_the_same_a_associate_ac_and_reads_ours(ours: AssociateAccept) -> None:
    read = theirs.A_ASSOCIATE_AC()
    read.decode(ours.encode())
    assert [(c.context_id, c.result) for c in read.presentation_context] == [
        (c.context_id, c.result) for c in ours.presentation_contexts
    ]
    syntaxes = [c.transfer_syntax for c in read.presentation_context if c.result == 0]
    assert syntaxes == [c.transfer_syntax for c in ours.presentation_contexts if c.result == 0]
    assert read.user_information.maximum_length == ours.user_information.max_length
    definitions = [their_context(c.context_id, "", (c.transfer_syntax or "1.2.3",)) for c in ours.presentation_contexts]
    for definition, context in zip(definitions, ours.presentation_contexts, strict=True):
        definition.result = context.result
    primitive = their_association(ours)
    primitive.presentation_context_definition_results_list = definitions
    written = theirs.A_ASSOCIATE_AC()
    written.from_primitive(primitive)
    assert decode(written.encode()) == ours


@given(transfers)
def test_pynetdicom_writes_the_same_p_data_tf_and_reads_ours(ours: DataTransfer) -> None:
    primitive = primitives.P_DATA()
    primitive.presentation_data_value_list = [
        [f.context_id, bytes([f.is_command | f.is_last << 1]) + bytes(f.data)] for f in ours.fragments
    ]
    written = theirs.P_DATA_TF()
    written.from_primitive(primitive)
    assert ours.encode() == written.encode()
    assert decode(written.encode()) == ours


@pytest.mark.parametrize(("result", "source", "reason"), [(1, 1, 7), (1, 1, 3), (1, 2, 2), (2, 3, 1), (2, 3, 2)])
def test_pynetdicom_reads_our_a_associate_rj(result: int, source: int, reason: int) -> None:
    read = theirs.A_ASSOCIATE_RJ()
    read.decode(AssociateReject(result, source, reason).encode())
    assert (read.result, read.source, read.reason_diagnostic) == (result, source, reason)


@pytest.mark.parametrize("reason", [0, 1, 2, 4, 5, 6])
def test_pynetdicom_reads_our_a_abort(reason: int) -> None:
    read = theirs.A_ABORT_RQ()
    read.decode(Abort(2, reason).encode())
    assert (read.source, read.reason_diagnostic) == (2, reason)


# --- tolerance for what stands in the field


def test_padding_of_names_does_not_count() -> None:
    user = pdus.user_information(16_384, pdus.item(0x55, b"VERSION_1   "))
    contexts = [(1, pdus.VERIFICATION + "\0", [pdus.IMPLICIT_LE + "\0"])]
    request = decode(pdus.associate_rq(contexts, called="  GATEWAY", user=user))
    assert isinstance(request, AssociateRequest)
    assert request.called_ae_title == "GATEWAY"
    assert request.presentation_contexts == (PresentationContext(1, pdus.VERIFICATION, (pdus.IMPLICIT_LE,)),)
    assert request.user_information.implementation_version_name == "VERSION_1"


def test_unknown_items_and_sub_items_are_skipped() -> None:
    asynchronous, identity, unheard_of = pdus.item(0x53, bytes(4)), pdus.item(0x58, bytes(6)), pdus.item(0xEE, b"?")
    user = pdus.item(0x77, b"??") + pdus.user_information(16_384, asynchronous, identity, unheard_of)
    request = decode(pdus.associate_rq([(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE])], user=user))
    assert isinstance(request, AssociateRequest)
    assert request.user_information.max_length == 16_384


def test_a_missing_maximum_length_is_told_from_an_unlimited_one() -> None:
    for sent in (None, 0, 7, 2**32 - 1):
        user = pdus.user_information(sent)
        request = decode(pdus.associate_rq([(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE])], user=user))
        assert isinstance(request, AssociateRequest)
        assert request.user_information.max_length == sent


def test_a_refused_context_may_come_with_garbage_for_a_transfer_syntax() -> None:
    garbage = pdus.item(0x21, bytes([1, 0, 4, 0]) + b"\x40\x00\xff\xff\xfe")
    accept = decode(pdus.associate(pdus.A_ASSOCIATE_AC, "A", "B", garbage, pdus.user_information()))
    assert isinstance(accept, AssociateAccept)
    assert accept.presentation_contexts == (PresentationContextResult(1, 4),)


# --- malformed: one RemoteProtocolError that says how to abort

CONTEXT = pdus.proposed(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE])


def request(contexts: bytes = CONTEXT, user: bytes = pdus.user_information()) -> bytes:
    return pdus.associate(pdus.A_ASSOCIATE_RQ, "GATEWAY", "PEER", contexts, user)


MALFORMED = {
    "header only half there": (b"\x04\x00\x00", 6),
    "length says more": (pdus.pdu(5, bytes(4), length=5), 6),
    "length says less": (pdus.pdu(5, bytes(4), length=3), 6),
    "type 00H": (pdus.pdu(0, bytes(4)), 1),
    "type 08H": (pdus.pdu(8, bytes(4)), 1),
    "type FFH": (pdus.pdu(0xFF, b""), 1),
    "A-RELEASE-RQ of 3 bytes": (pdus.pdu(5, bytes(3)), 6),
    "A-ABORT of 0 bytes": (pdus.pdu(7, b""), 6),
    "A-ASSOCIATE-RQ of 67 bytes": (pdus.pdu(1, bytes(67)), 6),
    "item header cut": (request(user=b"\x50\x00\x00"), 6),
    "item longer than its PDU": (request(user=pdus.item(0x50, b"", length=1)), 6),
    "even context id": (request(pdus.proposed(2, pdus.VERIFICATION, [pdus.IMPLICIT_LE])), 6),
    "context id 0": (request(pdus.proposed(0, pdus.VERIFICATION, [pdus.IMPLICIT_LE])), 6),
    "context id used twice": (request(CONTEXT + CONTEXT), 6),
    "context of 3 bytes": (request(pdus.item(0x20, bytes(3))), 6),
    "context without abstract syntax": (request(pdus.item(0x20, b"\x01\0\0\0" + pdus.item(0x40, b"1.2"))), 6),
    "context with two abstract syntaxes": (
        request(pdus.item(0x20, b"\x01\0\0\0" + pdus.item(0x30, b"1.2") * 2 + pdus.item(0x40, b"1.2"))),
        6,
    ),
    "context without transfer syntax": (request(pdus.proposed(1, pdus.VERIFICATION, [])), 6),
    "UID that is not ASCII": (request(pdus.item(0x20, bytes([1, 0, 0, 0]) + pdus.item(0x30, b"1.\xff"))), 6),
    "maximum length of 3 bytes": (request(user=pdus.item(0x50, pdus.item(0x51, bytes(3)))), 6),
    "role selection cut": (request(user=pdus.item(0x50, pdus.item(0x54, b"\x00\x05"))), 6),
    "role selection without roles": (request(user=pdus.item(0x50, pdus.item(0x54, b"\x00\x031.2\x01"))), 6),
    "role selection of 1 byte": (request(user=pdus.item(0x50, pdus.item(0x54, b"\x00"))), 6),
    "extended negotiation cut": (request(user=pdus.item(0x50, pdus.item(0x56, b"\xff\xff1.2"))), 6),
    "P-DATA-TF without PDV": (pdus.pdu(4, b""), 6),
    "P-DATA-TF of 3 bytes": (pdus.pdu(4, bytes(3)), 6),
    "PDV of length 0": (pdus.pdu(4, pdus.pdv(1, 3, b"", length=0)), 6),
    "PDV of length 1": (pdus.pdu(4, pdus.pdv(1, 3, b"", length=1)), 6),
    "PDV longer than its PDU": (pdus.pdu(4, pdus.pdv(1, 3, b"abc", length=99)), 6),
    "PDV of 4 GiB": (pdus.pdu(4, pdus.pdv(1, 3, b"abc", length=0xFFFFFFFF)), 6),
    "bytes after the last PDV": (pdus.pdu(4, pdus.pdv(1, 3, b"abc") + b"\0\0"), 6),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_pdu_is_the_peers_mistake_with_the_reason_to_abort(name: str) -> None:
    data, reason = MALFORMED[name]
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data)
    assert (caught.value.abort_source, caught.value.abort_reason) == (2, reason)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_the_remote_protocol_error(data: bytes) -> None:
    for candidate in (data, *(pdus.pdu(kind, data) for kind in range(9))):
        with contextlib.suppress(RemoteProtocolError):
            decode(candidate)


@given(st.one_of(requests, accepts, transfers), st.data())
def test_any_byte_changed_parses_or_raises_the_remote_protocol_error(pdu: Pdu, data: st.DataObject) -> None:
    encoded = bytearray(pdu.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteProtocolError):
        decode(encoded)


# --- caps, at the limit and on both sides of it


@pytest.mark.parametrize("count", [3, 4, 5])
def test_the_number_of_presentation_contexts_is_capped(count: int) -> None:
    contexts = b"".join(pdus.proposed(2 * n + 1, pdus.VERIFICATION, [pdus.IMPLICIT_LE]) for n in range(count))
    if count <= 4:
        decode(request(contexts), Limits(max_presentation_contexts=4))
        return
    with pytest.raises(RemoteProtocolError):
        decode(request(contexts), Limits(max_presentation_contexts=4))


@pytest.mark.parametrize("count", [9, 10, 11])
def test_the_number_of_transfer_syntax_items_is_capped_over_all_contexts(count: int) -> None:
    contexts = pdus.proposed(1, "1.2.3", ["1.2"] * 5) + pdus.proposed(3, "1.2.3", ["1.2"] * (count - 5))
    if count <= 10:
        decode(request(contexts), Limits(max_transfer_syntax_items=10))
        return
    with pytest.raises(RemoteProtocolError):
        decode(request(contexts), Limits(max_transfer_syntax_items=10))


def test_all_128_contexts_of_the_standard_are_taken() -> None:
    contexts = b"".join(pdus.proposed(n, pdus.VERIFICATION, [pdus.IMPLICIT_LE]) for n in range(1, 256, 2))
    decoded = decode(request(contexts))
    assert isinstance(decoded, AssociateRequest)
    assert len(decoded.presentation_contexts) == 128


# --- our own mistakes


def test_an_ae_title_that_cannot_be_written_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        AssociateRequest("SEVENTEEN-LETTERS", "GATEWAY", ()).encode()
