"""Rendered images: what a person sees of the stored pixels (PS3.18 10.4.1.1.3 and 8.3.5).

Imports numpy, imagecodecs and Pillow: for worker processes.
"""

from base64 import b64decode
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

from gateway.dataset.attributes import FrameAttributes, items_of
from gateway.dataset.colour_profiles import converted, profile
from gateway.dataset.image import YBR_FULL, ImageDescription
from gateway.dataset.json_model import to_json_model
from gateway.dataset.lookup import Grey, coloured
from gateway.dataset.picture import annotate, aspect_of, encoded, fitted
from gateway.dataset.pixels import Pixels, decode_frame, decoded, rgb_of_ybr
from gateway.dataset.query import Row
from gateway.dataset.rendition import GIF, Rendering
from gateway.dataset.sink import Buffer
from gateway.dataset.spans import inflated_uid
from gateway.errors import DatasetError

_FRAME_TIME: Final = 100.0  # milliseconds, where the Data Set says nothing
_RATES: Final = ("00180040", "00082144")


def render(
    header: Buffer, description: ImageDescription, frames: Sequence[tuple[int, bytes]], rendering: Rendering
) -> bytes:
    """Return frames as one picture, or as an animation where the media type is image/gif.

    Args:
        header: the Data Set up to its pixels, inflated.
        description: of the pixels.
        frames: number, from 1, and codestream of each.
        rendering: what it shall be like.

    Raises:
        DatasetError: the Data Set or a codestream is damaged or of a kind that cannot be shown.
        RequestError: the rendering asks for the impossible.
        LimitExceeded: at a limit.
    """
    uid = inflated_uid(description.transfer_syntax_uid)
    row = to_json_model(header, uid, character_set=rendering.character_set)
    if rendering.media_type != GIF:
        frames = frames[:1]
    pictures = [_picture(FrameAttributes(row, number), description, data, rendering) for number, data in frames]
    if not pictures:
        raise DatasetError("there is no frame to render")
    pictures, icc = _in_colour_space(pictures, row, rendering.icc_profile)
    return encoded(pictures, rendering, icc, _frame_time(row))


def _picture(
    attributes: FrameAttributes, description: ImageDescription, codestream: bytes, rendering: Rendering
) -> Image.Image:
    pixels = decode_frame(codestream, description)
    shown = Image.fromarray(np.ascontiguousarray(visible(pixels, attributes, description, rendering)))
    shown = fitted(shown, rendering.viewport, aspect_of(attributes))
    if rendering.annotation:
        annotate(shown, attributes, rendering.annotation)
    return shown


def visible(pixels: Pixels, attributes: FrameAttributes, description: ImageDescription, rendering: Rendering) -> Pixels:
    """Return decoded pixels as grey levels or RGB, eight bits each (PS3.4 N.2)."""
    interpretation = decoded(description).photometric_interpretation
    if pixels.ndim == 2:
        if interpretation == "PALETTE COLOR":
            return coloured(pixels, attributes)
        return Grey(attributes, description, rendering.window).levels(pixels)
    if interpretation not in {"RGB", YBR_FULL}:
        raise DatasetError(f"pixels in {interpretation} cannot be shown")
    if pixels.dtype != np.uint8:
        pixels = (np.clip(pixels, 0, None) >> max(0, description.bits_stored - 8)).astype(np.uint8)
    return rgb_of_ybr(pixels) if interpretation == YBR_FULL else pixels


def _in_colour_space(pictures: list[Image.Image], row: Row, wanted: str) -> tuple[list[Image.Image], bytes]:
    """Convert colours where a space is named; return the pictures and the profile to embed (PS3.18 8.3.5.1.5)."""
    own = _own_profile(row)
    is_colour = pictures[0].mode == "RGB"
    if wanted == "no" or not is_colour:
        return pictures, b""
    if wanted in {"", "yes"}:
        return pictures, own or (profile("srgb") if wanted else b"")
    if wanted == "srgb" and not own:
        return pictures, profile("srgb")
    return [converted(picture, own, wanted) for picture in pictures], profile(wanted)


def _own_profile(row: Row) -> bytes:
    """Return ICC Profile of the image or of its first Optical Path (PS3.3 C.11.15)."""
    for holder in (row, *items_of(row.get("00480105", {}))[:1]):
        value = holder.get("00282000", {}).get("InlineBinary")
        if value:
            return b64decode(value)
    return b""


def _frame_time(row: Row) -> float:
    attributes = FrameAttributes(row, 1)
    time = attributes.number("00181063")
    if time and time > 0:
        return min(time, 60_000)
    rate = next((rate for key in _RATES if (rate := attributes.number(key)) and rate > 0), None)
    return 1000 / rate if rate else _FRAME_TIME
