"""What is proposed, what is accepted, and by which policy (PS3.8 7.1.1.13, Annex D; PS3.7 D.3)."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from operator import and_
from typing import Final

from gateway.errors import LocalProtocolError
from gateway.wire.items import (
    ExtendedNegotiation,
    PresentationContext,
    PresentationContextResult,
    RoleSelection,
    UserInformation,
)
from gateway.wire.limits import Limits
from gateway.wire.pdu import AssociateAccept, AssociateRequest

IMPLEMENTATION_CLASS_UID: Final = "2.25.100362457520641313213713952023516969948"
IMPLEMENTATION_VERSION_NAME: Final = "DICOMWEB_GATEWAY"

IMPLICIT_VR_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LE: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LE: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BE: Final = "1.2.840.10008.1.2.2"

_DICOM_ROOT: Final = "1.2.840.10008."
_ENCAPSULATED: Final = "1.2.840.10008.1.2."
_PREFERENCE: Final = {EXPLICIT_VR_LE: 0, IMPLICIT_VR_LE: 2, DEFLATED_EXPLICIT_VR_LE: 3, EXPLICIT_VR_BE: 4}
_LARGEST_UNSAID: Final = 16384


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A Presentation Context that a Requestor proposes; its id is given when the request is made.

    Attributes:
        scp_role: propose to be the SCP instead of the SCU, as C-GET needs for Storage (PS3.7 D.3.3.4).
        extended: Service-class-application-information (PS3.7 D.3.3.5), nothing if empty.
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scp_role: bool = False
    extended: bytes = b""


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A Presentation Context in force, as its Requestor and its Acceptor agreed.

    Attributes:
        scp_role: whether the Requestor is SCP.
        extended: what the Acceptor granted of the extended negotiation.
        scu_role: whether the Requestor is SCU.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    scp_role: bool = False
    extended: bytes = b""
    scu_role: bool = True


@dataclass(frozen=True, slots=True)
class AcceptancePolicy:
    """What an Acceptor accepts.

    Attributes:
        abstract_syntaxes: the SOP classes it serves.
        private_sop_classes: whether it also takes those that DICOM did not define.
        scp_roles: SOP classes of which the Requestor may be the SCP, as C-GET needs for Storage.
        extended: what it grants of the extended negotiation of a SOP class, where it is proposed.
    """

    abstract_syntaxes: Container[str]
    private_sop_classes: bool = False
    scp_roles: Container[str] = frozenset()
    extended: Mapping[str, bytes] = field(default_factory=dict)

    def serves(self, abstract_syntax: str) -> bool:
        """Tell whether a SOP class is served."""
        is_private = not abstract_syntax.startswith(_DICOM_ROOT)
        return abstract_syntax in self.abstract_syntaxes or (is_private and self.private_sop_classes)


def associate_request(
    called_ae_title: str, calling_ae_title: str, contexts: Sequence[ProposedContext], limits: Limits
) -> AssociateRequest:
    """Make the request that proposes these contexts, numbered 1, 3, 5 in their order (PS3.8 7.1.1.13).

    Raises:
        LocalProtocolError: there are none, or more than ids for them.
    """
    if not 1 <= len(contexts) <= limits.max_presentation_contexts:
        raise LocalProtocolError(f"{len(contexts)} Presentation Contexts; there can be 1 to 128")
    scp_roles = dict.fromkeys(context.abstract_syntax for context in contexts if context.scp_role)
    extended = {context.abstract_syntax: context.extended for context in contexts if context.extended}
    return AssociateRequest(
        called_ae_title,
        calling_ae_title,
        tuple(
            PresentationContext(number * 2 + 1, context.abstract_syntax, context.transfer_syntaxes)
            for number, context in enumerate(contexts)
        ),
        UserInformation(
            limits.max_pdu_length,
            IMPLEMENTATION_CLASS_UID,
            IMPLEMENTATION_VERSION_NAME,
            tuple(RoleSelection(sop_class, scu_role=False, scp_role=True) for sop_class in scp_roles),
            tuple(ExtendedNegotiation(sop_class, information) for sop_class, information in extended.items()),
        ),
    )


def accepted_contexts(request: AssociateRequest, accept: AssociateAccept) -> dict[int, AcceptedContext]:
    """Return the contexts in force by id.

    An answer to something that was not proposed puts nothing in force: a message on it is a violation.
    """
    proposed = {context.context_id: context for context in request.presentation_contexts}
    # A role that is proposed and not answered counts as granted: many an SCP of C-GET forgets the answer and goes on.
    scp_roles = {role.sop_class_uid for role in request.user_information.roles if role.scp_role}
    scp_roles -= {role.sop_class_uid for role in accept.user_information.roles if not role.scp_role}
    roles = (*request.user_information.roles, *accept.user_information.roles)
    not_scu = {role.sop_class_uid for role in roles if not role.scu_role}
    extended = {each.sop_class_uid: each.information for each in accept.user_information.extended}
    contexts = {}
    for result in accept.presentation_contexts:
        context = proposed.get(result.context_id)
        if result.result == 0 and context and result.transfer_syntax in context.transfer_syntaxes:
            name = context.abstract_syntax
            contexts[result.context_id] = AcceptedContext(
                result.context_id,
                name,
                result.transfer_syntax,
                name in scp_roles,
                extended.get(name, b""),
                name not in not_scu,
            )
    return contexts


def choose(request: AssociateRequest, policy: AcceptancePolicy, limits: Limits) -> AssociateAccept:
    """Answer each proposed context (PS3.8 9.3.3.2), role (PS3.7 D.3.3.4) and extended negotiation (PS3.7 D.3.3.5).

    Of the proposed transfer syntaxes Explicit VR Little Endian comes first, then whatever is encapsulated in the
    order proposed, Implicit VR Little Endian, Deflated, and Explicit VR Big Endian.
    """
    proposed = request.user_information
    scps = {role.sop_class_uid for role in proposed.roles if role.scp_role and role.sop_class_uid in policy.scp_roles}
    return AssociateAccept(
        request.called_ae_title,
        request.calling_ae_title,
        tuple(_answer(context, policy, scps) for context in request.presentation_contexts),
        UserInformation(
            limits.max_pdu_length,
            IMPLEMENTATION_CLASS_UID,
            IMPLEMENTATION_VERSION_NAME,
            tuple(
                RoleSelection(name, scu_role=role.scu_role and policy.serves(name), scp_role=name in scps)
                for role in proposed.roles
                if policy.serves(name := role.sop_class_uid) or name in scps
            ),
            tuple(
                ExtendedNegotiation(each.sop_class_uid, bytes(map(and_, each.information, granted)))
                for each in proposed.extended
                if (granted := policy.extended.get(each.sop_class_uid))
            ),
        ),
        request.application_context,
    )


def send_length(peer: UserInformation, limits: Limits) -> int:
    """Return how long the P-DATA-TF PDUs to this peer may be: its Maximum Length, or ours if it sets none (0)."""
    if peer.max_length is None:
        return min(_LARGEST_UNSAID, limits.max_pdu_length)
    return min(peer.max_length or limits.max_pdu_length, limits.max_pdu_length)


def _answer(context: PresentationContext, policy: AcceptancePolicy, scps: Container[str]) -> PresentationContextResult:
    if not policy.serves(context.abstract_syntax) and context.abstract_syntax not in scps:
        return PresentationContextResult(context.context_id, 3, context.transfer_syntaxes[0])
    known = [each for each in context.transfer_syntaxes if each.startswith(_ENCAPSULATED) or each in _PREFERENCE]
    if not known:
        return PresentationContextResult(context.context_id, 4, context.transfer_syntaxes[0])
    return PresentationContextResult(context.context_id, 0, min(known, key=lambda each: _PREFERENCE.get(each, 1)))
