"""Rendered images: what a person sees, compared with pydicom's look-up tables and Pillow."""

import io
from base64 import b64encode
from contextlib import suppress
from struct import pack
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from gateway.dataset import jobs
from gateway.dataset import transfer_syntax as ts
from gateway.dataset.attributes import FrameAttributes
from gateway.dataset.colour_profiles import profile
from gateway.dataset.frames import frame_index
from gateway.dataset.lookup import coloured
from gateway.dataset.rendering import render
from gateway.dataset.rendition import GIF, JP2, JPEG, PNG, Rendering, Viewport, Window
from gateway.dataset.spans import inflated, inflated_uid, reader_of
from gateway.errors import DatasetError, LimitExceeded, RequestError
from tests.dataset.images import dataset_of, image, province, readable
from tests.dataset.oracle import Sample, encode
from tests.dataset.pictures import assert_shows

RAMP = np.add.outer(np.arange(40) * 11, np.arange(60) * 7).astype("u2")


def render_instance(data: bytes, uid: str, rendering: Rendering, frame: int | None = None) -> bytes:
    """Render a frame of an instance that is in memory; None renders all in a GIF, else the representative one."""
    read = inflated(reader_of(data), uid)
    index = frame_index(read, inflated_uid(uid))
    if index.description is None:
        raise DatasetError("the instance has no pixels")
    numbers = [frame or index.representative]
    if frame is None and rendering.media_type == GIF:
        numbers = [*range(1, index.number_of_frames + 1)]
    frames = [(number, index.frame(read, number)) for number in numbers]
    return render(read(0, index.before), index.description, frames, rendering)


def rendered(data: bytes, uid: str = ts.EXPLICIT_VR_LE, frame: int | None = None, **wanted: Any) -> Image.Image:
    wanted.setdefault("media_type", PNG)
    return Image.open(io.BytesIO(render_instance(data, uid, Rendering(**wanted), frame)))


def levels(data: bytes, uid: str = ts.EXPLICIT_VR_LE, frame: int | None = None, **wanted: Any) -> np.ndarray[Any, Any]:
    return np.asarray(rendered(data, uid, frame, **wanted)).astype(np.int64)


def assert_as_expected(data: bytes, uid: str) -> None:
    assert_shows(rendered(data, uid), data, uid)


@pytest.mark.parametrize("sample", readable(), ids=lambda s: s.name)
def test_file_is_rendered_as_pydicom_and_pillow_would(sample: Sample) -> None:
    assert_as_expected(sample.data, sample.transfer_syntax_uid)


def test_every_image_of_the_province_is_rendered_as_pydicom_would() -> None:
    made = [one for one in province() if frame_index(reader_of(one.data), one.transfer_syntax_uid).description]
    assert len(made) >= 20
    for one in made:
        assert_as_expected(one.data, one.transfer_syntax_uid)
        small = rendered(one.data, one.transfer_syntax_uid, media_type=JPEG, viewport=Viewport(128, 128))
        assert max(small.size) == 128


# --- windows


@pytest.mark.parametrize(
    ("window", "value", "shade"),
    [
        (Window(100, 50), 100, 130),
        (Window(100, 50), 75, 0),
        (Window(100, 50), 125, 255),
        (Window(100, 1), 99, 0),
        (Window(100, 1), 100, 255),
        (Window(100, 50, "linear-exact"), 100, 128),
        (Window(100, 50, "linear-exact"), 75, 0),
        (Window(100, 50, "linear-exact"), 125, 255),
        (Window(100, 0.5, "linear-exact"), 100, 128),
        (Window(100, 50, "sigmoid"), 100, 128),
        (Window(100, 50, "sigmoid"), 125, 225),
        (Window(100, 50, "sigmoid"), 75, 30),
    ],
)
def test_window_maps_values_as_its_function_says(window: Window, value: int, shade: int) -> None:
    # The whole range is there beside the value, so that nothing else decides.
    pixels = np.array([[value, 0], [4095, 100]], "u2")
    assert abs(levels(image(pixels), window=window)[0, 0] - shade) <= 1


@pytest.mark.parametrize("window", [Window(1, 0), Window(1, -5), Window(1, 0.5), Window(1, 0, "sigmoid")])
def test_window_that_is_none_is_the_callers_mistake(window: Window) -> None:
    with pytest.raises(RequestError):
        rendered(image(RAMP), window=window)


