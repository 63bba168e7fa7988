"""Every codec: frames decode as pydicom decodes them, and what is re-encoded decodes to the same pixels."""

import os
import pickle
import subprocess
import sys
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate

from gateway.dataset import jobs
from gateway.dataset import transfer_syntax as ts
from gateway.dataset.codestreams import DECODABLE, TRANSCODABLE_TO, can_become, media_type
from gateway.dataset.encoding import encode_frame, encoded
from gateway.dataset.fragments import fragment
from gateway.dataset.frames import FrameIndex, frame_index
from gateway.dataset.image import YBR_FULL, ImageDescription
from gateway.dataset.markers import codestream_header
from gateway.dataset.pixels import decode_frame, decoded, rgb_of_ybr
from gateway.dataset.recode import transcode
from gateway.dataset.spans import Spans, inflated, reader_of
from gateway.errors import DatasetError, LimitExceeded, NotAcceptable
from regions import codecs
from tests.dataset.elements import explicit
from tests.dataset.images import (
    Made,
    dataset_of,
    described,
    encapsulated,
    fragments,
    image,
    pixels_of,
    province,
    readable,
)
from tests.dataset.oracle import Sample

LOSSLESS = sorted(TRANSCODABLE_TO - {ts.DEFLATED_EXPLICIT_VR_LE, ts.JPEG_BASELINE})
TOLERANCE = {ts.JPEG_BASELINE: 3, ts.JPEG_EXTENDED: 1, ts.JPEG_2000: 1, ts.HTJ2K: 1}
"""How far two decoders of a lossy codec, both right, may be apart."""


def opened(data: bytes, uid: str) -> tuple[FrameIndex, Any]:
    return frame_index(reader_of(data), uid), inflated(reader_of(data), uid)


def decode(data: bytes, uid: str) -> np.ndarray[Any, Any]:
    index, read = opened(data, uid)
    assert index.description
    frames = [decode_frame(index.frame(read, n + 1), index.description) for n in range(index.number_of_frames)]
    return np.stack(frames) if len(frames) > 1 else frames[0]


def shown(data: bytes, uid: str) -> np.ndarray[Any, Any]:
    """Decode, and make RGB of YBR as pydicom does."""
    pixels = decode(data, uid)
    description = frame_index(reader_of(data), uid).description
    assert description
    return rgb_of_ybr(pixels) if decoded(description).photometric_interpretation == YBR_FULL else pixels


def assert_same(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], tolerance: int) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype.newbyteorder("=")
    assert np.abs(ours.astype(np.int64) - theirs.astype(np.int64)).max() <= tolerance


@pytest.mark.parametrize("sample", readable(), ids=lambda s: s.name)
def test_file_decodes_to_the_pixels_that_pydicom_sees(sample: Sample) -> None:
    uid = sample.transfer_syntax_uid
    assert_same(shown(sample.data, uid), pixels_of(sample.data, uid), TOLERANCE.get(uid, 0))


def test_every_instance_of_the_province_decodes_to_the_pixels_that_pydicom_sees() -> None:
    seen = set()
    for made in province():
        uid = made.transfer_syntax_uid
        if frame_index(reader_of(made.data), uid).description:
            assert_same(shown(made.data, uid), pixels_of(made.data, uid), TOLERANCE.get(uid, 0))
            seen.add(uid)
    assert seen >= {
        *(ts.IMPLICIT_VR_LE, ts.EXPLICIT_VR_LE, ts.EXPLICIT_VR_BE, ts.RLE_LOSSLESS, ts.JPEG_BASELINE),
        *(ts.JPEG_LOSSLESS_SV1, ts.JPEG_LS_LOSSLESS, ts.JPEG_LS_NEAR_LOSSLESS, ts.JPEG_2000_LOSSLESS, ts.JPEG_2000),
        *(ts.HTJ2K_LOSSLESS, ts.HTJ2K),
    }


# --- re-encoding


def assert_round_trip(data: bytes, uid: str) -> None:
    before = decode(data, uid)
    description = frame_index(reader_of(data), uid).description
    assert description
    for target in sorted(TRANSCODABLE_TO - {uid, ts.JPEG_BASELINE}):
        if not can_become(description, uid, target):
            continue
        made = b"".join(transcode(data, uid, target))
        assert np.array_equal(decode(made, target), before), target
        if description.bits_allocated > 1:
            theirs = pixels_of(made, target)
            assert np.array_equal(theirs, shown(made, target)), f"pydicom reads {target} otherwise"
        back = b"".join(transcode(made, target, ts.EXPLICIT_VR_LE))
        assert np.array_equal(decode(back, ts.EXPLICIT_VR_LE), before), f"{target} and back"


