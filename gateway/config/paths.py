"""Paths in a settings file: they are meant from the folder of that file, wherever the gateway is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class AtFile:
    """Marks a key whose value is a path."""


AT_FILE: Final = AtFile()


def beside(model: type[BaseModel], values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return parsed values with the relative paths in them made to begin at a folder."""
    resolved = dict(values)
    for name, field in model.model_fields.items():
        value = resolved.get(name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, Mapping):
            resolved[name] = beside(inner, value, folder)
        elif value and isinstance(value, str) and AT_FILE in field.metadata:
            resolved[name] = str(folder.absolute() / value)
    return resolved
