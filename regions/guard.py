"""Nothing outlives whoever started it: a process ends when the pipe it was given ends."""

import os
import sys
import threading
from collections.abc import Callable


def end_with_stdin(end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Call ``end`` from a thread once standard input is closed, as it is when the parent dies, however it dies."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        end()

    threading.Thread(target=watch, name="stdin", daemon=True).start()
