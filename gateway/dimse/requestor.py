"""Opens associations (PS3.8 7.1)."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.deadline import Deadline
from gateway.dimse.association import AssociatePdu, Association
from gateway.dimse.incoming import StoreHandler
from gateway.errors import Busy, Refused, Rejected, RemoteProtocolError, Saturated, Unreachable
from gateway.wire.limits import Limits
from gateway.wire.negotiation import ProposedContext, associate_request
from gateway.wire.pdu import AssociateAccept, AssociateReject
from gateway.wire.states import Role


@dataclass(frozen=True, slots=True)
class Peer:
    """Where an Application Entity listens, the AE titles to use with it, and TLS where it wants that."""

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self.called_ae_title} at {self.host}:{self.port}"


async def connect(
    peer: Peer,
    contexts: Sequence[ProposedContext],
    deadline: Deadline,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    serve_store: StoreHandler | None = None,
) -> Association:
    """Open an association in the role of Requestor (PS3.8 7.1.1).

    Raises:
        Refused, Unreachable: there is no TCP connection; Saturated: for want of something on our side.
        Rejected, Busy: the peer rejected the association, or none of the contexts is accepted.
        Reset, Closed, Truncated, Stalled, Aborted, RemoteProtocolError: the association ended before it began.
    """
    request = associate_request(peer.called_ae_title, peer.calling_ae_title, contexts, limits)
    association = Association(Role.REQUESTOR, limits)
    association.called_ae_title = peer.called_ae_title
    association.proposed = frozenset(contexts)
    association.serve_store = serve_store
    association.connection.associate(request)
    try:
        await _open(association, peer, deadline.within(limits.connect_seconds))
        try:
            answer = await association.answer(deadline.within(limits.artim_seconds))
            association.establish(request, _accepted(answer, peer))
        except BaseException:
            association.abort()
            raise
    except BaseException:
        association.connection.drop()
        raise
    return association


async def _open(association: Association, peer: Peer, deadline: Deadline) -> None:
    loop = asyncio.get_running_loop()
    refused: OSError | None = None
    try:
        async with deadline.timeout():
            addresses = await loop.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
            for *_, address in addresses:
                try:
                    await loop.create_connection(
                        lambda: association.connection, str(address[0]), peer.port, **_secured(peer, association)
                    )
                except ConnectionRefusedError as error:
                    refused = error
                else:
                    return
    except TimeoutError:
        raise Unreachable(f"{peer} cannot be reached in time") from None
    except ssl.SSLError as error:
        raise Unreachable(
            f"{peer} does not agree on TLS with us ({error.reason or 'no reason given'}): check its certificate and "
            "ours, and the authorities that each side trusts",
            code="certificate" if isinstance(error, ssl.SSLCertVerificationError) else "tls",
        ) from error
    except socket.gaierror as error:
        raise Unreachable(f"{peer} cannot be looked up: {error.strerror}", code="name") from error
    except OSError as error:
        if error.errno in _OURS:
            raise Saturated(f"this host has no means left to reach {peer}: {error.strerror}") from error
        raise Unreachable(f"{peer} cannot be reached: {error.strerror}") from error
    except ValueError as error:
        raise Unreachable(f"{peer} cannot be looked up: its host is not a name", code="name") from error
    raise Refused(f"nothing listens as {peer}: check its host and port, and whether it is up") from refused


def _secured(peer: Peer, association: Association) -> dict[str, Any]:
    if peer.tls is None:
        return {}
    limits = association.limits
    return {
        "ssl": peer.tls,
        "server_hostname": peer.host,
        "ssl_handshake_timeout": limits.artim_seconds,
        "ssl_shutdown_timeout": limits.linger_seconds,
    }


# Errors that say nothing about the peer.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})

_REASONS: Final = {
    (1, 1): "without a reason",
    (1, 2): "because it does not support the DICOM application context",
    (1, 3): "because it does not know our AE title {calling}: ask its administrator to add {calling}",
    (1, 7): "because it is not called {called}: check its AE title",
    (2, 1): "without a reason",
    (2, 2): "because it does not support the protocol version",
    (3, 1): "because it is congested",
    (3, 2): "because it has no association to spare",
}


def _accepted(answer: AssociatePdu, peer: Peer) -> AssociateAccept:
    """Return the answer if anything at all is accepted; raise what an administrator has to know if not."""
    if isinstance(answer, AssociateReject):
        kind = Busy if answer.result == 2 else Rejected
        reason = _REASONS.get((answer.source, answer.reason), f"for the unknown reason {answer.source}/{answer.reason}")
        text = reason.format(calling=peer.calling_ae_title, called=peer.called_ae_title)
        raise kind(
            f"{peer} rejects the association {text}", result=answer.result, source=answer.source, reason=answer.reason
        )
    if not isinstance(answer, AssociateAccept):
        raise RemoteProtocolError("an A-ASSOCIATE-RQ as the answer to ours")
    results = {context.result for context in answer.presentation_contexts}
    if 0 not in results:
        raise Rejected(
            f"{peer} accepts none of the Presentation Contexts proposed: {_REFUSALS.get(min(results, default=2))}; "
            f"ask its administrator what {peer.calling_ae_title} is allowed to do there",
            source=3,
            reason=0,
        )
    return answer


_REFUSALS: Final = {
    1: "it does not want to",
    2: "it gives no reason",
    3: "it does not serve the SOP classes asked for",
    4: "it supports none of the transfer syntaxes asked for",
}
