"""What commands print: for people in a terminal, plain lines elsewhere, JSON for programs; and how they end."""

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Sequence
from enum import IntEnum
from typing import Any, TypeVar

import orjson
import typer
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

T = TypeVar("T")


class Exit(IntEnum):
    """How a command ended."""

    COMPLETE = 0
    USAGE = 2
    PARTIAL = 3
    NONE = 4
    CANCELLED = 130
    """128 and the number of SIGINT, as shells have it."""


def print_json(value: Any) -> None:
    """Print one JSON document on a line."""
    print(orjson.dumps(value).decode(), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows: aligned and coloured in a terminal, and elsewhere a line each with tabs between the values."""
    console = Console()
    shown = [[printable(value) for value in row] for row in rows]
    if not console.is_terminal:
        for row in (columns, *shown):
            print("\t".join(row))
        return
    table = Table(*columns, box=None, header_style="bold")
    for row in shown:
        table.add_row(*map(Text, row))
    console.print(table)


def printable(value: str) -> str:
    """Return text without what steers a terminal: it may come from the wire."""
    return "".join(letter if letter.isprintable() else " " for letter in value)


def tell(text: str) -> None:
    """Say something beside the result: on standard error, so that the result can be piped."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def run(work: Coroutine[Any, Any, T], *, cancelled: str) -> T:
    """Run a command's work; Ctrl-C cancels it, lets it clean up, says what became of it, and ends with 130."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    except KeyboardInterrupt:
        tell(f"cancelled: {cancelled}")
        raise typer.Exit(Exit.CANCELLED) from None