@pytest.mark.parametrize("sample", readable(), ids=lambda s: s.name)
def test_file_has_the_same_pixels_in_every_lossless_transfer_syntax_and_back(sample: Sample) -> None:
    assert_round_trip(sample.data, sample.transfer_syntax_uid)


def coded(made: Made) -> bool:
    return frame_index(reader_of(made.data), made.transfer_syntax_uid).description is not None


@pytest.mark.parametrize("uid", sorted({made.transfer_syntax_uid for made in province() if coded(made)}))
def test_instance_of_the_province_has_the_same_pixels_in_every_lossless_transfer_syntax(uid: str) -> None:
    made = min(
        (made for made in province() if made.transfer_syntax_uid == uid and coded(made)), key=lambda m: len(m.data)
    )
    assert_round_trip(made.data, uid)


RAMP = np.add.outer(np.arange(33) * 7, np.arange(21) * 5)
PICTURES = {
    "grey of 8 bits": RAMP.astype("u1"),
    "grey of 12 bits": (RAMP * 9 % 4096).astype("u2"),
    "grey of 16 bits": (RAMP * 157).astype("u2"),
    "signed": (RAMP * 100 - 20000).astype("i2"),
    "signed bytes": (RAMP - 100).astype("i1"),
    "one pixel": np.array([[77]], "u2"),
    "colour": np.stack([RAMP, RAMP[::-1], RAMP * 3], -1).astype("u1"),
    "colour of 16 bits": (np.stack([RAMP, RAMP[::-1], RAMP * 3], -1) * 99).astype("u2"),
    "nine pixels of colour": np.arange(27, dtype="u1").reshape(3, 3, 3),
}


@pytest.mark.parametrize("target", LOSSLESS)
@pytest.mark.parametrize("name", PICTURES)
def test_pixels_of_every_kind_survive_every_lossless_codec(name: str, target: str) -> None:
    pixels = PICTURES[name]
    stored = 12 if "12" in name else 8 * pixels.itemsize
    data = image(pixels, BitsStored=stored, HighBit=stored - 1)
    made = b"".join(transcode(data, ts.EXPLICIT_VR_LE, target))
    assert np.array_equal(decode(made, target), pixels)
    assert np.array_equal(pixels_of(made, target), pixels)


def test_signed_pixels_of_twelve_bits_keep_their_sign_in_every_codec() -> None:
    pixels = (RAMP * 11 % 4096 - 2048).astype("i2")
    data = image(pixels, BitsStored=12, HighBit=11)
    for target in LOSSLESS:
        made = b"".join(transcode(data, ts.EXPLICIT_VR_LE, target))
        assert np.array_equal(decode(made, target), pixels), target
        assert np.array_equal(pixels_of(made, target), pixels), target


def test_old_overlay_in_the_unused_bits_survives_every_codec() -> None:
    pixels = (RAMP % 4096 | 0x8000).astype("u2")
    data = image(pixels, BitsStored=12, HighBit=11)
    for target in LOSSLESS:
        made = b"".join(transcode(data, ts.EXPLICIT_VR_LE, target))
        assert np.array_equal(decode(made, target), pixels), target


