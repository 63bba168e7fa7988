"""Takes associations (PS3.8 7.1) and serves what is asked on them."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.buffers import Buffers
from gateway.dimse.connection import Connection
from gateway.dimse.echo import serve_echo
from gateway.dimse.inbound import Inbound, Message
from gateway.dimse.incoming import IncomingStore, StoreHandler
from gateway.dimse.sop_classes import STORAGE, VERIFICATION
from gateway.dimse.store import serve_store
from gateway.errors import GatewayError, LocalProtocolError, RemoteProtocolError
from gateway.wire.command import RESPONSE, Command, CommandField
from gateway.wire.limits import Limits
from gateway.wire.negotiation import AcceptancePolicy, choose
from gateway.wire.pdu import APPLICATION_CONTEXT, AssociateReject, AssociateRequest
from gateway.wire.states import Role
from gateway.wire.status import UNRECOGNIZED_OPERATION

Rejection: TypeAlias = AssociateReject

CALLING_AE_TITLE_NOT_RECOGNIZED: Final = Rejection(result=1, source=1, reason=3)
CALLED_AE_TITLE_NOT_RECOGNIZED: Final = Rejection(result=1, source=1, reason=7)
_APPLICATION_CONTEXT_NOT_SUPPORTED: Final = Rejection(result=1, source=1, reason=2)
_LOCAL_LIMIT_EXCEEDED: Final = Rejection(result=2, source=3, reason=2)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association.

    Attributes:
        certificate: the names on its certificate; None where it showed none.
    """

    calling_ae_title: str
    called_ae_title: str
    address: str
    certificate: frozenset[str] | None = None


Service: TypeAlias = Callable[[Association, Inbound], Awaitable[None]]
"""Serves one request, a whole message or for C-STORE an ``IncomingStore``; or takes the response to one of ours."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one caller may do: the Presentation Contexts it gets, and who serves its requests by command field."""

    policy: AcceptancePolicy
    services: Mapping[int, Service]


