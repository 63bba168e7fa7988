"""Stored pixel values -> grey levels or colours: Modality LUT, VOI LUT, palettes (PS3.3 C.7.6.3.1, C.11.1, C.11.2).

Imports numpy: for worker processes.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.dataset.attributes import FrameAttributes
from gateway.dataset.image import ImageDescription
from gateway.dataset.pixels import Pixels
from gateway.dataset.query import Row
from gateway.dataset.rendition import Window
from gateway.errors import DatasetError, RequestError

Values = NDArray[np.float64]
_WHITE: Final = 255
_LARGEST_TABLE: Final = 1 << 16
_FUNCTIONS: Final = {"LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}
_SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"


class Grey:
    """The greyscale pipeline of one frame.

    Args:
        attributes: of the frame.
        description: of its pixels.
        window: asked for; None for the one of the Data Set.
    """

    def __init__(self, attributes: FrameAttributes, description: ImageDescription, window: Window | None) -> None:
        self._attributes = attributes
        self._description = description
        self._window = window

    def levels(self, pixels: Pixels) -> NDArray[np.uint8]:
        """Return grey levels from 0, black, to 255."""
        pixels = self._aligned(pixels)
        span = self._span(pixels)
        if pixels.dtype.kind not in "iu":
            return self._shown(np.nan_to_num(pixels.astype(np.float64)), span)
        low, high = int(pixels.min()), int(pixels.max())
        if high - low >= _LARGEST_TABLE or pixels.size < high - low:
            return self._shown(pixels.astype(np.float64), span)
        # Far fewer values than pixels: each is worked out once.
        table = self._shown(np.arange(low, high + 1, dtype=np.float64), span)
        return table[pixels.astype(np.int64) - low if low else pixels]

    def _aligned(self, pixels: Pixels) -> Pixels:
        """Leave out bits above High Bit, such as old overlays, and those below the pixel (PS3.5 8.1.1)."""
        description = self._description
        if (
            description.is_coded
            or pixels.dtype.kind not in "iu"
            or description.bits_stored >= description.bits_allocated
        ):
            return pixels
        above = description.bits_allocated - 1 - description.high_bit
        below = description.bits_allocated - description.bits_stored
        return pixels << above >> below if 0 <= above <= below else pixels

    def _span(self, pixels: Pixels) -> tuple[float, float]:
        """Return the lowest and highest stored value that means something."""
        attributes = self._attributes
        if attributes.text("00080016") == _SEGMENTATION:
            return 0, attributes.number("0062000E") or 1
        meant = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
        padding = self._stored("00280120")
        if padding is not None:
            limit = self._stored("00280121")
            ends = sorted((padding, padding if limit is None else limit))
            without = meant[(meant < ends[0]) | (meant > ends[1])]
            meant = without if without.size else meant
        return (float(meant.min()), float(meant.max())) if meant.size else (0, 1)

    def _stored(self, key: str) -> float | None:
        """Return a value that is in the units of stored pixels, whatever VR its writer chose."""
        value = self._attributes.number(key)
        if value is not None and self._description.signed and value >= 1 << (self._description.bits_allocated - 1):
            return value - (1 << self._description.bits_allocated)
        return value

    def _shown(self, stored: Values, span: tuple[float, float]) -> NDArray[np.uint8]:
        modality = self._modality()
        shown = self._voi(modality, span)(modality(stored))
        if self._description.photometric_interpretation == "MONOCHROME1":
            shown = _WHITE - shown
        return np.clip(shown + 0.5, 0, _WHITE).astype(np.uint8)

    def _modality(self) -> Callable[[Values], Values]:
        """Return the Modality LUT (PS3.3 C.11.1)."""
        tables = self._attributes.items("00283000")
        if tables:
            table, first, _ = _table(tables[0], signed=self._description.signed)
            return lambda stored: table[np.clip(stored - first, 0, len(table) - 1).astype(np.int64)]
        slope, intercept = (self._attributes.number(key) for key in ("00281053", "00281052"))
        factor, offset = slope or 1.0, intercept or 0.0
        return lambda stored: stored * factor + offset

    def _voi(self, modality: Callable[[Values], Values], span: tuple[float, float]) -> Callable[[Values], Values]:
        """Return the VOI LUT (PS3.3 C.11.2): asked for, of the Data Set, or from the lowest to the highest value."""
        if self._window:
            return windowed(self._window)
        tables = self._attributes.items("00283010")
        if tables:
            table, first, bits = _table(tables[0], signed=self._description.signed)
            factor = _WHITE / ((1 << bits) - 1)
            return lambda values: factor * table[np.clip(values - first, 0, len(table) - 1).astype(np.int64)]
        center, width = (self._attributes.number(key) for key in ("00281050", "00281051"))
        # A width of 0 or 1 is what some writers put where they have no window: it would be all black or white.
        if center is not None and width is not None and width > 1:
            return windowed(Window(center, width, _FUNCTIONS.get(self._attributes.text("00281056"), "linear")))
        ends = modality(np.array(span, np.float64))
        return _stretched(float(ends.min()), float(ends.max()))


def windowed(window: Window) -> Callable[[Values], Values]:
    """Return the VOI LUT function of a window, from 0 to 255 (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Raises:
        RequestError: the width is none that the function has.
    """
    center, width = window.center, window.width
    if width <= 0 or (width < 1 and window.function == "linear"):
        raise RequestError("the window's width is too small: at least 1 for linear, above 0 for the others")
    if window.function == "sigmoid":
        return lambda values: _WHITE / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if window.function == "linear-exact":
        return lambda values: np.clip((values - center) / width + 0.5, 0, 1) * _WHITE
    if width == 1:
        return lambda values: np.where(values <= center - 0.5, 0.0, float(_WHITE))
    return lambda values: np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * _WHITE


def _stretched(low: float, high: float) -> Callable[[Values], Values]:
    if low == high:
        return lambda values: np.clip((values - low) / 2 + 0.5, 0, 1) * _WHITE
    return lambda values: np.clip((values - low) / (high - low), 0, 1) * _WHITE


def _table(item: Row, *, signed: bool) -> tuple[Values, float, int]:
    """Return the entries of a LUT, the value that the first is for, and their bits (PS3.3 C.11.1.1)."""
    attributes = FrameAttributes(item, 1)
    entries, first, bits = (int(attributes.number("00283002", place) or 0) for place in range(3))
    data = _entries(attributes, "00283006", entries or _LARGEST_TABLE)
    if not data.size or not 1 <= bits <= 16:
        raise DatasetError("a LUT has no usable LUT Descriptor or no LUT Data")
    return data.astype(np.float64), first - 65536 if signed and first > 32767 else first, bits


def _entries(attributes: FrameAttributes, key: str, entries: int) -> NDArray[np.uint16]:
    """Return a table whose entries are words, or bytes two of which are in each word."""
    data = attributes.binary(key)
    if not data:
        numbers: list[Any] = attributes.attribute(key).get("Value", [])
        return np.array(numbers, np.int64).astype(np.uint16)[:entries]
    if len(data) < 2 * entries and len(data) >= entries:
        return np.frombuffer(data, np.uint8)[:entries].astype(np.uint16)
    return np.frombuffer(data, "<u2", len(data) // 2)[:entries]


# --- palettes

_PALETTES: Final = (
    ("00281101", "00281201", "00281221"),
    ("00281102", "00281202", "00281222"),
    ("00281103", "00281203", "00281223"),
)


def coloured(pixels: Pixels, attributes: FrameAttributes) -> NDArray[np.uint8]:
    """Return the colours of a PALETTE COLOR image (PS3.3 C.7.6.3.1.5, C.7.9.2).

    Raises:
        DatasetError: a palette is missing or damaged.
    """
    planes = []
    for descriptor, data, segmented in _PALETTES:
        entries, first, bits = (int(attributes.number(descriptor, place) or 0) for place in range(3))
        entries = entries or _LARGEST_TABLE
        table = _entries(attributes, data, entries)
        if not table.size:
            table = _expanded(attributes.binary(segmented), entries)
        if not table.size:
            raise DatasetError("the image has no palette")
        # Some writers say 16 bits and mean 8.
        levels = table >> 8 if bits == 16 and int(table.max()) > _WHITE else table
        planes.append(levels.astype(np.uint8)[np.clip(pixels.astype(np.int64) - first, 0, len(table) - 1)])
    return np.stack(planes, -1)


def _expanded(data: bytes, entries: int) -> NDArray[np.uint16]:
    """Expand a segmented palette: discrete, linear and indirect segments (PS3.3 C.7.9.2)."""
    words = np.frombuffer(data, "<u2", len(data) // 2).astype(np.int64).tolist()
    out: list[int] = []
    _run(words, 0, len(words), (out, entries), indirect=True)
    return np.array(out[:entries], np.int64).astype(np.uint16)


def _run(words: list[int], position: int, segments: int, into: tuple[list[int], int], *, indirect: bool) -> None:
    """Run that many segments from a position on; indirect ones repeat others that are not indirect themselves."""
    out, entries = into
    while segments and position + 2 < len(words) and len(out) < entries:
        opcode, length = words[position], words[position + 1]
        if opcode == 0:
            out += words[position + 2 : position + 2 + length]
            position += 2 + length
        elif opcode == 1 and out:
            steps = np.linspace(out[-1], words[position + 2], min(length, entries) + 1)[1:]
            out += np.rint(steps).astype(np.int64).tolist()
            position += 3
        elif opcode == 2 and indirect and position + 3 < len(words):
            start = words[position + 2] | words[position + 3] << 16
            _run(words, start // 2, length, into, indirect=False)
            position += 4
        else:
            raise DatasetError("a segmented palette cannot be expanded")
        segments -= 1
