"""The child process of a worker: runs one job after the other, from its standard input to its standard output.

It ends when its standard input does, so it cannot outlive the gateway.
"""

import os
import pickle
import resource
import struct
import sys
from typing import Any, BinaryIO, Final

from gateway.errors import GatewayError

LENGTH: Final = struct.Struct("<Q")


def main() -> None:
    """Run jobs until there are no more; the only argument is the limit on memory in bytes."""
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What a codec prints must not get between the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        while (job := _read(sys.stdin.buffer)) is not None:
            answers.write(_answer(job))
            answers.flush()


def _read(jobs: BinaryIO) -> bytes | None:
    head = jobs.read(LENGTH.size)
    return jobs.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def _answer(job: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(job)  # noqa: S301  (it comes from the gateway itself)
        body = pickle.dumps((True, function(*arguments)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001  (told to the caller, whatever it is)
        body = pickle.dumps((False, _told(error)))
    return LENGTH.pack(len(body)) + body


def _told(error: Exception) -> tuple[type[GatewayError] | None, tuple[Any, ...], dict[str, Any]]:
    """Take an error apart: of one that nobody foresaw only its class, since its text may hold what a patient sent."""
    if isinstance(error, GatewayError):
        return type(error), error.args, error.__dict__
    return None, (type(error).__name__,), {}


if __name__ == "__main__":
    main()
