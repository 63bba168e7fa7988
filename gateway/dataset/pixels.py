"""Frames -> arrays of pixels, from every codec that we have (PS3.5 section 8 and Annex A.4).

Imports numpy and imagecodecs: for worker processes, not for the one that serves. A codestream made to do harm can
still end such a process, or keep it busy, in the HTJ2K decoder: whoever hands it work has to allow for both.
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from gateway.dataset import transfer_syntax as ts
from gateway.dataset.codestreams import NATIVE
from gateway.dataset.image import DOUBLE_FLOAT_PIXEL_DATA, YBR_FULL, YBR_FULL_422, ImageDescription
from gateway.dataset.markers import codestream_header
from gateway.errors import DatasetError, LimitExceeded

Pixels: TypeAlias = NDArray[Any]
"""Rows by columns, or rows by columns by samples."""

LARGEST_FRAME: Final = 1 << 30
"""Bytes that one frame may have when decoded."""

RAW: Final = frozenset({*NATIVE, ts.ENCAPSULATED_UNCOMPRESSED})
"""Transfer Syntaxes whose frames are pixels as they are."""

TRANSFORMED: Final = frozenset({"YBR_RCT", "YBR_ICT"})
"""Colour transformations that a codec takes back by itself (PS3.5 8.2.4)."""

_JPEG_COLOURS: Final = frozenset({ts.JPEG_BASELINE, ts.JPEG_EXTENDED})
_WAVELETS: Final = frozenset({ts.JPEG_2000_LOSSLESS, ts.JPEG_2000, ts.HTJ2K_LOSSLESS, ts.HTJ2K_LOSSLESS_RPCL, ts.HTJ2K})
_JPEG_LOSSLESS: Final = frozenset({ts.JPEG_LOSSLESS, ts.JPEG_LOSSLESS_SV1})
_HAS_HEADER: Final = _JPEG_COLOURS | _JPEG_LOSSLESS | _WAVELETS | {ts.JPEG_LS_LOSSLESS, ts.JPEG_LS_NEAR_LOSSLESS}
_END_OF_IMAGE: Final = b"\xff\xd9"
_RGB_IDS: Final = ((82, 71, 66), (114, 103, 98))
# What the codecs raise on a damaged codestream: their own errors are all RuntimeErrors.
CODEC_ERRORS: Final = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError, zlib.error)


def decoded(description: ImageDescription) -> ImageDescription:
    """Describe what ``decode_frame`` makes of such an image: native, little endian, colour by pixel."""
    interpretation = description.photometric_interpretation
    uid = description.transfer_syntax_uid
    if description.samples_per_pixel == 3:
        if uid in _JPEG_COLOURS or interpretation in TRANSFORMED:
            interpretation = "RGB"
        elif interpretation == YBR_FULL_422:
            interpretation = YBR_FULL
    return replace(
        description,
        transfer_syntax_uid=ts.EXPLICIT_VR_LE,
        photometric_interpretation=interpretation,
        planar_configuration=0,
        vr=description.vr if description.is_float else "OB" if description.bits_allocated <= 8 else "OW",
    )


def decode_frame(codestream: bytes, description: ImageDescription) -> Pixels:
    """Decode one frame, given as ``FrameIndex.frame`` gives it (PS3.5 8.2).

    Returns:
        Rows by columns (by samples), as ``decoded`` describes it. Bit-packed pixels become bytes of 0 and 1.

    Raises:
        DatasetError: the codestream is damaged, does not fit its description or is in no codec of ours.
        LimitExceeded: the frame would be larger than ``LARGEST_FRAME``.
    """
    _check(codestream, description)
    try:
        pixels = _decoder(description.transfer_syntax_uid)(codestream, description)
    except CODEC_ERRORS as error:
        raise DatasetError(f"a frame cannot be decoded ({type(error).__name__})") from None
    if pixels.shape != _shape(description):
        raise DatasetError(f"a frame decodes to {pixels.shape}, which is not what the Data Set says")
    return pixels


def _check(codestream: bytes, description: ImageDescription) -> None:
    """Refuse a frame of another size than described before memory is spent on it."""
    size = description.rows * description.columns * description.samples_per_pixel * max(8, description.bits_allocated)
    if size > 8 * LARGEST_FRAME:
        raise LimitExceeded(f"a frame has more than {LARGEST_FRAME} bytes", limit="largest_frame")
    if not size:
        raise DatasetError("the image has no Rows or no Columns")
    if description.transfer_syntax_uid in _HAS_HEADER:
        header = codestream_header(codestream)
        if header is None:
            raise DatasetError("a frame is no codestream of its Transfer Syntax")
        said = description.rows, description.columns, description.samples_per_pixel
        if (header.rows, header.columns, header.components) != said:
            raise DatasetError("a frame has another size than the Data Set says")


def _shape(description: ImageDescription) -> tuple[int, ...]:
    plane = description.rows, description.columns
    return plane if description.samples_per_pixel == 1 else (*plane, description.samples_per_pixel)


def container(description: ImageDescription) -> np.dtype[Any]:
    """Return the type of number that holds one sample.

    Raises:
        DatasetError: there is none of that size.
    """
    if description.is_float:
        return np.dtype("<f8" if description.element == DOUBLE_FLOAT_PIXEL_DATA else "<f4")
    if description.bits_allocated not in {1, 8, 16, 32, 64}:
        raise DatasetError(f"pixels of {description.bits_allocated} Bits Allocated cannot be decoded")
    return np.dtype(f"<{'i' if description.signed else 'u'}{(description.bits_allocated + 7) // 8}")


# --- native and lossless byte codecs


def _native(codestream: bytes, description: ImageDescription) -> Pixels:
    count = description.samples_per_frame
    if description.bits_allocated == 1:
        bits = np.frombuffer(codestream, np.uint8, (count + 7) // 8)
        return np.unpackbits(bits, count=count, bitorder="little").reshape(_shape(description))
    samples = np.frombuffer(codestream, container(description), count)
    if description.samples_per_pixel == 1:
        return samples.reshape(_shape(description))
    if description.photometric_interpretation == YBR_FULL_422:
        return _upsampled(samples.reshape(description.rows, description.columns // 2, 4))
    if description.planar_configuration == 1:
        planes = samples.reshape(description.samples_per_pixel, description.rows, description.columns)
        return np.moveaxis(planes, 0, -1)
    return samples.reshape(_shape(description))


def _upsampled(pairs: Pixels) -> Pixels:
    """Give both pixels of each Y Y Cb Cr their chrominance (PS3.3 C.7.6.3.1.2)."""
    rows, half, _ = pairs.shape
    out = np.empty((rows, half, 2, 3), pairs.dtype)
    out[..., 0] = pairs[..., :2]
    out[..., 1:] = pairs[..., None, 2:]
    return out.reshape(rows, 2 * half, 3)


def _rle(codestream: bytes, description: ImageDescription) -> Pixels:
    """Decode RLE: planes of samples, whatever Planar Configuration says (PS3.5 Annex G)."""
    data = imagecodecs.dicomrle_decode(codestream, dtype=container(description))
    samples = np.frombuffer(data, container(description))
    planes = samples.reshape(description.samples_per_pixel, description.rows, description.columns)
    return planes[0] if description.samples_per_pixel == 1 else np.moveaxis(planes, 0, -1)


def _deflated(codestream: bytes, description: ImageDescription) -> Pixels:
    """Decode Deflated Image Frame Compression (PS3.5 A.4.13)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    return _native(inflater.decompress(codestream, description.frame_bytes), description)


