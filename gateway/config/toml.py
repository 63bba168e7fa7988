"""TOML files read into checked models; a mistake names the file, the key and the remedy."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.errors import ConfigError


class Section(BaseModel):
    """A table of a configuration file: immutable, and strict about what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SectionT = TypeVar("SectionT", bound=Section)


def read(path: Path) -> dict[str, Any]:
    """Parse one TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error


def check(model: type[SectionT], values: Mapping[str, Any], source: str) -> SectionT:
    """Make the model from parsed values; ``source`` says where they come from.

    Raises:
        ConfigError: every mistake at once, one line each, with what to write instead.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        explained = [_explain(model, dict(fault)) for fault in error.errors()]
        lines = [f"{source}: {line}" for each in explained for line in each.splitlines()]
        raise ConfigError("\n".join(lines)) from error


def _explain(model: type[BaseModel], fault: dict[str, Any]) -> str:
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        near = difflib.get_close_matches(location[-1].lower(), known, n=1)
        remedy = f'did you mean "{near[0]}"?' if near else f"known keys are {', '.join(known)}"
        return f'"{key}" is not a known key: {remedy}'
    if fault["type"] == "missing":
        return f'"{key}" is missing: add it'
    if fault["type"] == "model_type":
        return f'"{key}" cannot be {fault["input"]!r}: it is a table, and its keys stand below a line [{key}]'
    told = str(fault["msg"]).removeprefix("Value error, ")
    return f'"{key}" cannot be {fault["input"]!r}: {told}' if key else told  # a model's own text names the keys


def _known_keys(model: type[BaseModel], parents: list[str]) -> list[str]:
    for parent in parents:
        if parent.isdecimal():  # the place in an array of tables, whose model is known by now
            continue
        field = model.model_fields.get(parent)
        annotation = field.annotation if field else None
        item = next(iter(get_args(annotation)), annotation)
        if not isinstance(item, type) or not issubclass(item, BaseModel):
            return []
        model = item
    return sorted(model.model_fields)
