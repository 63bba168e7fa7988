"""Paths in a settings file: they are meant from the folder of that file, wherever the gateway is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, get_args

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class AtFile:
    """Marks a key whose value is a path."""


AT_FILE: Final = AtFile()
FilePath: TypeAlias = Annotated[str, AT_FILE]


def beside(model: type[BaseModel], values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return parsed values with the relative paths in them made to begin at a folder."""
    resolved = dict(values)
    for name, field in model.model_fields.items():
        value = resolved.get(name)
        inner = _model(field.annotation)
        if inner and isinstance(value, Mapping):
            resolved[name] = beside(inner, value, folder)
        elif inner and isinstance(value, list):
            resolved[name] = [beside(inner, item, folder) if isinstance(item, Mapping) else item for item in value]
        elif value and isinstance(value, str) and AT_FILE in field.metadata and "://" not in value:  # that is a URL
            resolved[name] = str(folder.absolute() / value)
    return resolved


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a section, or of the items of a list of them."""
    for kind in (annotation, *get_args(annotation)[:1]):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def path_of(name: str) -> Path | None:
    """Return the path that a setting names; None where it is empty."""
    return Path(name) if name else None
