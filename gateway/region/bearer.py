"""A bearer token that stands in a file (RFC 6750)."""

from pathlib import Path

from gateway.errors import ConfigError


def read_token(path: Path, setting: str) -> str:
    """Return the token in a file.

    Args:
        path: the file.
        setting: what names it, for the text of the error.

    Raises:
        ConfigError: there is none.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check {setting}") from error
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise ConfigError(f"{path}: holds no bearer token: write the token alone there, in one line")
    return token


class Bearer:
    """The token of one region; its file is read again when it has changed, as tokens are short-lived."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def token(self) -> str:
        """Return the token as it is now.

        Raises:
            ConfigError: the file holds none.
        """
        try:
            found = self._path.stat()
        except OSError:
            seen = None
        else:
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen is None or seen != self._seen:
            self._token = read_token(self._path, "token_file")
            self._seen = seen
        return self._token
