"""An issuer of tokens, good ones and all that an attacker would make of them."""

import base64
import hashlib
import hmac
import time
from pathlib import Path
from typing import Any

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from gateway.config.access import TokenIssuer

NAME = "https://issuer.example/realm"
AUDIENCE = "gateway"
NOW = 1_800_000_000.0


def segment(value: Any) -> str:
    """Encode one segment of a token."""
    data = value if isinstance(value, bytes) else orjson.dumps(value)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Has an RSA and an EC key.

    Attributes:
        now: the time by which it makes tokens.
    """

    def __init__(self, now: float = NOW) -> None:
        self.rsa = RSAKey.generate_key(2048, parameters={"kid": "rsa", "use": "sig"})
        self.ec = ECKey.generate_key("P-256", parameters={"kid": "ec", "use": "sig"})
        self.now = now

    @property
    def jwks(self) -> bytes:
        """Its public keys."""
        return orjson.dumps({"keys": [key.as_dict(private=False) for key in (self.rsa, self.ec)]})

    def settings(self, folder: Path, **more: Any) -> TokenIssuer:
        """Write its keys into a file, and return how the gateway is told to believe it."""
        path = folder / "jwks.json"
        path.write_bytes(self.jwks)
        values = {"issuer": NAME, "audiences": (AUDIENCE,), "jwks_file": str(path)}
        return TokenIssuer.model_validate({**values, **more})

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return the claims of a good token; None takes one away."""
        claims = {
            "iss": NAME,
            "aud": AUDIENCE,
            "sub": "user-1",
            "jti": "token-1",
            "iat": int(self.now),
            "exp": int(self.now) + 300,
            "scope": "search retrieve rendered",
            **more,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a token."""
        chosen = {"alg": "RS256", "kid": "rsa", **(header or {})}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        key = self.ec if chosen["alg"].startswith("ES") else self.rsa
        algorithms = [chosen["alg"]]
        return jwt.encode(chosen, self.claims(**claims), key, algorithms=algorithms)

    def unsigned(self, algorithm: str = "none", signature: str = "") -> str:
        """Return a token that nobody signed."""
        return f"{segment({'alg': algorithm, 'kid': 'rsa'})}.{segment(self.claims())}.{signature}"

    def by_public_key(self) -> str:
        """Sign with what everybody knows: the text of the public key as the secret of an HMAC."""
        message = f"{segment({'alg': 'HS256', 'kid': 'rsa'})}.{segment(self.claims())}"
        digest = hmac.new(self.rsa.as_pem(private=False), message.encode(), hashlib.sha256).digest()
        return f"{message}.{segment(digest)}"

    def forged(self, **changes: Any) -> str:
        """Change claims of a signed token and leave its signature."""
        head, _, signature = self.token().split(".")
        return f"{head}.{segment(self.claims(**changes))}.{signature}"


def real_time() -> Issuer:
    """Return an issuer whose tokens are good now."""
    return Issuer(time.time())
