"""A call on one archive without pool, circuit breaker or federation: each step raises what it met."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from gateway.config.paths import path_of
from gateway.config.settings import Settings
from gateway.dataset.dictionary import vr_of
from gateway.dataset.identifier import retrieve_identifier
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Level, Row, Selection
from gateway.dataset.writer import from_json_model
from gateway.deadline import Deadline
from gateway.dimse.acceptor import CALLING_AE_TITLE_NOT_RECOGNIZED, Acceptor, Caller, Rejection
from gateway.dimse.association import Association
from gateway.dimse.find import find
from gateway.dimse.get import get
from gateway.dimse.incoming import IncomingStore, StoreHandler
from gateway.dimse.move import move
from gateway.dimse.requestor import Peer, connect
from gateway.dimse.suboperations import SubOperations
from gateway.dimse.tls import client_context, server_context
from gateway.errors import Busy, DatasetError, LimitExceeded
from gateway.region.contexts import FIND, GET, MOVE, QUERY_CONTEXTS, get_contexts
from gateway.region.profile import Profile
from gateway.wire.limits import Limits
from gateway.wire.negotiation import ProposedContext

PAUSES: Final = (0.3, 0.7)
"""Seconds after which an archive that was busy is asked again."""

LATIN_1: Final = "ISO_IR 100"
"""Each byte becomes one letter, so that the bytes can be had back."""

CHARACTER_SET, LEVEL = "00080005", "00080052"
STUDY, SERIES, INSTANCE, SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
STUDY_DATE, PATIENT_NAME, STUDY_DESCRIPTION, REFERRER = "00080020", "00100010", "00081030", "00080090"


@dataclass(frozen=True, slots=True)
class Found:
    """What a C-FIND brought.

    Attributes:
        rows: its matches, text without a Specific Character Set read as Latin-1.
        more: whether it was cancelled because there were more.
    """

    rows: list[Row]
    more: bool


@dataclass(slots=True)
class Arrivals:
    """C-STOREs that came to our Move Destinations.

    Attributes:
        stores: those that were taken.
        callers: everyone who asked for an association.
    """

    stores: list[IncomingStore] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)


class Visit:
    """One archive, called upon.

    Args:
        profile: what is known of it.
        ae_title: ours.
        seconds: for each step.
    """

    def __init__(self, profile: Profile, ae_title: str, seconds: float) -> None:
        self.profile = profile
        self.seconds = seconds
        self.tls = client_context() if profile.tls else None
        self._ae_title = ae_title
        self._limits = replace(Limits(), connect_seconds=seconds, artim_seconds=seconds)

    def secure(self) -> None:
        """Read the certificates of its profile; raises ConfigError where they cannot be used."""
        names = (self.profile.ca, self.profile.certificate, self.profile.key)
        self.tls = client_context(*map(path_of, names)) if self.profile.tls else None

    @property
    def deadline(self) -> Deadline:
        """The deadline of a step that begins now."""
        return Deadline.after(self.seconds)

    async def associate(
        self, contexts: Sequence[ProposedContext] = QUERY_CONTEXTS, serve_store: StoreHandler | None = None
    ) -> Association:
        """Open an association; raises as ``connect`` does.

        One that was left a moment ago may still count: a peer without any to spare is asked again.
        """
        profile = self.profile
        peer = Peer(profile.host, profile.port, profile.ae_title, self._ae_title, self.tls)
        for pause in PAUSES:
            try:
                return await connect(peer, contexts, self.deadline, limits=self._limits, serve_store=serve_store)
            except Busy:
                await asyncio.sleep(pause)
        return await connect(peer, contexts, self.deadline, limits=self._limits, serve_store=serve_store)

    async def find(
        self,
        level: str,
        keys: Mapping[str, str],
        *,
        most: int = 1,
        sop_class: str = FIND,
        text_in: str = "",
    ) -> Found:
        """Ask one C-FIND on an association of its own, and cancel it when there are more matches than wanted.

        Raises:
            RegionError: it failed; Rejected: the SOP Class is not accepted.
        """
        row: Row = {key: _attribute(key, value) for key, value in keys.items()}
        row[LEVEL] = {"vr": "CS", "Value": [level]}
        found = Found([], more=False)
        async with await self.associate() as association:
            syntax = association.transfer_syntax(sop_class)
            identifier = from_json_model(row, syntax, text_in=text_in or self.profile.character_set)
            matches = find(association, sop_class, identifier, self.deadline, between=self.seconds)
            async for match in matches:
                if len(found.rows) == most:
                    found = replace(found, more=True)
                    break
                found.rows.append(_decoded(match, syntax))
            await matches.aclose()
        return found

    async def instance(self, studies: Sequence[Row]) -> tuple[Selection, str] | None:
        """Return one instance of the studies, and its SOP Class; None where there is none."""
        for study in studies:
            uid = first(study, STUDY)
            series = await self.find(Level.SERIES, {STUDY: uid, SERIES: ""})
            for row in series.rows:
                keys = {STUDY: uid, SERIES: first(row, SERIES), INSTANCE: "", SOP_CLASS: ""}
                instances = await self.find(Level.IMAGE, keys)
                for one in instances.rows:
                    chosen = Selection(uid, first(row, SERIES), (first(one, INSTANCE),))
                    return chosen, first(one, SOP_CLASS)
        return None

    async def get(self, selection: Selection, sop_classes: Sequence[str]) -> tuple[list[IncomingStore], SubOperations]:
        """Have instances sent by C-GET, and drop them; return them as they were announced."""
        arrived: list[IncomingStore] = []

        async def receive(store: IncomingStore) -> int:
            arrived.append(store)
            store.discard()
            return 0

        async with await self.associate(get_contexts(sop_classes), receive) as association:
            identifier = retrieve_identifier(selection, association.transfer_syntax(GET))
            result = await get(association, GET, identifier, self.deadline, between=self.seconds)
        return arrived, result

    async def move(self, selection: Selection, destination: str) -> SubOperations:
        """Have instances sent to one of our AE titles by C-MOVE."""
        async with await self.associate() as association:
            identifier = retrieve_identifier(selection, association.transfer_syntax(MOVE))
            return await move(association, MOVE, identifier, destination, self.deadline, between=self.seconds)


@asynccontextmanager
async def listening(settings: Settings, profiles: Sequence[Profile]) -> AsyncIterator[Arrivals]:
    """Take what archives send to our Move Destinations, and drop it, as long as the context lasts.

    Raises:
        OSError: one of our DIMSE ports cannot be listened on.
        ConfigError: our certificate cannot be used.
    """
    arrivals = Arrivals()
    known = {route for profile in profiles for route in profile.routes}

    def accept(caller: Caller) -> Rejection | None:
        arrivals.callers.append(caller)
        is_known = (caller.calling_ae_title, caller.called_ae_title) in known
        return None if is_known else CALLING_AE_TITLE_NOT_RECOGNIZED

    async def store(incoming: IncomingStore) -> int:
        arrivals.stores.append(incoming)
        incoming.discard()
        return 0

    dimse = settings.dimse
    acceptor = Acceptor(accept=accept, store=store)
    try:
        if dimse.plain:
            await acceptor.start(dimse.host, dimse.port)
        if dimse.certificate:
            ca = Path(dimse.ca) if dimse.ca else None
            tls = server_context(Path(dimse.certificate), Path(dimse.key or dimse.certificate), ca)
            await acceptor.start(dimse.host, dimse.tls_port, tls)
        yield arrivals
    finally:
        await acceptor.aclose(0)


def is_loopback(host: str) -> bool:
    """Whether a host is this one, reached by itself alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def local_address(host: str, port: int) -> str:
    """Return the address from which a host sees us, as far as this host knows; empty where it does not."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:  # nothing is sent
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def first(row: Row, key: str) -> str:
    """Return the first value of an attribute as text, empty where there is none."""
    values: list[Any] = row.get(key, {}).get("Value") or [""]
    value = values[0]
    return str(value.get("Alphabetic", "") if isinstance(value, dict) else value or "")


def _attribute(key: str, value: str) -> dict[str, Any]:
    vr = vr_of(key)
    if not value:
        return {"vr": vr}
    return {"vr": vr, "Value": [{"Alphabetic": value} if vr == "PN" else value]}


def _decoded(match: bytes, syntax: str) -> Row:
    try:
        return to_json_model(match, syntax, character_set=LATIN_1)
    except (DatasetError, LimitExceeded):
        return {}
