"""The picture that is sent: part of an image, fitted into a viewport, encoded (PS3.18 8.3.5.1).

Imports Pillow: for worker processes.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from gateway.dataset.attributes import FrameAttributes
from gateway.dataset.rendition import GIF, JP2, JPEG, PNG, Rendering, Viewport
from gateway.errors import RequestError

LARGEST_PICTURE: Final = 64 * 1024 * 1024
"""Pixels that a picture may have."""

_FASTEST: Final = 20  # milliseconds: browsers slow down what is faster
_PATIENT: Final = ("00100010", "00100020", "00100030", "00100040")
_TECHNIQUE: Final = (
    ("00081030", ""),
    ("0008103E", ""),
    ("00080060", ""),
    ("00080020", ""),
    ("00180060", " kV"),
    ("00181151", " mA"),
    ("00180050", " mm"),
    ("00180081", " ms TE"),
    ("00180080", " ms TR"),
)


def fitted(picture: Image.Image, viewport: Viewport, aspect: float) -> Image.Image:
    """Cut, flip and scale a picture so that it fits the viewport and is shown undistorted (PS3.18 8.3.5.1.3).

    Args:
        picture: all of the image, in its own pixels.
        viewport: what is asked for.
        aspect: how many times as high as wide a pixel is.

    Raises:
        RequestError: the region is not inside the image, or the picture would be too large.
    """
    shown = _flipped(_cut(picture, viewport), viewport)
    width, height = shown.width * max(1 / aspect, 1.0), shown.height * max(aspect, 1.0)
    limits = (viewport.width, width), (viewport.height, height)
    scale = min((limit / size for limit, size in limits if limit is not None), default=1.0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size[0] * size[1] > LARGEST_PICTURE:
        raise RequestError(f"the picture would have more than {LARGEST_PICTURE} pixels: ask for a smaller viewport")
    if size == shown.size:
        return shown
    shrinks = size[0] < shown.width or size[1] < shown.height
    return shown.resize(size, Image.Resampling.LANCZOS if shrinks else Image.Resampling.BILINEAR)


def _cut(picture: Image.Image, viewport: Viewport) -> Image.Image:
    width = picture.width - viewport.left if viewport.region_width is None else abs(viewport.region_width)
    height = picture.height - viewport.top if viewport.region_height is None else abs(viewport.region_height)
    box = (
        max(0, round(viewport.left)),
        max(0, round(viewport.top)),
        min(picture.width, round(viewport.left + width)),
        min(picture.height, round(viewport.top + height)),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise RequestError("the viewport shows no part of the image")
    return picture if box == (0, 0, *picture.size) else picture.crop(box)


def _flipped(picture: Image.Image, viewport: Viewport) -> Image.Image:
    if (viewport.region_width or 0) < 0:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if (viewport.region_height or 0) < 0:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return picture


def aspect_of(attributes: FrameAttributes) -> float:
    """Return how many times as high as wide a pixel is (PS3.3 10.7.1.3, C.7.6.3.1.7)."""
    for key in ("00280030", "00181164", "00182010", "00280034"):
        vertical, horizontal = attributes.number(key), attributes.number(key, 1)
        if vertical and horizontal and vertical > 0 and horizontal > 0:
            ratio = vertical / horizontal
            # What is this far off is no pixel but a slip of its writer.
            return ratio if 0.05 <= ratio <= 20 else 1.0
    return 1.0


def annotate(picture: Image.Image, attributes: FrameAttributes, wanted: frozenset[str]) -> None:
    """Burn in who the patient is, at the top, and how the image was made, at the bottom (PS3.18 8.3.5.1.1)."""
    size = max(10, picture.height // 40)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size)
    if "patient" in wanted:
        lines = [text for key in _PATIENT if (text := attributes.text(key).replace("^", " ").strip())]
        _write(draw, lines, font, (size // 2, size // 2), "la")
    if "technique" in wanted:
        lines = [text + unit for key, unit in _TECHNIQUE if (text := attributes.text(key))]
        _write(draw, lines, font, (size // 2, picture.height - size // 2), "ld")


def _write(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    place: tuple[int, int],
    anchor: str,
) -> None:
    ink, edge = (255, 0) if draw.im.mode == "L" else ((255, 255, 255), (0, 0, 0))
    draw.multiline_text(place, "\n".join(lines), ink, font, anchor, stroke_width=1, stroke_fill=edge)


def encoded(pictures: Sequence[Image.Image], rendering: Rendering, icc: bytes, milliseconds: float) -> bytes:
    """Encode pictures, of which only GIF takes more than the first (PS3.18 8.7.4).

    Args:
        pictures: of one size.
        rendering: media type and quality.
        icc: the ICC profile to embed; empty for none.
        milliseconds: how long each picture of an animation is shown.
    """
    out = BytesIO()
    first = pictures[0]
    profile = icc or None
    if rendering.media_type == JPEG:
        first.save(out, "JPEG", quality=rendering.quality, icc_profile=profile)
    elif rendering.media_type == PNG:
        first.save(out, "PNG", icc_profile=profile)
    elif rendering.media_type == JP2:
        # 25 to 60 dB: what can just be borne, and what nobody can tell from the original.
        first.save(out, "JPEG2000", quality_mode="dB", quality_layers=[25 + rendering.quality * 0.35])
    elif rendering.media_type == GIF:
        duration = max(_FASTEST, round(milliseconds))
        first.save(out, "GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0)
    else:
        raise RequestError(f"nothing is rendered as {rendering.media_type}")
    return out.getvalue()
