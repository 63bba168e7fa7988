"""``gateway config show``: the settings in effect, where each comes from, and no secret among them."""

import re
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import orjson
import typer

from gateway.cli.options import Config, Json
from gateway.cli.output import print_json, print_table
from gateway.config.settings import Layer, joined, layers

app = typer.Typer(name="config", help="The settings of the gateway.", no_args_is_help=True, add_completion=False)


SECRET: Final = re.compile(r"(^|_)(secret|password|passphrase|token|api_key|private_key)$")
MASK: Final = "********"


@app.callback()
def _group() -> None:
    """Make ``show`` a command of its own."""


@app.command()
def show(config: Config = None, as_json: Json = False) -> None:
    """Show every setting, its value and what it comes from: the defaults, the file or the environment."""
    found = layers(config)
    chosen = joined(found).model_dump(mode="json")
    rows = [
        {"key": f"{section}.{key}", "value": masked(key, value), "source": _source(found, section, key)}
        for section, values in chosen.items()
        for key, value in values.items()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("setting", "value", "from"),
        [(row["key"], orjson.dumps(row["value"]).decode(), row["source"]) for row in rows],
    )


def masked(key: str, value: Any) -> Any:
    """Return a value without its secrets: those that the key says it is, and the password in a URL."""
    if isinstance(value, dict):
        return {name: masked(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(key, inner) for inner in value]
    if SECRET.search(key) and value:
        return MASK
    return _without_password(value) if isinstance(value, str) and "@" in value else value


def _without_password(value: str) -> str:
    parts = urlsplit(value)
    if not parts.password:
        return value
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{MASK}@{address}"))


def _source(found: list[Layer], section: str, key: str) -> str:
    return next((x.source for x in reversed(found) if key in x.values.get(section, {})), "default")
