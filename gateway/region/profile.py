"""A region's profile: one small TOML file that a person can read aloud."""

import ipaddress
import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gateway.config.paths import FilePath, beside
from gateway.config.toml import Fault, Faulty, Section, check, line, read
from gateway.config.values import AETitle, Count, Host, Integer
from gateway.dataset.charset import is_known
from gateway.errors import ConfigError


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", value):
        raise ValueError('is not a name such as "NEODIN": a letter, then up to 31 letters, digits, "-" and "_"')
    return value


def _time_zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError('is not an IANA time zone such as "America/Toronto"') from error
    return value


def _character_set(value: str) -> str:
    terms = [term.strip() for term in value.split("\\")]
    named = terms[1:] if len(terms) > 1 and not terms[0] else terms  # an empty first one stands for the default
    if not all(is_known(term) for term in named):
        raise ValueError('is not a Defined Term of Specific Character Set such as "ISO_IR 100" (PS3.3 C.12.1.1.2)')
    return value


def _dicomweb(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError(
            'is not an address such as "https://pacs.example.ca/dicom-web", without user, query or fragment'
        )
    return value.rstrip("/")


Name = Annotated[str, AfterValidator(_name)]
CharacterSetTerm = Annotated[str, AfterValidator(_character_set)]


OF_DIMSE: Final = ("host", "port", "tls", "retrieve", "move_destinations")
NEEDED: Final = ("ae_title", "host", "port")
OF_DICOMWEB: Final = ("token_file",)
OF_TLS: Final = ("ca", "certificate", "key")


class Profile(Section):
    r"""What the gateway must know of one region, which speaks either DIMSE or DICOMweb.

    Attributes:
        name: the region's only id, in logs, headers and URLs.
        title: its full name, for people.
        ae_title: its AE title, as the Called AE Title of our associations and the Calling AE Title of its own; of a
            DICOMweb region what Retrieve AE Title calls it, its name where nothing is said.
        host: its address.
        port: its port.
        dicomweb: instead of these, the base of its DICOMweb services, such as "https://pacs.example.ca/dicom-web".
        token_file: file that holds a bearer token alone for it; it is read again when it has changed.
        retrieve: how instances are had: by C-GET, by C-MOVE, or whichever works.
        move_destinations: our AE titles as the region's administrator has entered them.
        max_associations: how many associations we may hold with it, searches and retrieves together.
        character_set: Specific Character Set of a response that does not say; several values joined by a backslash.
        time_zone: IANA name, for dates and times without an offset.
        issuer_of_patient_id: the namespace of its Patient IDs where a response does not say.
        other_issuers_of_patient_id: further namespaces of its Patient IDs, such as its hospitals', always said.
        relational_queries: whether they are used where the region grants them; "never" for one that grants what it
            cannot do.
        ignores_accents: whether it finds BÉLANGER for belanger by itself; else names are asked for with wildcards.
        result_cap: how many rows it returns at the most, whatever there are; 0 when that is not known.
        tls: whether it is called by DICOM TLS; its certificate must be for ``host``.
        ca: PEM file of the authority that it is certified by; empty trusts those of the system.
        certificate: PEM file of the certificate that we show it, if it wants one.
        key: PEM file of its key.
    """

    name: Name
    title: str = ""
    ae_title: AETitle = ""
    host: Host = ""
    port: Annotated[Integer, Field(ge=1, le=65535)] = 0
    dicomweb: Annotated[str, AfterValidator(_dicomweb)] = ""
    token_file: FilePath = ""
    retrieve: Literal["auto", "c-get", "c-move"] = "auto"
    move_destinations: tuple[AETitle, ...] = ()
    max_associations: Count = 4
    character_set: CharacterSetTerm = "ISO_IR 100"
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "America/Toronto"
    issuer_of_patient_id: str = ""
    other_issuers_of_patient_id: tuple[str, ...] = ()
    relational_queries: Literal["auto", "never"] = "auto"
    ignores_accents: Annotated[bool, Field(strict=True)] = False
    result_cap: Annotated[Integer, Field(ge=0)] = 0
    tls: Annotated[bool, Field(strict=True)] = False
    ca: FilePath = ""
    certificate: FilePath = ""
    key: FilePath = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        name = values.get("name")
        if values.get("dicomweb") and "ae_title" not in values and isinstance(name, str):
            return {**values, "ae_title": name[:16].upper()}
        return values

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        """Refuse what is half DIMSE and half DICOMweb, or less than either."""
        keys = (*OF_DIMSE, *OF_DICOMWEB, *OF_TLS)
        said = [key for key in keys if key in self.model_fields_set and getattr(self, key) != ""]
        if not self.dicomweb:
            missing = [key for key in NEEDED if key not in self.model_fields_set]
            if missing:
                raise ValueError("\n".join(f'"{key}" is missing: add it' for key in missing))
            if "token_file" in said:
                raise ValueError('"token_file" is for a region with "dicomweb": DIMSE knows no tokens')
            return self
        for key in OF_DIMSE:
            if key in said:
                raise ValueError(f'"{key}" is for a region that speaks DIMSE: leave it out, or leave out "dicomweb"')
        if self.key and not self.certificate:
            raise ValueError('"key" is of no use without "certificate": add that')
        self._check_clear_text(said)
        return self

    def _check_clear_text(self, said: Sequence[str]) -> None:
        if self.dicomweb.startswith("https://"):
            return
        for key in OF_TLS:
            if key in said:
                raise ValueError(f'"{key}" is for TLS: write "dicomweb" with https://, or leave it out')
        if self.token_file and not _is_here(urlsplit(self.dicomweb).hostname or ""):
            raise ValueError('"token_file": the token would travel in the clear: write "dicomweb" with https://')

    @property
    def id(self) -> str:
        """The name as headers and URLs spell it."""
        return self.name.lower()

    @property
    def namespace(self) -> str:
        """The issuer of its Patient IDs that state none; where none is configured, the region's is its own."""
        return self.issuer_of_patient_id or self.id

    @property
    def routes(self) -> frozenset[tuple[str, str]]:
        """Calling and Called AE Title of each association that may bring instances of its C-MOVEs."""
        return frozenset((self.ae_title, destination) for destination in self.move_destinations)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load(folder: Path) -> list[Profile]:
    """Read every ``*.toml`` of a folder, in the order of the file names, which ranks the regions.

    Raises:
        ConfigError: there is none, one is wrong, or two have the same name.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder: name the one that holds the region profiles")
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise ConfigError(f"{folder}: holds no region profile: put one *.toml file per region there")
    profiles: dict[str, Profile] = {}
    faults: list[Fault] = []
    for path in paths:
        try:
            profile = check(Profile, beside(Profile, read(path), folder), str(path), path)
        except Faulty as error:
            faults += error.faults
            continue
        faults += [Fault(str(path), line(path, [key]), text) for key, text in _conflicts(profile, profiles)]
        profiles[profile.id] = profile
    if faults:
        raise Faulty(faults)
    return list(profiles.values())


def _conflicts(profile: Profile, others: Mapping[str, Profile]) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of what makes a profile useless, or another of those before it."""
    if profile.id in others:
        yield "name", f'"name" {profile.name!r} is taken by another profile: give each region its own'
    if profile.retrieve == "c-move" and not profile.move_destinations:
        yield "retrieve", '"move_destinations" is empty: C-MOVE needs our AE title as this region knows it'
    if any(profile.ae_title == x.ae_title and (profile.dicomweb or x.dicomweb) for x in others.values()):
        yield "ae_title", f'"ae_title" {profile.ae_title!r} is another region\'s, too: give each its own'
    if any(profile.routes & other.routes for other in others.values()):
        text = (
            f'"ae_title" {profile.ae_title!r} is another region\'s, too, and so is a Move Destination: '
            "what they send could not be told apart; give each region its own Move Destination"
        )
        yield "move_destinations", text
