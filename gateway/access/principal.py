"""Who asks, under whose authority, and what for."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from gateway.dataset.patient import PatientIdentifier


class Transaction(StrEnum):
    """What a principal may be allowed to do; the name of each is a scope of ours."""

    SEARCH = "search"
    RETRIEVE = "retrieve"
    RENDERED = "rendered"
    STORE = "store"
    ADMIN = "admin"
    PRIVACY = "privacy"
    OVERRIDE = "override"


Channel: TypeAlias = Literal["web", "dimse", "cli"]


@dataclass(frozen=True, slots=True)
class Principal:
    """One caller, as a token or a peer profile describes it (IHE ITI TF-2 3.72, IUA).

    Attributes:
        subject: who it is, as its issuer calls it.
        issuer: who vouches for it: the token's ``iss``; empty for a DIMSE peer and in open mode.
        organisation: under whose authority it acts: ONE ID's ``uao``.
        organisation_name: the same, for people.
        person: a provider's registration such as "cpso:123": ONE ID's ``rid``.
        roles: what it is there.
        purpose: Purpose of Use code (ISO 14265, HL7 v3-ActReason).
        scopes: the transactions that it may ask for.
        patient: the only patient whose data it may see; None binds it to nobody.
        token_id: the token's ``jti``.
        channel: the face that it came to.
        address: where it calls from.
    """

    subject: str
    issuer: str = ""
    organisation: str = ""
    organisation_name: str = ""
    person: str = ""
    roles: frozenset[str] = field(default_factory=frozenset)
    purpose: str = "TREAT"
    scopes: frozenset[Transaction] = field(default_factory=frozenset)
    patient: PatientIdentifier | None = None
    token_id: str = ""
    channel: Channel = "web"
    address: str = ""