class Acceptor:
    """Listens, decides who may associate, and serves each association one request at a time.

    C-ECHO is always served, C-STORE when there is a handler for it, anything else by ``services``; a caller to whom
    ``accept`` gives terms of its own is served by these alone.
    """

    def __init__(
        self,
        *,
        accept: Callable[[Caller], Rejection | Terms | None],
        store: StoreHandler | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        policy: AcceptancePolicy | None = None,
        services: Mapping[int, Service] | None = None,
    ) -> None:
        self._accept = accept
        self._limits = limits
        served: dict[int, Service] = {CommandField.C_ECHO_RQ: serve_echo, **(services or {})}
        if store is not None:
            served[CommandField.C_STORE_RQ] = storing(store)
        contexts = AcceptancePolicy({VERIFICATION} | (STORAGE if store else frozenset()))
        self._terms = Terms(policy or contexts, served)
        self._buffers = Buffers()
        self._servers: list[asyncio.Server] = []
        self._tasks = asyncio.TaskGroup()
        self._open: set[Association] = set()
        # In the order of their arrival: the oldest that has not associated makes room for the newest.
        self._waiting: dict[Association, None] = {}
        self._associated: dict[Association, asyncio.Task[None]] = {}
        self._callers: Counter[str] = Counter()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen, in the clear or with TLS, and return the port; there may be several.

        The task that starts it also closes it.
        """
        loop = asyncio.get_running_loop()
        if tls is None:
            server = await loop.create_server(self._connected, host, port, backlog=1024)
        else:
            server = await loop.create_server(
                self._shaking_hands,
                host,
                port,
                backlog=1024,
                ssl=tls,
                ssl_handshake_timeout=self._limits.artim_seconds,
                ssl_shutdown_timeout=self._limits.linger_seconds,
            )
        if not self._servers:
            await self._tasks.__aenter__()
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def aclose(self, grace: float) -> None:
        """Stop listening, give the associations that long to end, abort the rest, and wait for their tasks."""
        if not self._servers:
            return
        for server in self._servers:
            server.close()
        self._servers.clear()
        for association in list(self._waiting):
            association.connection.drop()
        tasks = list(self._associated.values())
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        for association, task in list(self._associated.items()):
            association.abort()
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        for association in list(self._open):
            await association.connection.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose(grace=0)

    def __repr__(self) -> str:
        return f"<Acceptor associated={len(self._associated)} waiting={len(self._waiting)}>"

    def _connected(self) -> Connection:
        association = Association(Role.ACCEPTOR, self._limits, self._requested, self._buffers)
        association.on_change = lambda: self._changed(association)
        self._open.add(association)
        self._waiting[association] = None
        if len(self._waiting) > self._limits.max_unassociated:
            # Those who only connect must not keep out those who mean it.
            next(iter(self._waiting)).connection.drop()
        return association.connection

    def _shaking_hands(self) -> Connection:
        """Take a connection that is not one before its TLS handshake succeeded: none that fails is ever told of."""
        connection = self._connected()
        connection.loop.call_later(self._limits.artim_seconds + 1.0, connection.expect)
        return connection

    def _changed(self, association: Association) -> None:
        if association.closed:
            self._waiting.pop(association, None)
        if association.connection.is_closed:
            self._open.discard(association)

    def _requested(self, association: Association, request: AssociateRequest) -> None:
        self._waiting.pop(association, None)
        verdict = self._judge(association, request)
        if isinstance(verdict, AssociateReject):
            association.connection.reject(verdict)
            return
        terms = verdict or self._terms
        association.establish(request, choose(request, terms.policy, self._limits))
        self._callers[association.address[0]] += 1
        self._associated[association] = self._tasks.create_task(self._serve(association, terms.services))

    def _judge(self, association: Association, request: AssociateRequest) -> Rejection | Terms | None:
        if request.application_context != APPLICATION_CONTEXT:
            return _APPLICATION_CONTEXT_NOT_SUPPORTED
        address = association.address[0]
        if (
            len(self._associated) >= self._limits.max_associations
            or self._callers[address] >= self._limits.max_associations_per_peer
        ):
            return _LOCAL_LIMIT_EXCEEDED
        certificate = association.connection.certificate_names
        return self._accept(Caller(request.calling_ae_title, request.called_ae_title, address, certificate))

    async def _serve(self, association: Association, services: Mapping[int, Service]) -> None:
        try:
            while True:
                inbound = await association.receive(Deadline.after(self._limits.idle_seconds))
                await self._dispatch(association, inbound, services)
                del inbound  # an instance that nobody else holds is let go before the next is waited for
        except RemoteProtocolError as error:
            association.fail(error)
        except GatewayError:  # it is over, or it has been idle for too long
            association.abort()
        except Exception as error:  # noqa: BLE001 - a defect of one service ends one association, not the acceptor
            report = {"message": "a DIMSE service failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(report)
            association.abort()
        finally:
            association.abort()
            del self._associated[association]
            self._callers -= Counter((association.address[0],))

    async def _dispatch(self, association: Association, inbound: Inbound, services: Mapping[int, Service]) -> None:
        if isinstance(inbound, IncomingStore):
            await services.get(CommandField.C_STORE_RQ, _refuse_store)(association, inbound)
            return
        command = inbound.command
        if command.is_response and command.command_field in services:
            await services[command.command_field](association, inbound)  # to what a service sent on its own account
            return
        if command.is_response or command.message_id is None:
            raise RemoteProtocolError("a message that is not a request")
        service = services.get(command.command_field, _refuse)
        await service(association, inbound)
        association.requested.discard(command.message_id)
        association.cancelled.discard(command.message_id)


def storing(handler: StoreHandler) -> Service:
    """Return the service that lets a handler take each C-STORE."""

    async def serve(association: Association, inbound: Inbound) -> None:
        if not isinstance(inbound, IncomingStore):
            raise LocalProtocolError("a C-STORE request is an IncomingStore")
        await serve_store(association, inbound, handler)

    return serve


async def _unwanted(incoming: IncomingStore) -> int:
    incoming.discard()
    return UNRECOGNIZED_OPERATION


_refuse_store: Final = storing(_unwanted)


async def _refuse(association: Association, inbound: Inbound) -> None:
    if isinstance(inbound, Message):
        response = Command(
            command_field=inbound.command.command_field | RESPONSE,
            affected_sop_class_uid=inbound.command.affected_sop_class_uid,
            message_id_being_responded_to=inbound.command.message_id,
            status=UNRECOGNIZED_OPERATION,
        )
        association.send_message(inbound.context_id, response)