@pytest.mark.parametrize("interpretation", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("target", LOSSLESS)
def test_colour_by_plane_or_by_pixel_is_the_same_colour(target: str, planar: int, interpretation: str) -> None:
    pixels = PICTURES["colour"]
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    value = np.ascontiguousarray(stored).tobytes()
    data = image(pixels, value=value, PlanarConfiguration=planar, PhotometricInterpretation=interpretation)
    made = b"".join(transcode(data, ts.EXPLICIT_VR_LE, target))
    assert np.array_equal(decode(made, target), pixels)
    back = b"".join(transcode(made, target, ts.EXPLICIT_VR_LE))
    assert np.array_equal(decode(back, ts.EXPLICIT_VR_LE), pixels)
    transformed = interpretation == "RGB" and target in {ts.JPEG_2000_LOSSLESS, ts.HTJ2K_LOSSLESS}
    said = "YBR_RCT" if transformed else interpretation
    assert dataset_of(made, target).PhotometricInterpretation == said


def test_multi_frame_keeps_its_frames_apart_and_in_order() -> None:
    pixels = np.stack([RAMP.astype("u2") * number for number in range(1, 6)])
    data = image(pixels, 5)
    for target in LOSSLESS[1:]:
        chunks = list(transcode(data, ts.EXPLICIT_VR_LE, target))
        assert len(chunks) == 5 + 2
        assert np.array_equal(decode(b"".join(chunks), target), pixels)


def test_instance_in_pieces_is_the_one_that_transcode_makes() -> None:
    pixels = np.stack([RAMP.astype("u2") * number for number in range(1, 4)])
    data = image(pixels, 3, PatientName="A^B")
    data += explicit("FFFCFFFC", "OB", bytes(10))
    index, read = opened(data, ts.EXPLICIT_VR_LE)
    assert index.description
    codestreams = [index.frame(read, number) for number in (1, 2, 3)]
    for target in LOSSLESS[1:]:
        frames = [jobs.reencode_frame(one, index.description, target) for one in codestreams]
        before, after = data[: index.before], data[index.after :]
        head, tail = jobs.recode_ends(before, after, index.description, 3, target)
        assert head + b"".join(map(fragment, frames)) + tail == jobs.transcode_instance(data, ts.EXPLICIT_VR_LE, target)


def test_deflated_source_is_recoded_in_pieces_from_what_it_inflates_to() -> None:
    plain = image(RAMP.astype("u2"))
    data = b"".join(transcode(plain, ts.EXPLICIT_VR_LE, ts.DEFLATED_EXPLICIT_VR_LE))
    index, read = opened(data, ts.DEFLATED_EXPLICIT_VR_LE)
    assert index.description
    before = bytes(read(0, index.before))
    head, tail = jobs.recode_ends(before, b"", index.description, 1, ts.JPEG_LS_LOSSLESS)
    frame = jobs.reencode_frame(index.frame(read, 1), index.description, ts.JPEG_LS_LOSSLESS)
    assert head + fragment(frame) + tail == b"".join(transcode(plain, ts.EXPLICIT_VR_LE, ts.JPEG_LS_LOSSLESS))


# --- what changes in the Data Set, and what does not


def elements(data: bytes) -> dict[str, bytes]:
    spans = Spans(reader_of(data), ts.EXPLICIT_VR_LE)
    return {element.key: data[element.start : spans.end(element)] for element in spans.elements()}


ODD = (
    *(explicit("00091001", "UN", b"private!"), explicit("00280107", "US", b"\1\0")),
    *(explicit("00281055", "LO", b"no padding stripped "), explicit("30050010", "UN", b"\0\1")),
)


@pytest.mark.parametrize("target", LOSSLESS[1:])
def test_only_the_pixels_and_what_describes_them_change(target: str) -> None:
    data = b"".join(sorted((*ODD, *elements(image(PICTURES["colour"], PatientName="A^B")).values())))
    data = b"".join(element for _, element in sorted(elements(data).items()))
    made = b"".join(transcode(data, ts.EXPLICIT_VR_LE, target))
    before, after = elements(data), elements(made)
    assert before.keys() == after.keys()
    changed = {key for key in before if before[key] != after[key]}
    transformed = {"00280004"} if target in {ts.JPEG_2000_LOSSLESS, ts.HTJ2K_LOSSLESS} else set()
    assert changed == {"7FE00010"} | transformed


def test_offset_tables_and_group_lengths_that_would_be_wrong_are_left_out() -> None:
    frame = bytes(imagecodecs.jpegls_encode(PICTURES["grey of 8 bits"]))
    stale = explicit("7FE00001", "OV", bytes(8)) + explicit("7FE00002", "OV", len(frame).to_bytes(8, "little"))
    length = explicit("00280000", "UL", bytes(4))
    data = explicit("00100000", "UL", bytes(4)) + length + encapsulated(1, frame, more=(stale,))
    data = data.replace(explicit("00280010", "US", b"\2\0"), explicit("00280010", "US", b"\x21\0"))
    data = data.replace(explicit("00280011", "US", b"\2\0"), explicit("00280011", "US", b"\x15\0"))
    made = b"".join(transcode(data, ts.JPEG_LS_LOSSLESS, ts.EXPLICIT_VR_LE))
    assert made.startswith(explicit("00100000", "UL", bytes(4)) + explicit("00280002", "US", b"\1\0"))
    assert not {"7FE00001", "7FE00002"} & elements(made).keys()
    assert np.array_equal(decode(made, ts.EXPLICIT_VR_LE), PICTURES["grey of 8 bits"])


def test_lossy_image_says_so_and_how_much_and_after_which_steps() -> None:
    data = image(PICTURES["colour"], LossyImageCompressionMethod="ISO_14495_1", LossyImageCompressionRatio="3.5")
    made = b"".join(transcode(data, ts.EXPLICIT_VR_LE, ts.JPEG_BASELINE))
    dataset = dataset_of(made, ts.JPEG_BASELINE)
    assert dataset.LossyImageCompression == "01"
    assert list(dataset.LossyImageCompressionMethod) == ["ISO_14495_1", "ISO_10918_1"]
    assert dataset.LossyImageCompressionRatio[0] == 3.5
    assert 1 < dataset.LossyImageCompressionRatio[1] < 40
    assert dataset.PhotometricInterpretation == "YBR_FULL_422"
    assert np.abs(decode(made, ts.JPEG_BASELINE).astype(int) - PICTURES["colour"]).mean() < 25
    back = dataset_of(b"".join(transcode(made, ts.JPEG_BASELINE, ts.EXPLICIT_VR_LE)), ts.EXPLICIT_VR_LE)
    assert back.PhotometricInterpretation == "RGB"
    assert list(back.LossyImageCompressionMethod) == ["ISO_14495_1", "ISO_10918_1"]


def test_lossy_image_made_in_pieces_says_so_too() -> None:
    description = opened(image(PICTURES["colour"]), ts.EXPLICIT_VR_LE)[0].description
    assert description
    head, _ = jobs.recode_ends(b"", b"", description, 1, ts.JPEG_BASELINE)
    assert explicit("00282110", "CS", b"01") in head
    assert explicit("00282114", "CS", b"ISO_10918_1 ") in head


def test_image_whose_lossy_codec_is_taken_off_still_says_that_it_lost_something() -> None:
    frame = bytes(imagecodecs.jpeg8_encode(PICTURES["grey of 8 bits"], level=70))
    data = image(PICTURES["grey of 8 bits"], uid=ts.JPEG_BASELINE, value=encapsulate([frame]))
    made = dataset_of(b"".join(transcode(data, ts.JPEG_BASELINE, ts.EXPLICIT_VR_LE)), ts.EXPLICIT_VR_LE)
    assert (made.LossyImageCompression, made.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


def test_icon_in_the_codec_that_is_left_becomes_native() -> None:
    icon = np.arange(64, dtype="u1").reshape(8, 8)
    pixels = PICTURES["grey of 8 bits"]
    inner = described(1, rows=8, columns=8) + explicit(
        "7FE00010", "OB", fragments(bytes(imagecodecs.jpegls_encode(icon))), length=0xFFFFFFFF
    )
    frame = bytes(imagecodecs.jpegls_encode(pixels))
    outer = image(pixels, uid=ts.JPEG_LS_LOSSLESS, value=encapsulate([frame]))
    (at,) = (i for i in range(len(outer)) if outer[i : i + 4] == b"\xe0\x7f\x10\0")
    item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    data = outer[:at] + explicit("00880200", "SQ", item) + outer[at:]
    for target in (ts.EXPLICIT_VR_LE, ts.RLE_LOSSLESS):
        made = dataset_of(b"".join(transcode(data, ts.JPEG_LS_LOSSLESS, target)), target)
        assert np.array_equal(np.frombuffer(made.IconImageSequence[0].PixelData, "u1").reshape(8, 8), icon)
        assert np.array_equal(made.pixel_array, pixels)


def test_implicit_writer_in_an_encapsulated_transfer_syntax_is_mended_on_the_way() -> None:
    (sample,) = (sample for sample in readable() if sample.name == "SC_rgb_jpeg.dcm")
    made = b"".join(transcode(sample.data, sample.transfer_syntax_uid, ts.EXPLICIT_VR_LE))
    assert made[4:6].isalpha()
    assert pixels_of(made, ts.EXPLICIT_VR_LE).shape == (256, 256, 3)


@pytest.mark.parametrize("source", [ts.IMPLICIT_VR_LE, ts.EXPLICIT_VR_BE, ts.EXPLICIT_VR_LE])
def test_report_changes_between_native_transfer_syntaxes_only(source: str) -> None:
    data = explicit("00080060", "CS", b"SR", order=">" if source == ts.EXPLICIT_VR_BE else "<")
    if source == ts.IMPLICIT_VR_LE:
        data = b"\x08\0\x60\0\2\0\0\0SR"
    assert b"".join(transcode(data, source, ts.EXPLICIT_VR_LE)) == explicit("00080060", "CS", b"SR")
    deflated = b"".join(transcode(data, source, ts.DEFLATED_EXPLICIT_VR_LE))
    assert b"".join(transcode(deflated, ts.DEFLATED_EXPLICIT_VR_LE, ts.EXPLICIT_VR_LE)) == explicit(
        "00080060", "CS", b"SR"
    )
    with pytest.raises(NotAcceptable):
        list(transcode(data, source, ts.JPEG_LS_LOSSLESS))
    assert not can_become(None, source, ts.JPEG_LS_LOSSLESS)


# --- what cannot be


def test_what_is_said_to_be_possible_is_possible_and_the_rest_is_refused() -> None:
    data = image(RAMP.astype("u4"))
    description = opened(data, ts.EXPLICIT_VR_LE)[0].description
    possible = {uid for uid in TRANSCODABLE_TO if can_become(description, ts.EXPLICIT_VR_LE, uid)}
    assert possible == {ts.EXPLICIT_VR_LE, ts.DEFLATED_EXPLICIT_VR_LE, ts.RLE_LOSSLESS}
    for target in (ts.JPEG_LS_LOSSLESS, ts.JPEG_BASELINE, ts.EXPLICIT_VR_BE, ts.IMPLICIT_VR_LE, ts.MPEG2_MAIN, "1.2"):
        with pytest.raises(NotAcceptable):
            list(transcode(data, ts.EXPLICIT_VR_LE, target))


def test_indexed_and_signed_colours_are_never_made_lossy() -> None:
    for attributes in ({"PhotometricInterpretation": "PALETTE COLOR"}, {"PixelRepresentation": 1}):
        data = image(RAMP.astype("u1"), **attributes)
        with pytest.raises(NotAcceptable):
            list(transcode(data, ts.EXPLICIT_VR_LE, ts.JPEG_BASELINE))


def test_video_is_never_re_encoded() -> None:
    with pytest.raises(NotAcceptable):
        list(transcode(encapsulated(2, b"moov"), ts.MPEG4_HIGH_41, ts.EXPLICIT_VR_LE))


@pytest.mark.parametrize("uid", sorted(DECODABLE))
def test_every_transfer_syntax_has_a_media_type(uid: str) -> None:
    native = uid in {ts.IMPLICIT_VR_LE, ts.EXPLICIT_VR_LE, ts.EXPLICIT_VR_BE, ts.DEFLATED_EXPLICIT_VR_LE}
    uncoded = native or uid in {ts.ENCAPSULATED_UNCOMPRESSED, ts.DEFLATED_IMAGE_FRAME}
    assert media_type(uid).startswith("application/octet-stream" if uncoded else "image/")


CODED = [uid for uid in sorted(DECODABLE) if uid.startswith(("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5"))]
DESCRIPTION = ImageDescription(ts.RLE_LOSSLESS, 33, 21, bits_allocated=16, bits_stored=16)


def codestreams() -> dict[str, bytes]:
    """One frame in each codec, encoded by the province, or by imagecodecs."""
    pixels = PICTURES["grey of 8 bits"]
    made = {
        uid: codecs._ENCODERS[pydicom.uid.UID(uid)](pixels, 8)
        for uid in CODED
        if pydicom.uid.UID(uid) in codecs._ENCODERS
    }
    made[ts.HTJ2K_LOSSLESS_RPCL] = imagecodecs.htj2k_encode(pixels, reversible=True)
    made[ts.JPEG_LOSSLESS] = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=6)
    made[ts.JPEG_EXTENDED] = imagecodecs.jpeg8_encode(PICTURES["grey of 12 bits"], bitspersample=12, level=90)
    for uid in (ts.JPEG_XL_LOSSLESS, ts.JPEG_XL_RECOMPRESSION, ts.JPEG_XL):
        made[uid] = imagecodecs.jpegxl_encode(pixels, lossless=True)
    return {uid: bytes(made[uid]) for uid in CODED}


FRAMES = codestreams()


@pytest.mark.parametrize("uid", CODED)
def test_codestream_of_every_codec_decodes(uid: str) -> None:
    twelve = uid == ts.JPEG_EXTENDED
    bits = 16 if twelve else 8
    description = ImageDescription(uid, 33, 21, bits_allocated=bits, bits_stored=bits)
    expected = PICTURES["grey of 12 bits"] if twelve else PICTURES["grey of 8 bits"]
    lossy = ts.transfer_syntax(uid).lossy
    error = np.abs(decode_frame(FRAMES[uid], description).astype(int) - expected)
    assert error.mean() < (100 if twelve else 10) if lossy else error.max() == 0


@pytest.mark.parametrize("uid", CODED)
def test_codestream_of_another_size_than_described_is_refused(uid: str) -> None:
    # RLE says nothing of its size but how many pixels there are.
    for rows, columns in ((34, 21), (33, 20), (66, 42), (0, 0), *(() if uid == ts.RLE_LOSSLESS else ((21, 33),))):
        with pytest.raises(DatasetError):
            decode_frame(FRAMES[uid], ImageDescription(uid, rows, columns, bits_allocated=8, bits_stored=8))


def test_frame_larger_than_the_limit_is_refused_before_memory_is_spent_on_it() -> None:
    with pytest.raises(LimitExceeded):
        decode_frame(b"", ImageDescription(ts.RLE_LOSSLESS, 65535, 65535))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(CODED),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    st.integers(0, 2000),
)
def test_damaged_codestream_is_decoded_to_its_size_or_refused(
    uid: str, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(FRAMES[uid])
    # OpenJPH can be crashed by its header: there only what follows that is damaged.
    first = data.index(b"\xff\x93") if media_type(uid) == "image/jphc" else 0
    for place, byte in changes:
        data[first + place % (len(data) - first)] = byte
    data = data[: len(data) - cut % len(data)]
    try:
        pixels = decode_frame(bytes(data), ImageDescription(uid, 33, 21, bits_allocated=8, bits_stored=8))
    except DatasetError:
        return
    assert pixels.shape == (33, 21)


def test_tiles_that_would_keep_a_decoder_busy_for_ever_are_refused() -> None:
    for uid in (ts.HTJ2K_LOSSLESS, ts.JPEG_2000_LOSSLESS):
        for place, byte in ((39, 1), (27, 0), (24, 0xFF), (41, 200)):
            data = bytearray(FRAMES[uid])
            data[place] = byte
            if place == 24:
                data[24:32] = bytes(8)
            with pytest.raises(DatasetError):
                decode_frame(bytes(data), ImageDescription(uid, 33, 21, bits_allocated=8, bits_stored=8))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64), st.sampled_from(CODED))
