"""The settings of consent directives and their override."""

import re
from typing import Annotated, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field

from gateway.config.paths import FilePath
from gateway.config.toml import Section


def _webhook(value: str) -> str:
    if value and not re.fullmatch(r"(https://[^\s/?#@]+|http://(127\.0\.0\.1|\[::1\])(:\d+)?)(/[^\s#]*)?", value):
        raise ValueError('it begins with "https://", since it is told of patients; only on this host will "http://" do')
    return value


def hosts_of(url: str) -> tuple[str, ...]:
    """Return the servers that a database's URL names: names, addresses, folders of sockets."""
    parts = urlsplit(url)
    before, at, after = parts.netloc.partition("@")
    named = (after if at else before) or ",".join(parse_qs(parts.query).get("host", ()))
    return tuple(re.sub(r"^\[(.*)\](:\d+)?$|:\d+$", r"\1", unquote(one)) for one in named.split(",") if one)


def _database(value: str) -> str:
    if "://" not in value:
        return value
    parts = urlsplit(value)
    options = parse_qs(parts.query)
    if parts.scheme not in {"postgresql", "postgres"} or not hosts_of(value):
        raise ValueError("write the path of a file, or postgresql://USER@HOST/NAME")
    user, at, _ = parts.netloc.partition("@")
    if (at and ":" in user) or any(name.endswith("password") for name in options):
        raise ValueError(
            'a password has no place in it: have "database_password_file" name a file that holds it, or set PGPASSWORD'
        )
    if not set(options.get("sslmode", ())) <= {"disable", "require", "verify-ca", "verify-full"}:
        raise ValueError('sslmode is "verify-full", "verify-ca", "require" or "disable"')
    return value


class ConsentSettings(Section):
    """What patients direct, and when that may be overridden; times in seconds."""

    database: Annotated[FilePath, AfterValidator(_database)]
    database_password_file: FilePath
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
