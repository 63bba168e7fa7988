"""Files and folders that are nobody else's, whatever the umask and whoever made them before."""

import os
from pathlib import Path


def private_folder(path: Path) -> None:
    """Make a folder that only we can enter; raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def private_file(path: Path) -> Path:
    """Make a file that only we can read, unless it is there; raises OSError.

    SQLite gives the files beside a database the mode of the database.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return path
