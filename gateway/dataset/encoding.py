"""Arrays of pixels -> frames, and frames of one codec -> frames of another (PS3.5 section 8 and Annex A.4).

Imports numpy and imagecodecs: for worker processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import imagecodecs
import numpy as np

from gateway.dataset import transfer_syntax as ts
from gateway.dataset.codestreams import can_become
from gateway.dataset.image import YBR_FULL, YBR_FULL_422, ImageDescription
from gateway.dataset.markers import without_spiff
from gateway.dataset.pixels import CODEC_ERRORS, RAW, TRANSFORMED, Pixels, container, decode_frame, decoded, rgb_of_ybr
from gateway.errors import NotAcceptable

_ANY_PLANES: Final = RAW | {ts.RLE_LOSSLESS}
_WAVELETS: Final = frozenset({ts.JPEG_2000_LOSSLESS, ts.HTJ2K_LOSSLESS})
_QUALITY: Final = 90
"""Of JPEG Baseline, from 1 to 100."""


def encode_frame(pixels: Pixels, description: ImageDescription) -> bytes:
    """Encode one frame in the Transfer Syntax that the description names, of pixels as ``decode_frame`` returns them.

    Args:
        pixels: rows by columns (by samples); RGB where a lossy codec has its own colour space.
        description: as ``encoded`` gives it.

    Raises:
        NotAcceptable: the Transfer Syntax has no room for such pixels, or we have no encoder for it.
    """
    encoder = _ENCODERS.get(description.transfer_syntax_uid)
    if encoder is None:
        raise NotAcceptable(f"nothing can be encoded as {ts.transfer_syntax(description.transfer_syntax_uid).name}")
    try:
        return encoder(pixels, description)
    except CODEC_ERRORS as error:
        raise NotAcceptable(f"a frame cannot be encoded ({type(error).__name__})") from None


def encoded(description: ImageDescription, target_uid: str) -> ImageDescription:
    """Describe an image once it is re-encoded in a Transfer Syntax (PS3.5 8.2).

    Raises:
        NotAcceptable: it cannot be.
    """
    if not can_become(description, description.transfer_syntax_uid, target_uid):
        raise NotAcceptable(f"the image cannot be re-encoded as {ts.transfer_syntax(target_uid).name}")
    if description.transfer_syntax_uid in RAW and target_uid in RAW:
        return replace(description, transfer_syntax_uid=target_uid)
    plain = decoded(description)
    interpretation = plain.photometric_interpretation
    if plain.samples_per_pixel == 3 and interpretation == "RGB" and target_uid in _WAVELETS:
        interpretation = "YBR_RCT"
    elif plain.samples_per_pixel == 3 and target_uid == ts.JPEG_BASELINE:
        interpretation = YBR_FULL_422
    return replace(
        plain,
        transfer_syntax_uid=target_uid,
        photometric_interpretation=interpretation,
        planar_configuration=description.planar_configuration if target_uid in _ANY_PLANES else 0,
        vr="OB" if ts.transfer_syntax(target_uid).encapsulated else plain.vr,
    )


def reencode(codestream: bytes, description: ImageDescription, target_uid: str) -> bytes:
    """Return one frame in another Transfer Syntax (PS3.18 8.7.3), without loss unless a lossy one is named.

    Raises:
        DatasetError: the codestream is damaged.
        NotAcceptable: it cannot be.
        LimitExceeded: the frame is too large.
    """
    target = encoded(description, target_uid)
    if description.transfer_syntax_uid == target_uid or {description.transfer_syntax_uid, target_uid} <= RAW:
        return codestream
    pixels = decode_frame(codestream, description)
    if target_uid == ts.JPEG_BASELINE and decoded(description).photometric_interpretation == YBR_FULL:
        pixels = rgb_of_ybr(pixels)
    return encode_frame(pixels, target)


def _to_native(pixels: Pixels, description: ImageDescription) -> bytes:
    if description.bits_allocated == 1:
        return np.packbits(pixels, bitorder="little").tobytes()
    if pixels.ndim == 3 and description.planar_configuration == 1:
        pixels = np.moveaxis(pixels, -1, 0)
    return pixels.astype(container(description), copy=False).tobytes()


def _to_rle(pixels: Pixels, _description: ImageDescription) -> bytes:
    """Encode a segment per byte of each sample, most significant first, row by row (PS3.5 Annex G)."""
    samples = pixels[..., None] if pixels.ndim == 2 else pixels
    segments = []
    for sample in np.moveaxis(samples, -1, 0):
        plane = np.ascontiguousarray(sample)
        octets = plane.view(np.uint8).reshape(*plane.shape, plane.itemsize)
        for place in reversed(range(plane.itemsize)):
            segment = b"".join([imagecodecs.packbits_encode(row.tobytes()) for row in octets[..., place]])
            segments.append(segment + bytes(len(segment) % 2))
    if len(segments) > 15:
        raise NotAcceptable("RLE has no room for so many bytes per pixel")
    header = [len(segments), *(64 + sum(map(len, segments[:number])) for number in range(len(segments)))]
    return np.array(header + [0] * (16 - len(header)), "<u4").tobytes() + b"".join(segments)


def _bits(pixels: Pixels, description: ImageDescription) -> int:
    """Return the precision to encode with: Bits Stored, unless old overlays or a sign need all that is allocated."""
    stored = description.bits_stored
    if description.signed or not 2 <= stored <= description.bits_allocated or int(pixels.max()) >> stored:
        return description.bits_allocated
    return stored


def _unsigned(pixels: Pixels) -> Pixels:
    """Return the same bits without a sign, for codecs that know none: (0028,0103) keeps it (PS3.5 8.2.1)."""
    plain = np.ascontiguousarray(pixels)
    return plain.view(f"u{plain.itemsize}") if plain.dtype.kind == "i" else plain


def _to_jpeg_lossless(pixels: Pixels, description: ImageDescription) -> bytes:
    plain = _unsigned(pixels)
    # Nothing is transformed, but a codestream is marked as RGB or not at all: some decoders go by that.
    space = "UNKNOWN" if description.photometric_interpretation == YBR_FULL else None
    bits = _bits(plain, description)
    return bytes(
        imagecodecs.jpeg8_encode(
            plain, lossless=True, predictor=1, bitspersample=bits, colorspace=space, outcolorspace=space
        )
    )


def _to_jpeg_ls(pixels: Pixels, _description: ImageDescription) -> bytes:
    return without_spiff(bytes(imagecodecs.jpegls_encode(_unsigned(pixels))))


def _to_jpeg_2000(pixels: Pixels, description: ImageDescription) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(pixels),
            codecformat="J2K",
            reversible=True,
            mct=description.photometric_interpretation in TRANSFORMED,
            bitspersample=_bits(pixels, description),
            numthreads=1,
        )
    )


def _to_htj2k(pixels: Pixels, description: ImageDescription) -> bytes:
    if pixels.ndim == 3 and description.photometric_interpretation not in TRANSFORMED:
        planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        return bytes(imagecodecs.htj2k_encode(planes, reversible=True, rgb=False, planar=True))
    return bytes(imagecodecs.htj2k_encode(np.ascontiguousarray(pixels), reversible=True))


def _to_jpeg_baseline(pixels: Pixels, _description: ImageDescription) -> bytes:
    if pixels.dtype != np.uint8:
        raise NotAcceptable("JPEG Baseline has room for unsigned 8-bit pixels only")
    plain = np.ascontiguousarray(pixels)
    if pixels.ndim == 2:
        return bytes(imagecodecs.jpeg8_encode(plain, level=_QUALITY))
    return bytes(
        imagecodecs.jpeg8_encode(plain, level=_QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling="422")
    )


_ENCODERS: Final[Mapping[str, Callable[[Pixels, ImageDescription], bytes]]] = {
    **dict.fromkeys((ts.EXPLICIT_VR_LE, ts.DEFLATED_EXPLICIT_VR_LE), _to_native),
    ts.RLE_LOSSLESS: _to_rle,
    ts.JPEG_LOSSLESS_SV1: _to_jpeg_lossless,
    ts.JPEG_LS_LOSSLESS: _to_jpeg_ls,
    ts.JPEG_2000_LOSSLESS: _to_jpeg_2000,
    ts.HTJ2K_LOSSLESS: _to_htj2k,
    ts.JPEG_BASELINE: _to_jpeg_baseline,
}
