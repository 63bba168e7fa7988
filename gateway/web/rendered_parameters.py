"""How a rendered image shall look: the query parameters of rendered and thumbnail resources (PS3.18 8.3.5)."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Final

from gateway.dataset.rendition import ICC_PROFILES, WINDOW_FUNCTIONS, Rendering, Viewport, Window
from gateway.errors import RequestError
from gateway.web.parameters import Pair

LARGEST_VIEWPORT: Final = 8192
THUMBNAIL: Final = Viewport(128, 128)

_NUMBER = re.compile(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})([eE][+-]?\d{1,2})?", re.ASCII)
_COUNT = re.compile(r"\d{1,6}", re.ASCII)
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)


def only(parameters: Iterable[Pair], names: Sequence[str]) -> dict[str, str]:
    """Return the value of each named parameter that is given; others are ignored (PS3.18 8.3.1).

    Raises:
        RequestError: one is given twice.
    """
    found: dict[str, str] = {}
    for pair in parameters:
        if pair.name in names:
            if pair.name in found:
                raise RequestError(f"{pair.name}: expected once, given twice")
            found[pair.name] = pair.literal("+")
    return found


def rendering(parameters: Iterable[Pair]) -> Rendering:
    """Read the parameters of a rendered resource (PS3.18 8.3.5.1).

    Raises:
        RequestError: the value of one is malformed; the text names it.
    """
    given = only(parameters, tuple(READERS))
    chosen = Rendering()
    for name, value in given.items():
        field, read = READERS[name]
        chosen = replace(chosen, **{field: read(name, value)})
    return chosen


def thumbnail(parameters: Iterable[Pair]) -> Rendering:
    """Read the parameters of a thumbnail: its viewport and no other (PS3.18 8.3.5.2).

    Raises:
        RequestError: the viewport is malformed.
    """
    given = only(parameters, ("viewport",))
    return Rendering(viewport=_size("viewport", given["viewport"]) if given else THUMBNAIL)


def count(name: str, value: str, most: int) -> int:
    """Read a whole number from 1 on."""
    if not _COUNT.fullmatch(value) or not 1 <= int(value) <= most:
        raise RequestError(f"{name}: expected a whole number from 1 to {most}")
    return int(value)


def number(name: str, value: str) -> float:
    """Read a decimal number."""
    if not _NUMBER.fullmatch(value) or not isfinite(float(value)):
        raise RequestError(f"{name}: expected decimal numbers")
    return float(value)


def quality(name: str, value: str) -> int:
    """Read a quality, 1 to 100 (PS3.18 8.3.5.1.2)."""
    return count(name, value, 100)


def annotation(name: str, value: str) -> frozenset[str]:
    """Read what shall be burnt in: patient and technique; other keywords are left alone (PS3.18 8.3.5.1.1)."""
    words = value.split(",")
    if not all(map(_KEYWORD.fullmatch, words)):
        raise RequestError(f"{name}: expected patient, technique or both, with a comma between them")
    return frozenset(words) & {"patient", "technique"}


def window(name: str, value: str) -> Window:
    """Read center, width and function, all three (PS3.18 8.3.5.1.4)."""
    parts = value.split(",")
    if len(parts) != 3:
        raise RequestError(f"{name}: expected center,width,function")
    return voi(name, parts[0], parts[1], parts[2].strip().lower())


def voi(name: str, center: str, width: str, function: str = "linear") -> Window:
    """Make a window; its width must be one that the function has (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    if function not in WINDOW_FUNCTIONS:
        raise RequestError(f"{name}: expected linear, linear-exact or sigmoid as function")
    chosen = Window(number(name, center), number(name, width), function)
    if chosen.width < 1 if function == "linear" else chosen.width <= 0:
        least = "at least 1" if function == "linear" else "above 0"
        raise RequestError(f"{name}: expected a width {least}")
    return chosen


def _viewport(name: str, value: str) -> Viewport:
    """Read vw,vh and the source region sx,sy,sw,sh, of which each may be left out (PS3.18 8.3.5.1.3)."""
    parts = [part.strip() for part in value.split(",")]
    if not 2 <= len(parts) <= 6:
        raise RequestError(f"{name}: expected vw,vh or vw,vh,sx,sy,sw,sh")
    size = _size(name, ",".join(parts[:2]))
    left, top, region_width, region_height = (
        number(name, part) if part else None for part in [*parts[2:], *[""] * (6 - len(parts))]
    )
    if region_width == 0 or region_height == 0:
        raise RequestError(f"{name}: expected a source region that is not empty")
    return replace(size, left=left or 0, top=top or 0, region_width=region_width, region_height=region_height)


def _size(name: str, value: str) -> Viewport:
    parts = value.split(",")
    if len(parts) != 2:
        raise RequestError(f"{name}: expected vw,vh")
    width, height = (count(name, part.strip(), LARGEST_VIEWPORT) for part in parts)
    return Viewport(width, height)


def _icc_profile(name: str, value: str) -> str:
    if value.lower() not in ICC_PROFILES:
        raise RequestError(f"{name}: expected {', '.join(sorted(ICC_PROFILES))}")
    return value.lower()


READERS: Final[dict[str, tuple[str, Callable[[str, str], Any]]]] = {
    "viewport": ("viewport", _viewport),
    "window": ("window", window),
    "quality": ("quality", quality),
    "annotation": ("annotation", annotation),
    "iccprofile": ("icc_profile", _icc_profile),
}
"""Each parameter of a rendered resource: the field of ``Rendering`` that it fills, and its reader."""