# --- image codecs


def _jpeg(codestream: bytes, description: ImageDescription) -> Pixels:
    """Decode lossy JPEG; colour leaves as RGB, read by the codestream where the Data Set contradicts it."""
    if description.samples_per_pixel != 3:
        return _fitted(imagecodecs.jpeg8_decode(codestream), description)
    header = codestream_header(codestream)
    ids, jfif = (header.component_ids, header.jfif) if header else ((), False)
    is_rgb = ids in _RGB_IDS or (description.photometric_interpretation == "RGB" and not jfif)
    space = "RGB" if is_rgb else "YCBCR"
    return _fitted(imagecodecs.jpeg8_decode(codestream, colorspace=space, outcolorspace="RGB"), description)


def _jpeg_lossless(codestream: bytes, description: ImageDescription) -> Pixels:
    # One and the same space in and out: whatever the codestream is marked as, nothing is to be converted.
    space = "RGB" if description.samples_per_pixel == 3 else None
    return _fitted(imagecodecs.jpeg8_decode(codestream, colorspace=space, outcolorspace=space), description)


def _jpeg_ls(codestream: bytes, description: ImageDescription) -> Pixels:
    # Without an end to run into, CharLS looks for one for many seconds in a codestream that was cut short.
    return _fitted(imagecodecs.jpegls_decode(codestream + _END_OF_IMAGE), description)


