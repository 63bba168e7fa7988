"""DICOM over TLS (PS3.15 B.12): TLS 1.2 at least, both sides with a certificate where that is configured."""

import ssl
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


def server_context(certificate: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """Return the context of a listener; with ``ca`` it takes only callers with a certificate of that authority.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    _identify(context, certificate, key)
    if ca is not None:
        _trust(context, ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Return the context for calling a peer, whose certificate must be of the authority and for its host.

    Without ``ca`` the system's authorities are trusted; with ``certificate`` and ``key`` we show ours.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if ca is None:
        context.load_default_certs()
    else:
        _trust(context, ca)
    if certificate is not None:
        _identify(context, certificate, key)
    return context


def certificate_names(secured: Any) -> frozenset[str] | None:
    """Return Common Names of the subject and all alternative names of a peer's certificate, None where it has none.

    Args:
        secured: the ``ssl.SSLObject`` of the connection.
    """
    certificate = secured.getpeercert()
    if not certificate:
        return None
    subject = [name for relative in certificate.get("subject", ()) for name in relative]
    common = {value for kind, value in subject if kind == "commonName"}
    return frozenset(common | {value for _, value in certificate.get("subjectAltName", ())})


def certificate_end(secured: Any) -> float | None:
    """Return when a peer's certificate ends, in seconds since 1970; None where it has none that was verified.

    Args:
        secured: the ``ssl.SSLObject`` of the connection.
    """
    certificate = secured.getpeercert()
    return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _identify(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{certificate} and {key or certificate}: cannot be used as certificate and key ({_reason(error)}): give "
            "a PEM chain and the PEM key without a passphrase that belongs to it"
        ) from error


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca}: holds no authority's certificate ({_reason(error)}): give a PEM file") from error


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__