@pytest.mark.parametrize("width", [0, 1, -3])
def test_image_whose_own_window_is_none_is_not_black(width: int) -> None:
    picture = levels(image(RAMP, WindowCenter=0, WindowWidth=width))
    assert (picture.min(), picture.max()) == (0, 255)


@pytest.mark.parametrize("shade", [0, 1, 4095])
def test_image_of_one_value_is_shown_grey_and_not_divided_by_nothing(shade: int) -> None:
    assert set(levels(image(np.full((4, 4), shade, "u2"))).flat) == {128}


def test_first_of_several_windows_of_the_image_is_used_and_the_callers_comes_before_it() -> None:
    data = image(RAMP, WindowCenter=[100, 500], WindowWidth=[50, 5000])
    assert np.array_equal(levels(data), levels(data, window=Window(100, 50)))
    assert not np.array_equal(levels(data), levels(data, window=Window(500, 5000)))


def test_window_is_in_the_units_after_rescaling() -> None:
    plain = image(RAMP)
    rescaled = image(RAMP, RescaleSlope=2, RescaleIntercept=-1000)
    asked, plainly = Window(-600, 400, "linear-exact"), Window(200, 200, "linear-exact")
    assert np.array_equal(levels(rescaled, window=asked), levels(plain, window=plainly))


def test_negative_slope_and_monochrome1_turn_black_and_white_round() -> None:
    plain = levels(image(RAMP))
    assert np.abs(levels(image(RAMP, RescaleSlope=-1, RescaleIntercept=0)) - (255 - plain)).max() <= 1
    assert np.abs(levels(image(RAMP, PhotometricInterpretation="MONOCHROME1")) - (255 - plain)).max() <= 1


def test_padding_does_not_darken_the_rest() -> None:
    pixels = RAMP.astype("i2") + 100
    padded = pixels.copy()
    padded[:3], padded[3:5] = -2000, -1990
    data = image(padded, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    assert (levels(data)[5:].min(), levels(data)[5:].max()) == (0, 255)
    assert set(levels(data)[:5].flat) == {0}
    unsigned = image(padded, PixelPaddingValue=-2000)
    dataset = dataset_of(unsigned, ts.EXPLICIT_VR_LE)
    dataset["PixelPaddingValue"].VR = "US"
    dataset["PixelPaddingValue"]._value = 65536 - 2000
    odd = encode(dataset, ts.EXPLICIT_VR_LE)
    assert np.array_equal(levels(odd), levels(unsigned))


def lut(data: list[int], first: int, bits: int) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(data), first, bits]
    item.LUTData = pack(f"<{len(data)}H", *data)
    item["LUTData"].VR = "OW"
    return item


def test_voi_lut_of_the_image_is_used_and_clamped_at_both_ends() -> None:
    pixels = np.array([[0, 10, 11, 12, 13, 4000]], "u2")
    data = image(pixels, VOILUTSequence=[lut([0, 1023, 2047, 4095], 10, 12)], WindowCenter=1, WindowWidth=2)
    assert levels(data).tolist() == [[0, 0, 64, 127, 255, 255]]
    assert levels(data, window=Window(4000, 10))[0, 0] == 0


def test_modality_lut_comes_before_the_window() -> None:
    pixels = np.array([[0, 1, 2, 3]], "u2")
    data = image(pixels, ModalityLUTSequence=[lut([0, 100, 200, 1000], 0, 16)])
    assert levels(data).tolist() == [[0, 26, 51, 255]]


def test_bits_above_the_high_bit_are_not_shown() -> None:
    pixels = RAMP | 0x8000
    pixels[::2] = RAMP[::2]
    shown = levels(image(pixels, BitsStored=12, HighBit=11))
    assert np.array_equal(shown, levels(image(RAMP, BitsStored=12, HighBit=11)))


def test_float_pixels_are_shown_and_what_is_no_number_is_black() -> None:
    dataset = dataset_of(image(RAMP), ts.EXPLICIT_VR_LE)
    values = RAMP.astype("<f4") / 7
    values[20, 20], values[20, 21] = np.nan, np.inf
    del dataset.PixelData
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = values.tobytes()
    shown = levels(encode(dataset, ts.EXPLICIT_VR_LE))
    assert np.abs(shown[21:] - RAMP[21:] / RAMP.max() * 255).max() < 2
    assert shown[20, 20] == 0


