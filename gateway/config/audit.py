"""The settings of the audit log and its feeds."""

from typing import Annotated

from pydantic import Field

from gateway.config.paths import FilePath
from gateway.config.toml import Section
from gateway.config.values import Seconds, WebAddress


class AuditSettings(Section):
    """The audit log and its feeds; times in seconds."""

    folder: FilePath
    replica: str
    site: str
    segment_bytes: Annotated[int, Field(strict=True, ge=1 << 20)]
    segment_seconds: Seconds
    retention_days: Annotated[int, Field(strict=True, ge=0)]
    anchor: FilePath
    anchor_seconds: Seconds
    write_seconds: Seconds
    syslog_host: str
    syslog_port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    syslog_ca: FilePath
    syslog_certificate: FilePath
    syslog_key: FilePath
    fhir_url: WebAddress
    fhir_token_file: FilePath
    fhir_ca: FilePath
    fhir_certificate: FilePath
    fhir_key: FilePath
