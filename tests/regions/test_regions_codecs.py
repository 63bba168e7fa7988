"""The province's encoders, against decoders of other making where there are any."""

import struct

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder  # type: ignore[attr-defined]  # documented as public, not exported
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from regions.codecs import encode, photometric_interpretation

DECODERS = {
    JPEGLosslessSV1: imagecodecs.jpeg8_decode,
    JPEGLSLossless: imagecodecs.jpegls_decode,
    JPEGLSNearLossless: imagecodecs.jpegls_decode,
    JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    JPEG2000: imagecodecs.jpeg2k_decode,
    HTJ2KLossless: imagecodecs.htj2k_decode,
    HTJ2K: imagecodecs.htj2k_decode,
}


def picture(frames: int = 1) -> list[np.ndarray]:
    y, x = np.mgrid[:61, :83]
    rng = np.random.default_rng(5)
    return [(1500 + 9 * x + 7 * y + 100 * n + rng.integers(0, 40, (61, 83))).astype(np.uint16) for n in range(frames)]


def dataset_of(value: bytes, transfer_syntax: UID, frames: int, bits: int, samples: int = 1) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 61, 83, samples
    dataset.PhotometricInterpretation = photometric_interpretation(transfer_syntax, samples)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 if bits == 8 else 16, bits, bits - 1
    dataset.PixelRepresentation, dataset.NumberOfFrames = 0, frames
    if samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = value
    dataset["PixelData"].VR = "OB" if transfer_syntax.is_compressed or bits == 8 else "OW"
    return dataset


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless])
def test_lossless_syntaxes_lose_nothing(syntax: UID) -> None:
    frames = picture(2)
    pixels = encode(frames, syntax, 12)
    decoded = [DECODERS[syntax](frame) for frame in generate_frames(pixels.value, number_of_frames=2)]
    assert np.array_equal(decoded, frames)


@pytest.mark.parametrize("syntax", [JPEG2000, HTJ2K, JPEGLSNearLossless])
def test_lossy_syntaxes_stay_near(syntax: UID) -> None:
    frame = picture()[0]
    pixels = encode([frame], syntax, 12)
    decoded = DECODERS[syntax](next(generate_frames(pixels.value, number_of_frames=1)))
    difference = np.abs(decoded.astype(int) - frame)
    assert 0 < difference.max() < 64


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_pydicom_decodes_what_we_encode(syntax: UID) -> None:
    assert get_decoder(syntax).is_available
    frames = picture(3)
    pixels = encode(frames, syntax, 12)
    assert np.array_equal(dataset_of(pixels.value, syntax, 3, 12).pixel_array, frames)


def test_colour_is_kept_by_rle_and_nearly_by_jpeg() -> None:
    grey = (picture()[0] >> 4).astype(np.uint8)
    colour = np.stack([grey, 255 - grey, grey // 2], axis=2)
    exact = encode([colour], RLELossless, 8)
    assert np.array_equal(dataset_of(exact.value, RLELossless, 1, 8, 3).pixel_array, colour)
    near = encode([colour], JPEGBaseline8Bit, 8)
    decoded = imagecodecs.jpeg8_decode(next(generate_frames(near.value, number_of_frames=1)))
    assert np.abs(decoded.astype(int) - colour).mean() < 12


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_value_is_little_endian_whatever_is_stored(syntax: UID) -> None:
    frame = picture()[0]
    pixels = encode([frame], syntax, 12)
    assert pixels.value == frame.astype("<u2").tobytes()
    stored = np.frombuffer(
        pixels.element[8 if syntax == ImplicitVRLittleEndian else 12 :],
        ">u2" if syntax == ExplicitVRBigEndian else "<u2",
    )
    assert np.array_equal(stored.reshape(frame.shape), frame)


def test_odd_number_of_bytes_is_padded() -> None:
    frame = np.ones((3, 3), np.uint8)
    pixels = encode([frame], ExplicitVRLittleEndian, 8)
    assert pixels.value == bytes([1] * 9 + [0])
    assert pixels.element[:12] == struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OB", 10)