def test_binary_segment_is_white_where_it_is_and_black_elsewhere_also_in_one_colour() -> None:
    bits = np.zeros((3, 5, 7), "u1")
    bits[1, 2, 3] = 1
    bits[2] = 1
    value = np.packbits(bits, bitorder="little").tobytes()
    segmentation = "1.2.840.10008.5.1.4.1.1.66.4"
    data = image(bits, 3, value=value, SOPClassUID=segmentation, BitsAllocated=1, BitsStored=1, HighBit=0)
    for number in (1, 2, 3):
        assert np.array_equal(levels(data, frame=number), bits[number - 1] * 255)


# --- functional groups


def group(**attributes: Any) -> pydicom.Dataset:
    item = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def test_functional_groups_of_the_frame_come_before_shared_ones_and_those_before_the_data_set() -> None:
    def window(center: float, width: float) -> list[pydicom.Dataset]:
        return [group(WindowCenter=center, WindowWidth=width)]

    values = [group(RescaleSlope=2, RescaleIntercept=-100)]
    own = [group(FrameVOILUTSequence=window(300, 100)), group()]
    shared = group(FrameVOILUTSequence=window(100, 50), PixelValueTransformationSequence=values)
    shared.PixelMeasuresSequence = [group(PixelSpacing=[2, 1])]
    data = image(
        np.stack([RAMP, RAMP]), 2, WindowCenter=9, WindowWidth=9, PerFrameFunctionalGroupsSequence=own,
        SharedFunctionalGroupsSequence=[shared],
    )  # fmt: skip
    scaled = image(RAMP, RescaleSlope=2, RescaleIntercept=-100, PixelSpacing=[2, 1])
    assert np.array_equal(levels(data, frame=1), levels(scaled, window=Window(300, 100)))
    assert np.array_equal(levels(data, frame=2), levels(scaled, window=Window(100, 50)))
    assert levels(data, frame=2).shape == (80, 60)


# --- colours


def palette(bits: int, entries: int = 256) -> dict[str, Any]:
    step = 257 if bits == 16 else 1
    tables = {
        "Red": np.arange(entries) % 256,
        "Green": 255 - np.arange(entries) % 256,
        "Blue": np.arange(entries) % 7 * 30,
    }
    out: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, table in tables.items():
        out[f"{colour}PaletteColorLookupTableDescriptor"] = [entries % 65536, 0, bits]
        out[f"{colour}PaletteColorLookupTableData"] = (table * step).astype("<u2" if bits == 16 else "u1").tobytes()
    return out


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_of_bytes_or_words_gives_its_colours(bits: int) -> None:
    pixels = np.arange(256, dtype="u1").reshape(16, 16)
    shown = levels(image(pixels, **palette(bits)))
    flat = pixels.astype(np.int64)
    assert np.array_equal(shown, np.stack([flat, 255 - flat, flat % 7 * 30], -1))


def test_segmented_palette_is_expanded() -> None:
    segments = [0, 2, 0, 257, 1, 4, 257 * 5, 2, 1, 0, 0, 0, 1, 257 * 9]
    row: dict[str, Any] = {}
    for descriptor, data in (("00281101", "00281221"), ("00281102", "00281222"), ("00281103", "00281223")):
        row[descriptor] = {"vr": "US", "Value": [9, 0, 16]}
        row[data] = {"vr": "OW", "InlineBinary": b64encode(pack(f"<{len(segments)}H", *segments)).decode()}
    shown = coloured(np.arange(9, dtype="u1").reshape(1, 9), FrameAttributes(row, 1))
    assert shown[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 9]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 65535), max_size=40), st.integers(0, 65535))
def test_segmented_palette_of_any_words_ends(segments: list[int], entries: int) -> None:
    row: dict[str, Any] = {}
    for descriptor, data in (("00281101", "00281221"), ("00281102", "00281222"), ("00281103", "00281223")):
        row[descriptor] = {"vr": "US", "Value": [entries, 0, 16]}
        row[data] = {"vr": "OW", "InlineBinary": b64encode(pack(f"<{len(segments)}H", *segments)).decode()}
    with suppress(DatasetError):
        assert coloured(np.zeros((2, 2), "u1"), FrameAttributes(row, 1)).shape == (2, 2, 3)


def test_palette_that_is_missing_is_a_fault_of_the_image() -> None:
    with pytest.raises(DatasetError):
        rendered(image(RAMP.astype("u1"), PhotometricInterpretation="PALETTE COLOR"))


