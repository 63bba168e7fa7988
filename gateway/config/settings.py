"""The gateway's settings: shipped defaults, a file over them, the environment over that, the command line over all."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from gateway.config.access import AccessSettings
from gateway.config.audit import AuditSettings
from gateway.config.consent import ConsentSettings
from gateway.config.environment import from_environment
from gateway.config.paths import FilePath, beside
from gateway.config.toml import Section, check, read
from gateway.config.values import AETitle, Count, Host, Integer, Seconds, WebAddress


def _public_url(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", value):
        raise ValueError('it begins with "https://" or "http://" and has neither query nor fragment')
    return value


def _oid(value: str) -> str:
    if value and not (len(value) <= 64 and re.fullmatch(r"[0-2](\.(0|[1-9]\d*))+", value, re.ASCII)):
        raise ValueError('is not an OID such as "2.16.840.1.113883.4.59"')
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@*]+", value):
        raise ValueError('is not an origin such as "https://viewer.example.ca": scheme and host, no path, no "*"')
    return value


Port = Annotated[Integer, Field(ge=0, le=65535)]


class HttpSettings(Section):
    """The DICOMweb face."""

    host: Host
    port: Port
    public_url: Annotated[str, AfterValidator(_public_url)]
    default_transfer_syntax: Literal["explicit", "stored"]
    cors_origins: tuple[Annotated[str, AfterValidator(_origin)], ...]
    certificate: FilePath
    key: FilePath


class ViewerSettings(Section):
    """The viewer at the root of our origin."""

    folder: FilePath
    cache: FilePath


class DimseSettings(Section):
    """The DIMSE face."""

    host: Host
    port: Port
    ae_title: AETitle
    max_associations: Count
    max_associations_per_peer: Count
    maximum_pdu_length: Annotated[Integer, Field(ge=4096, le=1 << 20)]
    unknown_peers: Literal["refuse", "loopback"]
    missing_regions: Literal["lenient", "strict"]
    plain: Annotated[bool, Field(strict=True)]
    tls_port: Port
    certificate: FilePath
    key: FilePath
    ca: FilePath


class SearchSettings(Section):
    """Search transactions; times in seconds."""

    soft_seconds: Seconds
    hard_seconds: Seconds
    max_results: Count
    max_matches_per_region: Count
    walk_studies: Count
    walk_series: Count
    split_searches: Count
    snapshot_seconds: Seconds
    snapshot_rows: Count
    derived_studies: Count
    derived_series: Count


class RetrieveSettings(Section):
    """Retrieve transactions; times in seconds."""

    first_instance_seconds: Seconds
    quiet_seconds: Seconds


class WorkersSettings(Section):
    """The processes that decode, transcode and render."""

    processes: Count
    max_waiting: Count
    seconds: Seconds
    memory_mib: Annotated[Integer, Field(ge=256)]
    job_mib: Count


class SpoolSettings(Section):
    """Retrieved instances at rest; times in seconds."""

    folder: FilePath
    max_bytes: Annotated[Integer, Field(ge=1 << 20)]
    memory_bytes: Annotated[Integer, Field(ge=1 << 20)]
    seconds: Seconds
    fresh_seconds: Seconds
    key_file: FilePath
    keep_on_restart: Annotated[bool, Field(strict=True)]
    background_instances: Annotated[Integer, Field(ge=0)]


class StoreRule(Section):
    """Which instances go to which regions: all that is said must fit, and of each list one member.

    Members are compared without regard to case; ``*`` and ``?`` stand for anything and for one character.
    """

    regions: Annotated[tuple[str, ...], Field(min_length=1)]
    calling_ae_title: tuple[str, ...] = ()
    organisation: tuple[str, ...] = ()
    institution: tuple[str, ...] = ()
    issuer: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    sop_class: tuple[str, ...] = ()


class StoreSettings(Section):
    """Store transactions; times in seconds."""

    default: tuple[str, ...]
    rules: tuple[StoreRule, ...]
    required: tuple[str, ...]
    folder: FilePath
    key_file: FilePath
    answer: Literal["delivered", "durable"]
    answer_seconds: Seconds
    stall_seconds: Seconds
    retry_seconds: Seconds
    longest_retry_seconds: Seconds
    associations: Count
    max_bytes: Count
    max_parts: Count
    max_part_bytes: Count
    max_request_bytes: Count
    max_metadata_bytes: Count
    body_seconds: Seconds


class CommitmentSettings(Section):
    """Storage Commitment; times in seconds."""

    remember_seconds: Seconds
    retry_seconds: Seconds
    longest_retry_seconds: Seconds
    give_up_seconds: Seconds


class IssuerSettings(Section):
    """One issuer of Patient IDs under all its names."""

    issuer: Annotated[str, Field(min_length=1)]
    oid: Annotated[str, AfterValidator(_oid)] = ""
    uri: str = ""


class IdentitySettings(Section):
    """Which identifiers are of one patient; times in seconds."""

    source: Literal["none", "csv", "pixm"]
    crosswalk: FilePath
    pixm_url: WebAddress
    pixm_token_file: FilePath
    pixm_seconds: Seconds
    provincial_issuer: str
    present: Literal["provincial", "local"]
    cache_seconds: Annotated[float, Field(strict=True, ge=0, le=300)]
    issuers: tuple[IssuerSettings, ...]


class OpsSettings(Section):
    """What operators have; times in seconds."""

    host: Host
    port: Port
    echo_seconds: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
    otlp_endpoint: WebAddress


class Settings(Section):
    """All of it, as ``defaults.toml`` lists and explains it."""

    http: HttpSettings
    viewer: ViewerSettings
    dimse: DimseSettings
    search: SearchSettings
    retrieve: RetrieveSettings
    workers: WorkersSettings
    spool: SpoolSettings
    store: StoreSettings
    commitment: CommitmentSettings
    identity: IdentitySettings
    access: AccessSettings
    ops: OpsSettings
    audit: AuditSettings
    consent: ConsentSettings


@dataclass(frozen=True, slots=True)
class Layer:
    """Values of one origin, by section.

    Attributes:
        source: what they come from, in words.
        file: the same where it is a file of the operator's.
    """

    source: str
    values: Mapping[str, Any]
    file: Path | None = None


def layers(
    path: Path | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Layer]:
    """Return what is said of the settings, the lowest first: defaults, file, environment, command line.

    Raises:
        ConfigError: the file cannot be read.
    """
    with resources.as_file(resources.files("gateway.config") / "defaults.toml") as defaults:
        found = [Layer("default", read(defaults))]
    if path is not None:
        found.append(Layer(str(path), beside(Settings, read(path), path.parent), path))
    environ = os.environ if environ is None else environ
    return [*found, *from_environment(environ, found[0].values, Layer), Layer("command line", overrides or {})]


def joined(found: Iterable[Layer]) -> Settings:
    """Make the settings of layers; each is checked by itself, too, so that nothing wrong is hidden by another.

    Raises:
        ConfigError: a layer is wrong; the text names file, key and remedy.
    """
    values: dict[str, Any] = {}
    for layer in found:
        merged = _merged(values, layer.values)
        check(Settings, merged, layer.source, layer.file)
        values = merged
    return Settings.model_validate(values)


def load(
    path: Path | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings: defaults, then the file, then ``GATEWAY_SECTION__KEY``, then overrides by section.

    Raises:
        ConfigError: the file or an override is wrong; the text names file, key and remedy.
    """
    return joined(layers(path, overrides, environ))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, section in above.items():
        nested = isinstance(section, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = {**merged[name], **section} if nested else section
    return merged
