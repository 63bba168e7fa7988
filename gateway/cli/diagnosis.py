"""What a failure means: in words for our operator, and as a sentence for a mail to the region's administrator."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.dimse.acceptor import Caller
from gateway.errors import (
    Aborted,
    Busy,
    Closed,
    DimseFailure,
    GatewayError,
    Refused,
    Rejected,
    RemoteProtocolError,
    Reset,
    Stalled,
    Truncated,
)
from gateway.region.contexts import MOVE
from gateway.region.profile import Profile
from gateway.wire.status import describe

MOVE_DESTINATION_UNKNOWN: Final = 0xA801
EXPIRED, NOT_YET_VALID, SELF_SIGNED, UNKNOWN_ISSUER, WRONG_HOST = 10, 9, (18, 19), (2, 20, 21), (62, 64)
"""Verification errors of OpenSSL."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong.

    Attributes:
        text: for our operator.
        mail: for the region's administrator; empty where it is not theirs to mend.
    """

    text: str
    mail: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """Both ends, as a mail has to name them."""

    profile: Profile
    our_ae_title: str
    our_address: str
    our_port: int

    @property
    def we(self) -> str:
        """Us."""
        return f"our AE title {self.our_ae_title} at {self.our_address}"

    @property
    def they(self) -> str:
        """Them."""
        return f"{self.profile.ae_title} at {self.profile.host}:{self.profile.port}"


def is_of_tls(error: GatewayError) -> bool:
    """Whether there was a connection, and TLS was not agreed on."""
    return isinstance(error.__cause__, ssl.SSLError | ConnectionAbortedError | ConnectionResetError)


def of_tcp(error: GatewayError, host: Host, seconds: float) -> Diagnosis:
    """Return why there is no connection."""
    if isinstance(error, Refused):
        return Diagnosis(
            'nothing listens there: check "host" and "port" in the profile, and whether the archive is up',
            f"{host.they} refuses TCP connections from {host.our_address or 'our host'}. Please tell us the host and "
            f"port at which the archive takes associations from {host.our_ae_title}, or start it.",
        )
    if error.__cause__ is None:
        return Diagnosis(
            f"no answer within {seconds:g} s: something on the way drops it, such as a firewall, or the host is off",
            f"Connections from {host.our_address or 'our host'} to {host.they} (TCP) get no answer at all. Please open "
            f"the firewall for {host.we} to that port, and from you to us at TCP port {host.our_port}.",
        )
    return Diagnosis(
        f"{error}: check the network between here and there",
        f"{host.they} cannot be reached from {host.our_address or 'our host'}: {error.__cause__}.",
    )


def of_tls(error: GatewayError, host: Host) -> Diagnosis:
    """Return why TLS was not agreed on."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        what, ask = of_certificate(cause)
        return Diagnosis(
            f"its certificate cannot be trusted: {what}",
            f"The TLS certificate of {host.they} is not accepted by {host.we}: {what}. Please {ask}.",
        )
    reason = getattr(cause, "reason", None) or str(cause) or "no answer"
    plain = "" if isinstance(cause, ssl.SSLError) and "ALERT" in reason else " It may not speak TLS: see tls = true."
    return Diagnosis(
        f"TLS is not agreed on ({reason}).{plain}",
        f"The TLS handshake of {host.we} with {host.they} fails ({reason}). Please check that DICOM TLS is on at that "
        "port, with TLS 1.2 or later, and that our certificate is trusted.",
    )