def test_ybr_pixels_are_shown_as_rgb() -> None:
    red = np.full((4, 4, 3), (76, 85, 255), "u1")
    shown = levels(image(red, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(shown - [255, 0, 0]).max() <= 1


# --- viewport

COLOURS = np.zeros((20, 40, 3), "u1")
COLOURS[:10, :20], COLOURS[:10, 20:], COLOURS[10:, :20], COLOURS[10:, 20:] = (
    *((250, 0, 0), (0, 250, 0)),
    *((0, 0, 250), (250, 250, 250)),
)


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        (Viewport(), (40, 20)), (Viewport(20, 20), (20, 10)), (Viewport(400, 100), (200, 100)),
        (Viewport(height=5), (10, 5)), (Viewport(width=80), (80, 40)), (Viewport(100, 100, 0, 0, 20, 20), (100, 100)),
        (Viewport(10, 10, 10, 5), (10, 5)), (Viewport(left=30, top=15, region_width=99, region_height=99), (10, 5)),
    ],
)  # fmt: skip
def test_picture_fits_the_viewport_and_keeps_its_shape(viewport: Viewport, size: tuple[int, int]) -> None:
    assert rendered(image(COLOURS), viewport=viewport).size == size


def test_region_is_cut_and_flipped_as_its_signs_say() -> None:
    corner = levels(image(COLOURS), viewport=Viewport(left=20, top=0, region_width=20, region_height=10))
    assert corner.shape == (10, 20, 3)
    assert set(map(tuple, corner.reshape(-1, 3).tolist())) == {(0, 250, 0)}
    flipped = levels(image(COLOURS), viewport=Viewport(region_width=-40, region_height=20))
    assert np.array_equal(flipped, COLOURS[:, ::-1])
    upside_down = levels(image(COLOURS), viewport=Viewport(region_width=-40, region_height=-20))
    assert np.array_equal(upside_down, COLOURS[::-1, ::-1])


@pytest.mark.parametrize(
    "viewport",
    [Viewport(left=40), Viewport(left=-50, region_width=40), Viewport(region_width=0), Viewport(60000, 60000)],
)
def test_viewport_that_shows_nothing_or_too_much_is_the_callers_mistake(viewport: Viewport) -> None:
    with pytest.raises(RequestError):
        rendered(image(COLOURS), viewport=viewport)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"PixelSpacing": [2, 1]}, (40, 40)),
        ({"PixelSpacing": [1, 2]}, (80, 20)),
        ({"PixelAspectRatio": [3, 1]}, (40, 60)),
        ({"PixelSpacing": [0, 0]}, (40, 20)),
        ({"PixelSpacing": [1, 500]}, (40, 20)),
        ({"ImagerPixelSpacing": [1, 1]}, (40, 20)),
    ],
)
def test_pixels_that_are_not_square_are_shown_as_they_look(attributes: dict[str, Any], size: tuple[int, int]) -> None:
    assert rendered(image(COLOURS, **attributes)).size == size


# --- media types


@pytest.mark.parametrize(("media_type", "name"), [(JPEG, "JPEG"), (PNG, "PNG"), (GIF, "GIF"), (JP2, "JPEG2000")])
@pytest.mark.parametrize("pixels", [RAMP, COLOURS], ids=["grey", "colour"])
def test_picture_comes_in_each_media_type(media_type: str, name: str, pixels: np.ndarray[Any, Any]) -> None:
    picture = rendered(image(pixels), media_type=media_type)
    assert picture.format == name
    assert picture.size == pixels.shape[1::-1]
    truth = np.asarray(rendered(image(pixels)).convert("RGB")).astype(int)
    assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - truth).mean() < 8


def test_media_type_that_is_no_image_is_refused() -> None:
    with pytest.raises(RequestError):
        rendered(image(RAMP), media_type="image/webp")


