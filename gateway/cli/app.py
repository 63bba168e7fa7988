"""The ``gateway`` command, of which each part is imported when it is asked for."""

import sys
from importlib import import_module
from io import StringIO
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gateway.errors import ConfigError, GatewayError, NotFound

USAGE: Final = 2
NONE: Final = 4

COMMANDS: Final = (
    *("serve", "demo", "viewer", "check", "doctor", "region", "find", "fetch", "send", "queue"),
    *("audit", "consent", "config", "conformance"),
)
"""Each is a module of this package that has it as ``command``, or a group of commands as ``app``."""


class Commands(TyperGroup):
    """Finds commands by name, and loads no other: one that asks a running gateway needs nothing of a gateway.

    typer keeps the types of a command and of its context to itself.
    """

    def list_commands(self, _: Any) -> list[str]:
        """Name the commands, in the order in which help shows them."""
        return [*COMMANDS]

    def get_command(self, _: Any, cmd_name: str) -> Any:
        """Load one."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"{__package__}.{cmd_name}")
        if hasattr(module, "app"):
            return get_command(module.app)
        alone = typer.Typer(add_completion=False)
        alone.command(cmd_name)(module.command)
        return get_command(alone)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of a line; where there is none, its neighbours are told by what is loaded: then all are."""
        if args[0] not in COMMANDS:
            self.commands = {name: found for name in COMMANDS if (found := self.get_command(ctx, name))}
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="gateway",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _gateway() -> None:
    """A provincial DICOMweb gateway: many DIMSE regions, one origin server."""


def main() -> None:
    """Run the command.

    A mistake in its input is told in plain words, with exit code 2; with 4 what is not there, or the system refuses.
    """
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    except GatewayError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE if 400 <= error.http_status < 500 and not isinstance(error, NotFound) else NONE)
    except OSError as error:
        sys.stdout = StringIO()  # what could not be written is not tried again at the end of the process
        if not isinstance(error, BrokenPipeError):
            where = f"{error.filename}: " if error.filename else ""
            sys.stderr.write(f"{where}{error.strerror or str(error) or type(error).__name__}\n")
        sys.exit(NONE)
