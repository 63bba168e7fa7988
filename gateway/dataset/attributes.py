"""Values of attributes, also as they hold for one frame, functional groups included (PS3.3 C.7.6.16)."""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any, Final

from gateway.dataset.query import Attribute, Row

_SHARED: Final = "52009229"
_PER_FRAME: Final = "52009230"
_MACROS: Final = (
    "00289110",  # Pixel Measures
    "00289132",  # Frame VOI LUT
    "00289145",  # Pixel Value Transformation
)


class FrameAttributes:
    """Looks attributes up for one frame: its own functional groups, the shared ones, then the Data Set."""

    __slots__ = ("_rows",)

    def __init__(self, row: Row, frame: int) -> None:
        self._rows = (*_macros(row, _PER_FRAME, frame - 1), *_macros(row, _SHARED, 0), row)

    def attribute(self, key: str) -> Attribute:
        """Return an attribute; empty where it is absent."""
        return next((row[key] for row in self._rows if len(row.get(key, ())) > 1), {})

    def number(self, key: str, place: int = 0) -> float | None:
        """Return one value as a number."""
        try:
            return float(self.attribute(key)["Value"][place])
        except (KeyError, IndexError, TypeError, ValueError):
            return None

    def text(self, key: str) -> str:
        """Return the first value as text."""
        return text_of(self.attribute(key))

    def items(self, key: str) -> list[Row]:
        """Return the items of a Sequence."""
        return items_of(self.attribute(key))

    def binary(self, key: str) -> bytes:
        """Return a value of bytes."""
        return b64decode(self.attribute(key).get("InlineBinary", ""))


def items_of(attribute: Attribute) -> list[Row]:
    """Return the items of a Sequence; none of anything else."""
    return (
        [item for item in attribute.get("Value", ()) if isinstance(item, dict)] if attribute.get("vr") == "SQ" else []
    )


def first(attribute: Attribute | None) -> Any:
    """Return the first value; None where there is none."""
    values = attribute.get("Value") if attribute else None
    return values[0] if values else None


def text_of(attribute: Attribute) -> str:
    """Return the first value as text; of a person name the first group that there is."""
    value = first(attribute)
    if isinstance(value, dict):
        value = next(iter(value.values()), "")
    return "" if value is None else str(value)


def _macros(row: Row, key: str, place: int) -> Iterator[Row]:
    groups = items_of(row.get(key, {}))
    if place < len(groups):
        for macro in _MACROS:
            yield from items_of(groups[place].get(macro, {}))[:1]
