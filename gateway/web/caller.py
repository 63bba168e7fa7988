"""Who asks, as far as the pages of one search have to be kept apart from those of another."""

from hashlib import blake2b

from starlette.types import Scope


def caller(scope: Scope) -> str:
    """Return a digest of the client's address and its Authorization field; it tells neither."""
    client = scope.get("client") or ("",)
    digest = blake2b(str(client[0]).encode(), digest_size=16)
    for name, value in scope["headers"]:
        if name == b"authorization":
            digest.update(b"\0" + value)
    return digest.hexdigest()
