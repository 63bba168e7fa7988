"""What a rendered image should look like, made with pydicom's look-up tables and Pillow."""

from typing import Any, TypeAlias

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing

from gateway.dataset import transfer_syntax as ts
from gateway.dataset.frames import frame_index
from gateway.dataset.spans import inflated, reader_of
from tests.dataset.images import dataset_of, pixels_of

Pixels: TypeAlias = np.ndarray[Any, Any]


def expected(dataset: pydicom.Dataset, pixels: Pixels) -> Pixels:
    """Make the picture with pydicom: Modality LUT, VOI LUT or the range of values, and the polarity."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        bits = dataset.RedPaletteColorLookupTableDescriptor[2]
        colours: Pixels = np.asarray(apply_color_lut(pixels, dataset)) // (256 if bits == 16 else 1)
        return colours
    if pixels.ndim == 3:
        eight: Pixels = pixels >> max(0, dataset.BitsStored - 8)
        return eight
    values = apply_modality_lut(pixels, dataset).astype(np.float64)
    width = dataset.get("WindowWidth")
    first = width[0] if isinstance(width, pydicom.multival.MultiValue) else width
    if "VOILUTSequence" in dataset or (first and first > 1):
        shown = apply_voi_lut(values, dataset)
        low, high = _output(dataset, values)
    else:
        shown, low, high = values, values.min(), values.max()
    grey = np.full(shown.shape, 128.0) if low == high else (shown - low) / (high - low) * 255
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def _output(dataset: pydicom.Dataset, values: Pixels) -> tuple[float, float]:
    """Tell what black and white are in the units that pydicom's window gives."""
    extremes = apply_windowing(np.array([[-1e9, 1e9]]), dataset)
    return float(extremes.min()), float(extremes.max())


def assert_shows(picture: Image.Image, data: bytes, uid: str) -> None:
    """The picture is that of the representative frame of a Data Set, to a shade or what a lossy decoder rounds."""
    pixels = pixels_of(data, uid)
    plain = ts.EXPLICIT_VR_LE if ts.transfer_syntax(uid).deflated else uid
    index = frame_index(inflated(reader_of(data), uid), plain)
    theirs = expected(dataset_of(data, uid), pixels[index.representative - 1] if index.number_of_frames > 1 else pixels)
    ours = np.asarray(picture).astype(np.float64)
    if ours.shape == theirs.shape:
        assert np.abs(ours - theirs).mean() <= 1
        assert np.abs(ours - theirs).max() <= (8 if ts.transfer_syntax(uid).lossy else 1)
    else:  # pixels that are not square are shown as they should look
        theirs = np.asarray(Image.fromarray((theirs + 0.5).astype("u1")).resize(picture.size, Image.Resampling.LANCZOS))
        assert np.abs(ours - theirs).mean() <= 2
