"""The settings of the audit log and its feeds."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from gateway.config.toml import Section


def _address(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError('it begins with "https://" or "http://" and has neither user, query nor fragment')
    return value


_Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class AuditSettings(Section):
    """The audit log and its feeds; times in seconds."""

    folder: str
    replica: str
    site: str
    segment_bytes: Annotated[int, Field(strict=True, ge=1 << 20)]
    segment_seconds: _Seconds
    retention_days: Annotated[int, Field(strict=True, ge=0)]
    anchor: str
    anchor_seconds: _Seconds
    write_seconds: _Seconds
    syslog_host: str
    syslog_port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    syslog_ca: str
    syslog_certificate: str
    syslog_key: str
    fhir_url: Annotated[str, AfterValidator(_address)]
    fhir_token_file: str
    fhir_ca: str
    fhir_certificate: str
    fhir_key: str