def of_certificate(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """Return why a certificate is not trusted, and what its owner is to do."""
    code, said = error.verify_code, error.verify_message
    if code == EXPIRED:
        return "it has expired", "install a renewed certificate"
    if code == NOT_YET_VALID:
        return "it is not valid yet", "check the clock of the host, and the certificate's dates"
    if code in (*SELF_SIGNED, *UNKNOWN_ISSUER):
        return f"its authority is not known here ({said})", 'send us the certificate of the authority (our "ca")'
    if code in WRONG_HOST:
        return f"it is for another host ({said})", "issue it for the host name at which we call you"
    return said, "check it"


def of_association(error: GatewayError, host: Host) -> Diagnosis:
    """Return why there is no association, or why it ended."""
    if isinstance(error, Busy):
        return Diagnosis(
            f"it has no association to spare (rejected for now, {error.source}/{error.reason}): its association limit "
            "is reached, by others or by us",
            f"{host.they} rejects associations from {host.we} because its association limit is reached. Please raise "
            f"the limit, or reserve {host.profile.max_associations} associations for our AE title.",
        )
    if isinstance(error, Rejected):
        return Diagnosis(str(error), _rejection(error, host))
    if isinstance(error, Stalled):
        return Diagnosis(
            f"it takes the connection and then says nothing: {error}",
            f"{host.they} accepts TCP connections from {host.we}, but does not answer our A-ASSOCIATE-RQ. Please check "
            "that the DICOM service is running there, and what stands between.",
        )
    if isinstance(error, Aborted | Closed | Reset | Truncated):
        secure = "" if host.profile.tls else " It may expect TLS: then set tls = true."
        return Diagnosis(
            f"{error}.{secure}",
            f"{host.they} ends the connection when {host.we} asks for an association ({error.slug}). Please check "
            "that our address and AE title are allowed, and whether you expect TLS.",
        )
    if isinstance(error, RemoteProtocolError):
        return Diagnosis(f'what answers there does not speak DICOM ({error}): check "port" in the profile')
    return Diagnosis(str(error))


def _rejection(error: Rejected, host: Host) -> str:
    where = f"{host.they} rejects associations from {host.we}"
    if (error.source, error.reason) == (1, 3):
        return f"{where}: calling AE title not recognized. Please add {host.our_ae_title} at {host.our_address}."
    if (error.source, error.reason) == (1, 7):
        return f"{where}: called AE title not recognized. Please tell us the AE title of the archive."
    if error.reason == 0:
        return f"{where}: no Presentation Context is accepted. Please allow it Verification and Study Root Q/R."
    return f"{where} (result {error.result}, source {error.source}, reason {error.reason}). Please tell us why."


def of_move(error: GatewayError, destination: str, host: Host, callers: Sequence[Caller]) -> Diagnosis:
    """Return why nothing came to a Move Destination of ours, with those who called meanwhile."""
    register = f"{destination} at {host.our_address}, port {host.our_port}"
    status = error.status if isinstance(error, DimseFailure) else None
    strangers = [x for x in callers if x.called_ae_title != destination or x.calling_ae_title != host.profile.ae_title]
    if strangers:
        caller = strangers[-1]
        return Diagnosis(
            f"it called us as {caller.called_ae_title} and itself {caller.calling_ae_title}; the profile says "
            f"{destination} and {host.profile.ae_title}: correct the profile, or what is registered there",
            f"When we ask {host.they} to C-MOVE to {destination}, it calls {caller.called_ae_title} and calls itself "
            f"{caller.calling_ae_title}. Please register {register}.",
        )
    if status == MOVE_DESTINATION_UNKNOWN:
        return Diagnosis(
            f"it does not know the Move Destination {destination} (A801)",
            f"{host.they} answers our C-MOVE with A801H, Move Destination unknown. Please register {register}.",
        )
    if status is None or error.slug == "rejected":
        return Diagnosis(
            f"it does not serve C-MOVE: {error}",
            f"{host.they} does not serve C-MOVE (Study Root, {MOVE}) to {host.we}. Please enable it, and register "
            f"{register} as a Move Destination.",
        )
    arrived = "it called us, but sent nothing" if callers else "it never called us"
    return Diagnosis(
        f"C-MOVE ends with {describe(status)}, and nothing came: {arrived}",
        f"{host.they} accepts our C-MOVE to {destination}, but nothing arrives ({status:04X}H). Please check that "
        f"{register} is registered so, and that your firewall lets you connect to it.",
    )
