"""A peer's profile: one small TOML file about an AE that uses the gateway as its archive."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field

from gateway.config.toml import Fault, Faulty, Section, check, line, read
from gateway.config.values import AETitle, Host, Integer
from gateway.errors import ConfigError
from gateway.region.profile import CharacterSetTerm, Name

_LONGEST_PREFIX: Final = 8
"""Characters, of the 16 that an Accession Number has."""

Service: TypeAlias = Literal["echo", "find", "get", "move", "store", "commit"]


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError('is neither an IP address nor a network such as "10.1.2.0/24"') from error
    return value


def _prefix(value: str) -> str:
    if not value.isascii() or not value.isprintable() or "\\" in value or len(value) > _LONGEST_PREFIX:
        raise ValueError(f"has at most {_LONGEST_PREFIX} printable ASCII characters and no backslash")
    return value


class MoveDestination(Section):
    """Where a peer is called under its AE title: to be sent instances, or told of Storage Commitment."""

    host: Host
    port: Annotated[Integer, Field(ge=1, le=65535)]
    tls: Annotated[bool, Field(strict=True)] = False


class PeerProfile(Section):
    r"""What the gateway must know of one peer.

    Attributes:
        name: its only id in logs.
        title: its full name, for people.
        ae_title: the Calling AE Title of its associations, and the one it is known by as a Move Destination.
        addresses: IP addresses and networks that it calls from.
        services: what it may ask for.
        move_destination: where it takes instances; without it, none are sent to it.
        commitment: where it is told what is safe, if that is not where it takes instances (PS3.4 J.3.3).
        may_move_to: AE titles of other peers to which it may have instances sent.
        certificates: names of which its certificate must bear one, as Common Name or alternative name; with any, it
            is let in by TLS alone.
        character_set: in which it reads text; several values joined by a backslash.
        issuer_of_patient_id: the namespace of the Patient IDs that it asks for without naming one; its own.
        organisation: under whose authority it acts.
        role: of those who work at it.
        purpose: what they use the data for, a Purpose of Use code; empty for the gateway's default.
        coerce: what is sent to it carries its own Patient ID, where it came from another namespace.
        accession_prefix: with ``coerce``, what stands before the Accession Number of such an instance.
    """

    name: Name
    title: str = ""
    ae_title: AETitle
    addresses: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(min_length=1)]
    services: tuple[Service, ...] = ("echo", "find", "get", "move")
    move_destination: MoveDestination | None = None
    commitment: MoveDestination | None = None
    may_move_to: tuple[AETitle, ...] = ()
    certificates: tuple[str, ...] = ()
    character_set: CharacterSetTerm = "ISO_IR 100"
    issuer_of_patient_id: str = ""
    organisation: str = ""
    role: str = ""
    purpose: str = ""
    coerce: Annotated[bool, Field(strict=True)] = False
    accession_prefix: Annotated[str, AfterValidator(_prefix)] = ""

    @property
    def id(self) -> str:
        """The name as logs spell it."""
        return self.name.lower()

    def calls_from(self, address: str) -> bool:
        """Whether an IP address is one of its own."""
        caller = ipaddress.ip_address(address.partition("%")[0])
        plain = getattr(caller, "ipv4_mapped", None) or caller
        return any(plain in ipaddress.ip_network(network, strict=False) for network in self.addresses)


def load(folder: Path) -> list[PeerProfile]:
    """Read every ``*.toml`` of a folder.

    Raises:
        ConfigError: there is none, one is wrong, or two are the same peer.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder: name the one that holds the peer profiles")
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise ConfigError(f"{folder}: holds no peer profile: put one *.toml file per peer there")
    peers: list[PeerProfile] = []
    faults: list[Fault] = []
    of: dict[str, Path] = {}
    for path in paths:
        try:
            peer = check(PeerProfile, read(path), str(path), path)
        except Faulty as error:
            faults += error.faults
            continue
        faults += [Fault(str(path), line(path, [key]), text) for key, text in _conflicts(peer, peers)]
        peers.append(peer)
        of[peer.name] = path
    known = {peer.ae_title for peer in peers if peer.move_destination}
    faults += [
        Fault(
            str(of[peer.name]),
            line(of[peer.name], ["may_move_to"]),
            f'"may_move_to" names {title!r}, which no peer with a "move_destination" is called',
        )
        for peer in peers
        for title in peer.may_move_to
        if title not in known
    ]
    if faults:
        raise Faulty(faults)
    return peers


def _conflicts(peer: PeerProfile, others: list[PeerProfile]) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of what makes a peer useless, or two peers one."""
    if peer.coerce and not (peer.issuer_of_patient_id and peer.issuer_of_patient_id.isascii()):
        text = '"coerce" needs "issuer_of_patient_id": name, in ASCII, the issuer of the peer\'s Patient IDs'
        yield "coerce", text
    if any(peer.id == other.id for other in others):
        yield "name", f'"name" {peer.name!r} is taken by another profile: give each peer its own'
    if any(peer.ae_title == other.ae_title for other in others):
        yield "ae_title", f'"ae_title" {peer.ae_title!r} is another peer\'s, too: they could not be told apart'
