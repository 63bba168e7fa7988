"""The settings of consent directives and their override."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.config.paths import FilePath
from gateway.config.toml import Section


def _webhook(value: str) -> str:
    if value and not re.fullmatch(r"(https://[^\s/?#@]+|http://(127\.0\.0\.1|\[::1\])(:\d+)?)(/[^\s#]*)?", value):
        raise ValueError('it begins with "https://", since it is told of patients; only on this host will "http://" do')
    return value


class ConsentSettings(Section):
    """What patients direct, and when that may be overridden; times in seconds."""

    database: FilePath
    default: Literal["permit", "deny"]
    disclosure: Literal["notice", "silent"]
    organisation_system: str
    person_system: str
    poll_seconds: Annotated[float, Field(gt=0, le=60)]
    stale_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    override_seconds: Annotated[float, Field(gt=0, le=7 * 86400)]
    override_roles: tuple[str, ...]
    webhook_url: Annotated[str, AfterValidator(_webhook)]
    webhook_token_file: FilePath
    webhook_ca: FilePath
