"""TOML files read into checked models; a mistake names the file, the key and the remedy, and knows its line."""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.config.lines import Place, line_of
from gateway.errors import ConfigError


class Section(BaseModel):
    """A table of a configuration file: immutable, and strict about what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in a configuration.

    Attributes:
        source: the file, or what else it stands in.
        line: in the file, from 1; 0 where there is none.
        text: what is wrong, and what to write instead.
    """

    source: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"

    @property
    def located(self) -> str:
        """The same with its line, in the form that editors jump to."""
        return f"{self.source}:{self.line}: {self.text}" if self.line else str(self)


class Faulty(ConfigError):
    """A configuration with mistakes, each with its place.

    Attributes:
        faults: all of them.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def read(path: Path) -> dict[str, Any]:
    """Parse one TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        text = f"cannot be read ({error.strerror}): check the path and its permissions"
        raise Faulty([Fault(str(path), 0, text)]) from error
    except UnicodeDecodeError as error:
        raise Faulty([Fault(str(path), 0, "is not UTF-8: save it as UTF-8")]) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise Faulty([Fault(str(path), int(found[1]) if found else 0, f"is not valid TOML: {error}")]) from error


def check(model: type[SectionT], values: Mapping[str, Any], source: str, file: Path | None = None) -> SectionT:
    """Make the model from parsed values.

    Args:
        model: what they are to be.
        values: as they were read.
        source: where they come from, in words.
        file: the same as a file, whose lines can be told.

    Raises:
        ConfigError: every mistake at once, one line each, with what to write instead.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults: list[dict[str, Any]] = [dict(fault) for fault in error.errors()]
        told = [x for x in faults if not any(_is_inside(y["loc"], x["loc"]) for y in faults)]
        raise Faulty(
            [Fault(source, line(file, x["loc"]), text) for x in told for text in _explain(model, x).splitlines()]
        ) from error


def _is_inside(place: Place, outer: Place) -> bool:
    """Whether a fault at one place is why there is one at another: a list with a wrong item may be too short, too."""
    return len(place) > len(outer) and tuple(place[: len(outer)]) == tuple(outer)


def line(file: Path | None, place: Place) -> int:
    """Return the line of a key in a file that was read a moment ago, 0 where there is no file."""
    if file is None:
        return 0
    try:
        return line_of(file.read_text(encoding="utf-8-sig"), place)
    except (OSError, UnicodeDecodeError):
        return 0


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
        return f'"{key}" cannot be {_shown(fault["input"])}: it is a table, and its keys stand below a line [{key}]'
    told = str(fault["msg"]).removeprefix("Value error, ")
    return f'"{key}" cannot be {_shown(fault["input"])}: {told}' if key else told  # a model's own text names the keys


def _shown(value: Any) -> str:
    """Return a value as it is told, without what may be a password in a URL."""
    return re.sub(r"(://[^/@\s:]*:).*@|(password=).*", r"\1\2***", repr(value))


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
