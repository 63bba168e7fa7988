"""Settings from environment variables: ``GATEWAY_HTTP__PORT=9080`` is ``port`` in ``[http]``."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

PREFIX: Final = "GATEWAY_"
BETWEEN: Final = "__"

T = TypeVar("T")


def from_environment(
    environ: Mapping[str, str], defaults: Mapping[str, Any], made: Callable[[str, dict[str, Any]], T]
) -> Iterator[T]:
    """Yield what ``made`` makes of each variable's name and values by section.

    A value is written as in a settings file; where the default is text, quotation marks are not needed. Variables
    without the two underscores are somebody else's.
    """
    for name, value in sorted(environ.items()):
        section, between, key = name.removeprefix(PREFIX).lower().partition(BETWEEN)
        if name.startswith(PREFIX) and between:
            yield made(f"environment {name}", {section: {key: _value(value, defaults.get(section, {}).get(key))}})


def _value(text: str, default: Any) -> Any:
    """Return a value as TOML reads it, and text as it is."""
    if isinstance(default, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
