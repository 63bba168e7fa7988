"""Every cap of the wire and of the associations above it, in one dataclass."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may make us hold, and how long it may make us wait.

    Attributes:
        max_pdu_length: bytes of a P-DATA-TF PDU that we ask peers to keep to (PS3.8 D.1).
        max_pdu_accepted: bytes of a P-DATA-TF PDU that we bear all the same, because real peers overshoot.
        max_control_pdu: bytes of any other PDU.
        max_presentation_contexts: proposed contexts in one A-ASSOCIATE-RQ; PS3.8 has ids for 128.
        max_transfer_syntax_items: proposed transfer syntaxes in one A-ASSOCIATE-RQ, over all contexts.
        max_command_set: bytes of one Command Set.
        max_identifier: bytes of one Data Set that is not an instance.
        max_instance: bytes of one Data Set of a C-STORE.
        max_empty_fragments: PDVs without data in one message.
        high_water: bytes received and not yet read at which an association stops reading its socket.
        connect_seconds: for the TCP connection.
        artim_seconds: for the peer's A-ASSOCIATE-RQ, and for the answer to ours (PS3.8 9.1.5).
        linger_seconds: ARTIM once the association is over: how long the peer may take to close.
        stall_seconds: silence inside a PDU.
        min_bytes_per_second: mean rate below which a message that is under way counts as stalled.
        idle_seconds: silence between messages, and between the PDUs of one message.
        cancel_seconds: from a C-CANCEL to the final response.
        max_associations: inbound associations at one time.
        max_associations_per_peer: of these, from one address.
        max_unassociated: inbound connections whose association is not yet established.
    """

    max_pdu_length: int = 128 * KIB
    max_pdu_accepted: int = MIB
    max_control_pdu: int = 512 * KIB
    max_presentation_contexts: int = 128
    max_transfer_syntax_items: int = 8192
    max_command_set: int = 64 * KIB
    max_identifier: int = MIB
    max_instance: int = 4 * GIB
    max_empty_fragments: int = 64
    high_water: int = 2 * MIB
    connect_seconds: float = 2.0
    artim_seconds: float = 10.0
    linger_seconds: float = 1.0
    stall_seconds: float = 15.0
    min_bytes_per_second: int = KIB
    idle_seconds: float = 60.0
    cancel_seconds: float = 2.0
    max_associations: int = 200
    max_associations_per_peer: int = 25
    max_unassociated: int = 64