def test_header_of_any_bytes_is_read_or_not_there(data: bytes, uid: str) -> None:
    for start in (b"", FRAMES[uid][:4], FRAMES[uid][:40]):
        codestream_header(start + data)


def test_pixels_that_do_not_fit_a_codec_are_refused() -> None:
    for target, pixels in ((ts.JPEG_BASELINE, RAMP.astype("u2")), (ts.JPEG_LS_LOSSLESS, RAMP.astype("f4"))):
        with pytest.raises(NotAcceptable):
            encode_frame(pixels, ImageDescription(target, 33, 21))
    with pytest.raises(NotAcceptable):
        encode_frame(RAMP.astype("u1"), ImageDescription(ts.MPEG2_MAIN, 33, 21))
    with pytest.raises(NotAcceptable):
        encoded(DESCRIPTION, ts.MPEG2_MAIN)


# --- the process that serves


def test_what_the_web_hands_over_can_be_pickled() -> None:
    for value in (DESCRIPTION, jobs.reencode_frame, jobs.transcode_instance, jobs.render_frames):
        assert pickle.loads(pickle.dumps(value)) == value


def test_process_that_serves_needs_no_codec() -> None:
    modules = ("frames", "codestreams", "jobs", "rendition", "report", "bulk_data", "fragments", "image")
    names = ", ".join(f"gateway.dataset.{module}" for module in modules)
    code = f"import sys; sys.modules.update(numpy=None, imagecodecs=None, PIL=None); import {names}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.stderr == ""
