"""Pixel Data in the transfer syntaxes of the province (PS3.5 Annex A), encoded by imagecodecs."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

Frame: TypeAlias = NDArray[np.unsignedinteger[Any]] | NDArray[np.signedinteger[Any]]
"""Rows by columns, or rows by columns by three samples."""

LOSSY_METHOD: Final[Mapping[UID, str]] = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}
"""Lossy Image Compression Method (0028,2114) per transfer syntax."""


@dataclass(frozen=True, slots=True)
class PixelData:
    """One Pixel Data element.

    Attributes:
        element: tag, VR, length and value as they stand in the file.
        value: what ``pydicom.Dataset.PixelData`` gives for it, native values in little endian.
    """

    element: bytes
    value: bytes


def _rle(frame: Frame, _bits: int) -> bytes:
    """One RLE frame (PS3.5 Annex G): a segment per byte plane, most significant first."""
    samples = frame[..., None] if frame.ndim == 2 else frame
    segments = []
    for sample in range(samples.shape[2]):
        plane = np.ascontiguousarray(samples[..., sample])
        octets = plane.view(np.uint8).reshape(*plane.shape, plane.itemsize)
        for place in reversed(range(plane.itemsize)):
            segment = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in octets[..., place])
            segments.append(segment + bytes(len(segment) % 2))
    offsets = [64 + sum(map(len, segments[:n])) for n in range(len(segments))]
    return struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def _jpeg_baseline(frame: Frame, _bits: int) -> bytes:
    if frame.ndim == 3:
        return bytes(imagecodecs.jpeg8_encode(frame, level=80, subsampling="422"))
    return bytes(imagecodecs.jpeg8_encode(frame, level=75))


_ENCODERS: Final[Mapping[UID, Callable[[Frame, int], bytes | bytearray]]] = {
    RLELossless: _rle,
    JPEGBaseline8Bit: _jpeg_baseline,
    JPEGLosslessSV1: lambda frame, bits: imagecodecs.jpeg8_encode(
        frame, lossless=True, predictor=1, bitspersample=bits
    ),
    JPEGLSLossless: lambda frame, _bits: imagecodecs.jpegls_encode(frame),
    JPEGLSNearLossless: lambda frame, _bits: imagecodecs.jpegls_encode(frame, level=2),
    JPEG2000Lossless: lambda frame, bits: imagecodecs.jpeg2k_encode(
        frame, codecformat="J2K", reversible=True, bitspersample=bits, numthreads=1
    ),
    JPEG2000: lambda frame, bits: imagecodecs.jpeg2k_encode(
        frame, level=60, codecformat="J2K", reversible=False, bitspersample=bits, numthreads=1
    ),
    HTJ2KLossless: lambda frame, _bits: imagecodecs.htj2k_encode(frame, reversible=True),
    HTJ2K: lambda frame, _bits: imagecodecs.htj2k_encode(frame, level=0.0002, reversible=False),
}


def photometric_interpretation(transfer_syntax: UID, samples: int) -> str:
    """Photometric Interpretation (0028,0004) that the encoder leaves behind (PS3.5 8.2)."""
    if samples == 1:
        return "MONOCHROME2"
    return "YBR_FULL_422" if transfer_syntax == JPEGBaseline8Bit else "RGB"


def encode(frames: Sequence[Frame], transfer_syntax: UID, bits_stored: int) -> PixelData:
    """Encode frames as one Pixel Data element of the transfer syntax."""
    encoder = _ENCODERS.get(transfer_syntax)
    if encoder is None:
        return _native(frames, transfer_syntax)
    value = encapsulate([bytes(encoder(frame, bits_stored)) for frame in frames], has_bot=len(frames) > 1)
    element = struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + value
    return PixelData(element + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), value)


def _native(frames: Sequence[Frame], transfer_syntax: UID) -> PixelData:
    """Uncompressed values, padded to an even length."""
    value = b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames)
    value += bytes(len(value) % 2)
    wide = frames[0].itemsize == 2
    vr = b"OW" if wide else b"OB"
    if transfer_syntax == ImplicitVRLittleEndian:
        return PixelData(struct.pack("<HHL", 0x7FE0, 0x0010, len(value)) + value, value)
    if transfer_syntax == ExplicitVRBigEndian:
        swapped = np.frombuffer(value, np.uint16).byteswap().tobytes() if wide else value
        return PixelData(struct.pack(">HH2s2xL", 0x7FE0, 0x0010, vr, len(value)) + swapped, value)
    return PixelData(struct.pack("<HH2s2xL", 0x7FE0, 0x0010, vr, len(value)) + value, value)