def _jpeg_2000(codestream: bytes, description: ImageDescription) -> Pixels:
    return _fitted(imagecodecs.jpeg2k_decode(codestream, numthreads=1), description)


def _htj2k(codestream: bytes, description: ImageDescription) -> Pixels:
    with _nothing_ignored():
        return _fitted(imagecodecs.htj2k_decode(codestream, planar=False), description)


@contextmanager
def _nothing_ignored() -> Iterator[None]:
    """Raise what a codec can only complain of: the HTJ2K decoder leaves the rest of a damaged frame as it finds it."""
    ignored: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda problem: ignored.append(problem.exc_type)
    try:
        yield
    finally:
        sys.unraisablehook = hook
    if ignored:
        raise RuntimeError("the codec went on after an error")


def _jpeg_xl(codestream: bytes, description: ImageDescription) -> Pixels:
    return _fitted(imagecodecs.jpegxl_decode(codestream), description)


_DECODERS: Final[Mapping[str, Callable[[bytes, ImageDescription], Pixels]]] = {
    **dict.fromkeys(RAW, _native),
    ts.DEFLATED_IMAGE_FRAME: _deflated,
    ts.RLE_LOSSLESS: _rle,
    **dict.fromkeys(_JPEG_COLOURS, _jpeg),
    **dict.fromkeys(_JPEG_LOSSLESS, _jpeg_lossless),
    **dict.fromkeys((ts.JPEG_LS_LOSSLESS, ts.JPEG_LS_NEAR_LOSSLESS), _jpeg_ls),
    **dict.fromkeys((ts.JPEG_2000_LOSSLESS, ts.JPEG_2000), _jpeg_2000),
    **dict.fromkeys((ts.HTJ2K_LOSSLESS, ts.HTJ2K_LOSSLESS_RPCL, ts.HTJ2K), _htj2k),
    **dict.fromkeys((ts.JPEG_XL_LOSSLESS, ts.JPEG_XL_RECOMPRESSION, ts.JPEG_XL), _jpeg_xl),
}


def _decoder(uid: str) -> Callable[[bytes, ImageDescription], Pixels]:
    decoder = _DECODERS.get(uid)
    if decoder is None:
        raise DatasetError(f"frames in {ts.transfer_syntax(uid).name} cannot be decoded")
    return decoder


def _fitted(pixels: Pixels, description: ImageDescription) -> Pixels:
    """Put what a codec made into the container that the Data Set describes, with its sign.

    Codestreams know their sign or not, and some are wrong about it: (0028,0103) decides.
    """
    target = container(description)
    if pixels.dtype.kind == "f":
        raise DatasetError("a frame has floating point pixels")
    if not description.signed or pixels.dtype.kind == "i":
        return pixels.astype(target, copy=False)
    unused = 8 * target.itemsize - description.bits_stored
    wide = pixels.astype(f"u{target.itemsize}", copy=False)
    return (wide << unused).view(target) >> unused if unused > 0 else wide.view(target)


def rgb_of_ybr(pixels: Pixels) -> Pixels:
    """Return 8-bit YBR_FULL as RGB (PS3.3 C.7.6.3.1.2)."""
    luminance = pixels[..., 0].astype(np.float32)
    blue = pixels[..., 1].astype(np.float32) - 128
    red = pixels[..., 2].astype(np.float32) - 128
    planes = luminance + 1.402 * red, luminance - 0.344136 * blue - 0.714136 * red, luminance + 1.772 * blue
    return np.stack([np.clip(plane + 0.5, 0, 255) for plane in planes], -1).astype(np.uint8)
