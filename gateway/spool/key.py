"""The key under which instances lie on the disk, where one is configured.

Files are read at any offset, so they are encrypted with AES-256 in counter mode, each under a key of its own that is
derived from its random name; no position of a file is ever written twice. What was changed is found by a keyed digest
(HMAC-SHA-256) of each instance. Rows and notes of an index are sealed with AES-256-GCM.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import ConfigError, SpoolDamaged

PROOF: Final = "key.check"
"""The file that says under which key a folder is, without telling the key."""

SIZE: Final = 32
_BLOCK: Final = 16
_NONCE: Final = 12
_LONGEST_FILE: Final = 1024


class Key:
    """32 secret bytes, known to nobody but this object and those it derives."""

    __slots__ = ("_rows", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._rows = AESGCM(self._derived("rows"))

    def __repr__(self) -> str:
        return "Key(...)"

    @classmethod
    def read(cls, path: Path, setting: str) -> Self:
        """Read a file of 32 bytes in hexadecimal or base64.

        Raises:
            ConfigError: it cannot be read, or is something else; the text never quotes it.
        """
        try:
            with path.open("rb") as file:
                text = file.read(_LONGEST_FILE).strip()
        except OSError as error:
            raise ConfigError(f'"{setting}" {path} cannot be read ({error.strerror})') from None
        secret = _decoded(text)
        if len(secret) != SIZE:
            raise ConfigError(
                f'"{setting}" {path} is no key: it must hold 32 bytes in hexadecimal or base64, '
                "as `openssl rand -hex 32` makes them"
            )
        return cls(secret)

    def cipher(self, name: str) -> "FileCipher":
        """Return what encrypts the file of this random name."""
        return FileCipher(self._derived(f"file {name}"), self._derived(f"digest {name}"))

    def digest(self, of: bytes) -> bytes:
        """Return a digest that only who has the key can compare with anything."""
        return hmac.digest(self._secret, b"digest\0" + of, "sha256")

    def word(self, text: str) -> str:
        """Return what stands for a text that is looked up and not told."""
        return hmac.digest(self._secret, b"word\0" + text.encode(), "sha256").hex()

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Encrypt something small that belongs to what ``about`` says, and to nothing else."""
        nonce = os.urandom(_NONCE)
        return nonce + self._rows.encrypt(nonce, plain, about)

    def unseal(self, sealed: bytes, about: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            SpoolDamaged: it was changed, or belongs to something else.
        """
        try:
            return self._rows.decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
        except (InvalidTag, ValueError) as error:
            raise SpoolDamaged("a row of an index is not what was written") from error

    def _derived(self, label: str) -> bytes:
        return hmac.digest(self._secret, b"derived\0" + label.encode(), "sha256")

    @property
    def proof(self) -> str:
        """Return what tells this key from others."""
        return self._derived("proof").hex()


def key_of(file: str, setting: str) -> Key | None:
    """Return the key of a file that settings name, None where they name none; raises ConfigError."""
    return Key.read(Path(file), setting) if file else None


class FileCipher:
    """Encrypts one file, at any offset. Both ways are the same operation."""

    __slots__ = ("_digest_key", "_key")

    def __init__(self, key: bytes, digest_key: bytes) -> None:
        self._key = algorithms.AES256(key)
        self._digest_key = digest_key

    def at(self, offset: int) -> CipherContext:
        """Begin at an offset into the file."""
        context = Cipher(self._key, modes.CTR((offset // _BLOCK).to_bytes(_BLOCK, "big"))).encryptor()
        if skipped := offset % _BLOCK:
            context.update(bytes(skipped))
        return context

    def digest(self, offset: int, length: int, pieces: Iterable[bytes]) -> bytes:
        """Return the keyed digest of encrypted bytes that lie in this place of this file."""
        value = hmac.new(self._digest_key, offset.to_bytes(8, "big") + length.to_bytes(8, "big"), "sha256")
        for piece in pieces:
            value.update(piece)
        return value.digest()


def claim(folder: Path, key: Key | None, setting: str, *, is_empty: bool) -> None:
    """Have a folder written under this key, or under none, from now on.

    Raises:
        ConfigError: it holds something that was written otherwise.
    """
    path = folder / PROOF
    try:
        found = path.read_text() if path.exists() else ""
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from None
    wanted = key.proof if key else ""
    if hmac.compare_digest(found.encode(), wanted.encode()):
        return
    if not is_empty:
        raise ConfigError(f"{folder} {_told(found, setting, key)}")
    path.unlink(missing_ok=True)
    if key:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(wanted)


def _told(found: str, setting: str, key: Key | None) -> str:
    if key is None:
        return f'holds what was encrypted: name the key\'s file in "{setting}"'
    if found:
        return f'holds what was encrypted with another key: name that key\'s file in "{setting}"'
    return f'holds what was not encrypted: empty it first, without "{setting}"'


def _decoded(text: bytes) -> bytes:
    try:
        if len(text) == 2 * SIZE:
            return bytes.fromhex(text.decode("ascii"))
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""
