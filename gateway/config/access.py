"""The settings of who may."""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from gateway.config.paths import FilePath
from gateway.config.toml import Section

Algorithm: TypeAlias = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
ClaimPath: TypeAlias = str
"""Names of claims, one within the other, joined by dots; a claim may itself have dots in its name."""


def _jwks_url(value: str) -> str:
    if value and not re.fullmatch(r"https://[^\s/?#@]+(/[^\s#]*)?", value):
        raise ValueError('it begins with "https://" and has neither user nor fragment')
    return value


def _cookie(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise ValueError('is not the name of a cookie: letters, digits, "-" and "_"')
    return value


class ClaimSettings(Section):
    """Where a token says what; an empty path says it nowhere."""

    subject: ClaimPath = "sub"
    organisation: ClaimPath = ""
    organisation_name: ClaimPath = ""
    person: ClaimPath = ""
    roles: ClaimPath = ""
    purpose: ClaimPath = ""
    patient: ClaimPath = ""
    scopes: ClaimPath = "scope"


class ScopeSettings(Section):
    """Which scopes of an issuer allow a transaction: any of the list; an empty list allows it to none of its tokens."""

    search: tuple[str, ...] = ("search",)
    retrieve: tuple[str, ...] = ("retrieve",)
    rendered: tuple[str, ...] = ("rendered",)
    store: tuple[str, ...] = ("store",)
    admin: tuple[str, ...] = ("admin",)
    privacy: tuple[str, ...] = ("privacy",)
    override: tuple[str, ...] = ("override",)


class TokenIssuer(Section):
    """An issuer of tokens that are believed."""

    issuer: Annotated[str, Field(min_length=1)]
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256",)
    jwks_url: Annotated[str, AfterValidator(_jwks_url)] = ""
    jwks_file: FilePath = ""
    private_hosts: tuple[str, ...] = ()
    ca: FilePath = ""
    patient_issuer: str = ""
    claims: ClaimSettings = ClaimSettings()
    scopes: ScopeSettings = ScopeSettings()

    @model_validator(mode="after")
    def _has_keys(self) -> "TokenIssuer":
        if bool(self.jwks_url) == bool(self.jwks_file):
            raise ValueError('give its keys by either "jwks_url" or "jwks_file"')
        return self


class AccessSettings(Section):
    """Who may; times in seconds."""

    mode: Literal["closed", "tokens", "open"]
    cookie: Annotated[str, AfterValidator(_cookie)]
    purpose: Annotated[str, Field(min_length=1)]
    leeway_seconds: Annotated[float, Field(ge=0, le=300)]
    subject_requests_per_second: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    subject_burst: Annotated[int, Field(strict=True, ge=1)]
    organisation_requests_per_second: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    organisation_burst: Annotated[int, Field(strict=True, ge=1)]
    issuers: tuple[TokenIssuer, ...]

    @model_validator(mode="after")
    def _is_complete(self) -> "AccessSettings":
        if self.mode == "tokens" and not self.issuers:
            raise ValueError('mode "tokens" needs an issuer: add [[access.issuers]]')
        names = [issuer.issuer for issuer in self.issuers]
        if len(set(names)) < len(names):
            raise ValueError("two of its issuers have the same name: give each iss once")
        return self