@pytest.mark.parametrize("media_type", [JPEG, JP2])
def test_quality_makes_the_picture_larger(media_type: str) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (64, 64), dtype=np.uint8)
    sizes = [
        len(render_instance(image(noise), ts.EXPLICIT_VR_LE, Rendering(media_type, quality=q))) for q in (1, 50, 100)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


def test_gif_of_a_multi_frame_moves_at_its_own_pace_and_other_types_show_the_representative_frame() -> None:
    frames = np.stack([RAMP.astype("u1") // 8 + 20 * number for number in range(5)])
    data = image(frames, 5, FrameTime=40, WindowCenter=128, WindowWidth=256)
    movie = rendered(data, media_type=GIF)
    assert movie.n_frames == 5  # type: ignore[attr-defined]
    assert movie.info["duration"] == 40
    assert np.array_equal(levels(data), levels(data, frame=3))
    assert not np.array_equal(levels(data, frame=1), levels(data, frame=3))
    chosen = image(frames, 5, WindowCenter=128, WindowWidth=256, RepresentativeFrameNumber=5)
    assert np.array_equal(levels(chosen), levels(data, frame=5))


def test_worker_renders_frames_from_the_header_alone() -> None:
    frames = np.stack([RAMP, RAMP // 2])
    plain = image(frames, 2, WindowCenter=200, WindowWidth=300)
    for uid in (ts.EXPLICIT_VR_LE, ts.DEFLATED_EXPLICIT_VR_LE, ts.JPEG_LS_LOSSLESS):
        data = jobs.transcode_instance(plain, ts.EXPLICIT_VR_LE, uid)
        index, read = frame_index(reader_of(data), uid), inflated(reader_of(data), uid)
        assert index.description
        header = bytes(read(0, index.before))
        one = jobs.render_frames(header, index.description, [(2, index.frame(read, 2))], Rendering(PNG))
        assert one == render_instance(plain, ts.EXPLICIT_VR_LE, Rendering(PNG), 2)


# --- colour spaces, annotation


def name_of(picture: Image.Image) -> str:
    icc = picture.info.get("icc_profile")
    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip() if icc else ""


@pytest.mark.parametrize("media_type", [JPEG, PNG])
@pytest.mark.parametrize(
    ("wanted", "name"),
    [("no", ""), ("", ""), ("yes", "sRGB"), ("srgb", "sRGB"), ("adobergb", "Adobe RGB"), ("rommrgb", "ROMM RGB")],
)
def test_colour_picture_has_the_profile_that_is_wanted(wanted: str, name: str, media_type: str) -> None:
    found = name_of(rendered(image(COLOURS), icc_profile=wanted, media_type=media_type))
    assert found.startswith(name) if name else not found


def test_profile_of_the_image_is_kept_left_out_or_converted_from() -> None:
    data = image(COLOURS, ICCProfile=profile("adobergb"))
    assert name_of(rendered(data)).startswith("Adobe RGB")
    assert name_of(rendered(data, icc_profile="no")) == ""
    assert np.array_equal(levels(data, icc_profile="yes"), COLOURS)
    converted = levels(data, icc_profile="srgb")
    assert converted[15, 5].tolist() != COLOURS[15, 5].tolist()


@pytest.mark.parametrize("space", ["adobergb", "rommrgb"])
def test_colours_survive_the_way_into_a_colour_space_and_back(space: str) -> None:
    soft = (COLOURS // 3 + 60).astype("u1")
    there = levels(image(soft), icc_profile=space)
    assert np.abs(there - soft).max() > 3
    back = levels(image(there.astype("u1"), ICCProfile=profile(space)), icc_profile="srgb")
    assert np.abs(back - soft).max() <= 3


def test_damaged_profile_is_a_fault_of_the_image_only_where_it_is_needed() -> None:
    data = image(COLOURS, ICCProfile=b"not a profile at all")
    assert rendered(data, icc_profile="no").size == (40, 20)
    with pytest.raises(DatasetError):
        rendered(data, icc_profile="srgb")


def test_annotation_is_burnt_in_where_asked_for_and_nowhere_else() -> None:
    black = image(np.zeros((200, 200), "u1"), PatientName="Tremblay^Anne", PatientID="X1", Modality="CT",
                  WindowCenter=500, WindowWidth=100)  # fmt: skip
    assert levels(black).max() == 0
    patient, technique = (levels(black, annotation=frozenset({part})) for part in ("patient", "technique"))
    assert patient[:60].max() > 200
    assert patient[100:].max() == 0
    assert technique[100:].max() > 200
    assert technique[:60].max() == 0
    both = levels(black, annotation=frozenset({"patient", "technique"}))
    assert np.array_equal(both, np.maximum(patient, technique))


# --- what cannot be shown


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=5), st.integers(0, 3000))
def test_damaged_instance_is_rendered_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(
        image(RAMP[:8, :8], WindowCenter=5, WindowWidth=3, VOILUTSequence=[lut([1, 2], 0, 8)], PixelSpacing=[1, 2])
    )
    for place, byte in changes:
        data[place % len(data)] = byte
    with suppress(DatasetError, LimitExceeded, RequestError):
        render_instance(bytes(data[: len(data) - cut % 40]), ts.EXPLICIT_VR_LE, Rendering())
