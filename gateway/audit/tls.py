"""TLS towards the receivers of the feeds (BCP 195; RFC 5425 5)."""

import ssl
from pathlib import Path

from gateway.errors import ConfigError


def client_context(ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Make a context that verifies the receiver and shows our certificate, if there is one.

    Args:
        ca: PEM file of the receiver's authority; None takes the system's.
        certificate: PEM file of our chain.
        key: PEM file of its key; None where the chain's file has it.

    Raises:
        ConfigError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"the certificate files of an audit feed ({ca or 'system'}, {certificate or 'none'}) cannot be used"
            f" ({error.strerror or error}): PEM files are needed"
        ) from error
    return context
