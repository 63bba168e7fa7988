"""Where frames, documents and bulk data lie, for Data Sets good and bad."""

import zlib
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from struct import pack
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_frames

from gateway.dataset.bulk_data import bulk_value
from gateway.dataset.frames import FrameIndex, frame_index
from gateway.dataset.json_model import to_json_model
from gateway.dataset.spans import inflated, reader_of
from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    MPEG4_HIGH_41,
    RLE_LOSSLESS,
    transfer_syntax,
)
from gateway.dataset.values import WORD_SIZES
from gateway.errors import DatasetError, LimitExceeded
from gateway.web.described import relative
from tests.dataset.elements import explicit, implicit, implicit_sequence, item, sequence
from tests.dataset.images import dataset_of, described, encapsulated, image, province, readable
from tests.dataset.oracle import Sample, samples


def frames_of(data: bytes, uid: str) -> list[bytes]:
    read = inflated(reader_of(data), uid)
    index = frame_index(reader_of(data), uid)
    return [index.frame(read, number + 1) for number in range(index.number_of_frames)]


@pytest.mark.parametrize("sample", readable(), ids=lambda s: s.name)
def test_frames_of_a_file_are_the_bytes_that_pydicom_finds(sample: Sample) -> None:
    ours = frames_of(sample.data, sample.transfer_syntax_uid)
    theirs = dataset_of(sample.data, sample.transfer_syntax_uid)
    if transfer_syntax(sample.transfer_syntax_uid).encapsulated:
        assert ours == list(generate_frames(theirs.PixelData, number_of_frames=len(ours)))
    else:
        value: bytes = theirs.PixelData
        word = max(1, theirs.BitsAllocated // 8)
        if sample.transfer_syntax_uid == EXPLICIT_VR_BE:
            word = max(word, 2) if theirs["PixelData"].VR == "OW" else 1
            value = np.frombuffer(value, f">u{word}").astype(f"<u{word}").tobytes()
        assert b"".join(ours) == value[: len(b"".join(ours))]


def test_index_is_the_same_once_kept() -> None:
    for sample in readable():
        index = frame_index(reader_of(sample.data), sample.transfer_syntax_uid)
        assert FrameIndex.from_bytes(index.to_bytes()) == index


@pytest.mark.parametrize("kept", [b"", b"[]", b"{}", b'{"description":{"rows":1}}', b"\xff"])
def test_kept_index_that_is_damaged_is_refused(kept: bytes) -> None:
    with pytest.raises(DatasetError):
        FrameIndex.from_bytes(kept)


class Huge:
    """A Data Set of which only the first bytes exist: the rest is a gigabyte of zeroes."""

    def __init__(self, head: bytes, size: int) -> None:
        self.head = head
        self.size = size
        self.read = 0

    def __call__(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        self.read += length
        return self.head[offset : offset + length].ljust(length, b"\0")


def test_gigabyte_of_frames_is_indexed_and_one_of_them_read_with_a_few_reads() -> None:
    rows = columns = 1024
    head = described(1024, rows=rows, columns=columns) + explicit("7FE00010", "OB", length=rows * columns * 1024)
    huge = Huge(head, len(head) + rows * columns * 1024)
    index = frame_index(huge, EXPLICIT_VR_LE)
    assert index.spans(1000) == [(len(head) + 999 * rows * columns, rows * columns)]
    assert huge.read < 64 * 1024
    assert index.frame(huge, 1024) == bytes(rows * columns)


# --- native pixels


@pytest.mark.parametrize("uid", [EXPLICIT_VR_LE, IMPLICIT_VR_LE, EXPLICIT_VR_BE, DEFLATED_EXPLICIT_VR_LE])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_native_frames_are_little_endian_in_every_transfer_syntax(uid: str, dtype: str) -> None:
    frames = np.arange(3 * 3 * 5, dtype=dtype).reshape(3, 3, 5)
    value = frames.astype(frames.dtype.newbyteorder(">")).tobytes() if uid == EXPLICIT_VR_BE else None
    data = image(frames, 3, uid=EXPLICIT_VR_LE if uid == DEFLATED_EXPLICIT_VR_LE else uid, value=value)
    if uid == DEFLATED_EXPLICIT_VR_LE:
        stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = stream.compress(data) + stream.flush()
    assert frames_of(data, uid) == [frame.tobytes() for frame in frames]


def test_bytes_of_eight_bit_frames_in_big_endian_words_change_places() -> None:
    value = bytes([2, 1, 4, 3, 6, 5, 8, 7, 0, 9])
    data = b"".join(
        explicit(key, "US", pack(">H", number), order=">")
        for key, number in (("00280002", 1), ("00280010", 3), ("00280011", 1), ("00280100", 8))
    )
    head = data[:10] + explicit("00280008", "IS", b"3 ", order=">") + data[10:]
    assert frames_of(head + explicit("7FE00010", "OW", value, order=">"), EXPLICIT_VR_BE) == [
        bytes([1, 2, 3]),
        bytes([4, 5, 6]),
        bytes([7, 8, 9]),
    ]


def test_bit_packed_frames_begin_at_the_first_bit_of_a_byte_wherever_they_are_stored() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (7, 3, 5), dtype=np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    data = described(7, rows=3, columns=5, bits=1) + explicit("7FE00010", "OB", packed + b"\0" * (len(packed) % 2))
    index = frame_index(reader_of(data), EXPLICIT_VR_LE)
    for number, frame in enumerate(bits, 1):
        one = np.frombuffer(index.frame(reader_of(data), number), np.uint8)
        assert np.unpackbits(one, count=15, bitorder="little").reshape(3, 5).tolist() == frame.tolist()
    assert [index.is_plain(number) for number in range(1, 9)] == [True, *[False] * 7]


def test_frame_beyond_the_pixels_that_are_there_is_refused_and_those_before_it_are_not() -> None:
    data = described(3) + explicit("7FE00010", "OB", b"abcdefgh")
    index = frame_index(reader_of(data), EXPLICIT_VR_LE)
    assert index.frame(reader_of(data), 2) == b"efgh"
    for number in (0, 3, 4, -1):
        with pytest.raises(DatasetError):
            index.spans(number)


def test_pixels_that_end_before_their_length_are_refused_where_they_are_missing() -> None:
    data = described(2) + explicit("7FE00010", "OB", b"abcdef", length=8)
    index = frame_index(reader_of(data), EXPLICIT_VR_LE)
    assert index.frame(reader_of(data), 1) == b"abcd"
    with pytest.raises(DatasetError):
        index.frame(reader_of(data), 2)


def test_float_and_double_float_pixels_have_frames() -> None:
    for key, vr, bits in (("7FE00008", "OF", 32), ("7FE00009", "OD", 64)):
        value = bytes(range(bits // 8 * 4)) * 2
        data = described(2, bits=bits) + explicit(key, vr, value)
        index = frame_index(reader_of(data), EXPLICIT_VR_LE)
        assert index.description
        assert index.description.is_float
        assert frames_of(data, EXPLICIT_VR_LE) == [value[: len(value) // 2]] * 2


# --- encapsulated pixels

JPEG = b"\xff\xd8\xff\xe0..", b"more", b"end\xff\xd9\0"


def found(data: bytes, uid: str = JPEG_BASELINE) -> list[bytes]:
    return frames_of(data, uid)


def test_one_fragment_per_frame_needs_no_table() -> None:
    assert found(encapsulated(3, b"aa", b"bb", b"cccc")) == [b"aa", b"bb", b"cccc"]


def test_one_frame_has_all_fragments() -> None:
    assert found(encapsulated(1, b"aa", b"bb", b"cccc")) == [b"aabbcccc"]


def test_basic_offset_table_joins_fragments_to_frames() -> None:
    table = pack("<2L", 0, 20)
    assert found(encapsulated(2, b"aa", b"bb", b"cccc", table=table)) == [b"aabb", b"cccc"]


@pytest.mark.parametrize("table", [(0, 10, 19), (0, 10, 10), (10, 20, 30), (0, 20, 10), (0, 10, 1 << 31), (0, 0, 0)])
def test_basic_offset_table_that_is_wrong_is_not_believed(table: tuple[int, ...]) -> None:
    assert found(encapsulated(3, b"aa", b"bb", b"cc", table=pack("<3L", *table))) == [b"aa", b"bb", b"cc"]


def extended(offsets: tuple[int, ...], lengths: tuple[int, ...]) -> tuple[bytes, bytes]:
    return (
        explicit("7FE00001", "OV", pack(f"<{len(offsets)}Q", *offsets)),
        explicit("7FE00002", "OV", pack(f"<{len(lengths)}Q", *lengths)),
    )


def test_extended_offset_table_gives_frames_without_their_padding() -> None:
    more = extended((0, 12), (3, 2))
    assert found(encapsulated(2, b"aaa\0", b"bb", more=more)) == [b"aaa", b"bb"]
    assert found(encapsulated(1, b"aaa\0", more=extended((0,), (3,)))) == [b"aaa"]


@pytest.mark.parametrize(
    ("offsets", "lengths"), [((0, 11), (3, 2)), ((0, 12), (3, 9)), ((0, 12), (1, 2)), ((0,), (3,)), ((12, 0), (3, 2))]
)
def test_extended_offset_table_that_is_wrong_is_not_believed(
    offsets: tuple[int, ...], lengths: tuple[int, ...]
) -> None:
    assert found(encapsulated(2, b"aaa\0", b"bb", more=extended(offsets, lengths))) == [b"aaa\0", b"bb"]


def test_frames_of_several_fragments_are_told_apart_by_where_codestreams_start() -> None:
    assert found(encapsulated(2, *JPEG, *JPEG)) == [b"".join(JPEG)] * 2
    wavelet = b"\xff\x4f\xff\x51", b"\xff\xd8\xff tail"
    assert len(found(encapsulated(2, wavelet[0], b"x.", *wavelet[:1], b"y."), JPEG_2000_LOSSLESS)) == 2


def test_frames_of_several_fragments_are_told_apart_by_where_codestreams_end() -> None:
    odd = b"no start", b"end\xff\xd9\0"
    assert found(encapsulated(2, *odd, *odd)) == [b"".join(odd)] * 2


@pytest.mark.parametrize("values", [(b"aa", b"bb", b"cc"), (b"aa",), ()])
def test_frames_that_cannot_be_told_apart_are_a_fault_of_the_pixels_only(values: tuple[bytes, ...]) -> None:
    data = encapsulated(2, *values)
    index = frame_index(reader_of(data), RLE_LOSSLESS)
    assert index.fault
    assert index.after == len(data)
    with pytest.raises(DatasetError):
        index.spans(1)


def test_video_is_one_codestream_for_all_frames() -> None:
    data = encapsulated(250, b"moov", b"mdat")
    index = frame_index(reader_of(data), MPEG4_HIGH_41)
    assert index.is_video
    assert index.frame(reader_of(data), 1) == index.frame(reader_of(data), 250) == b"moovmdat"


def test_index_says_what_lies_before_and_behind_the_pixels() -> None:
    behind = explicit("FFFCFFFC", "OB", b"pad.")
    data = encapsulated(1, b"aa")
    index = frame_index(reader_of(data + behind), JPEG_BASELINE)
    assert (index.before, index.after) == (len(described(1)), len(data))


@pytest.mark.parametrize(("said", "shown"), [(None, 5), (7, 7), (0, 5), (11, 5)])
def test_representative_frame_is_the_one_that_is_said_or_the_middle_one(said: int | None, shown: int) -> None:
    more = () if said is None else (explicit("00286010", "US", pack("<H", said)),)
    data = described(10, *more) + explicit("7FE00010", "OB", bytes(40))
    assert frame_index(reader_of(data), EXPLICIT_VR_LE).representative == shown


# --- documents and bulk data


def test_encapsulated_document_is_found_with_its_type_and_without_its_padding() -> None:
    data = b"".join(
        (
            explicit("00420011", "OB", b"%PDF-1.7 odd\0"[:12] + b"\0\0"),
            explicit("00420012", "LO", b"application/pdf "),
            explicit("00420015", "UL", pack("<L", 13)),
        )
    )
    index = frame_index(reader_of(data), EXPLICIT_VR_LE)
    assert index.description is None
    assert index.number_of_frames == 0
    assert index.document == (12, 13)
    assert index.document_type == "application/pdf"


def test_documents_and_native_pixels_of_the_province_are_where_the_index_says() -> None:
    for made in province():
        key = "7FE00010"
        index = frame_index(reader_of(made.data), made.transfer_syntax_uid)
        if index.document:
            start, length = index.document
            document = made.data[start : start + length]
            assert document.startswith(b"%PDF")
            assert index.document_type == "application/pdf"
            key = "00420011"
        read = inflated(reader_of(made.data), made.transfer_syntax_uid)
        value = bulk_value(reader_of(made.data), made.transfer_syntax_uid, [key])
        if value and not value.encapsulated:
            assert sha256(value.read(read)).hexdigest() == made.true.pixel_data_sha256


def uris(row: dict[str, Any]) -> Iterator[tuple[list[str], str]]:
    for attribute in row.values():
        if "BulkDataURI" in attribute:
            yield attribute["BulkDataURI"].removeprefix("u/").split("/"), attribute["vr"]
        for child in attribute.get("Value", ()) if attribute["vr"] == "SQ" else ():
            yield from uris(child)


GOOD = [s for s in samples() if s.name not in {"MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset"}]


def by_path(row: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for key, number in zip(path[0:-1:2], path[1::2], strict=True):
        row = row[key]["Value"][int(number) - 1]
    found: dict[str, Any] = row[path[-1]]
    return found


@pytest.mark.parametrize("sample", GOOD, ids=lambda s: s.name)
def test_every_bulk_data_uri_that_metadata_gives_leads_to_its_value(sample: Sample) -> None:
    uid = sample.transfer_syntax_uid
    row = to_json_model(sample.data, uid, bulk_data=lambda path, *_: f"u/{relative(path)}", bulk_threshold=4)
    whole = to_json_model(sample.data, uid)
    read = inflated(reader_of(sample.data), uid)
    for path, vr in uris(row):
        value = bulk_value(reader_of(sample.data), uid, path)
        assert value, path
        assert value.vr == vr or {value.vr, vr} == {"US", "OW"}
        if not value.encapsulated:
            expected = {"vr": vr, "InlineBinary": b64encode(value.read(read)).decode()}
            assert by_path(whole, path) == expected


NESTED = item(explicit("00880200", "UI", b"1.2\0"), explicit("7FE00010", "OW", b"ABCD"))


@pytest.mark.parametrize("undefined", [True, False])
def test_value_in_the_second_item_of_a_sequence_is_found(undefined: bool) -> None:
    empty = item(undefined=undefined)
    full = item(explicit("00420011", "OB", b"value!"), undefined=undefined)
    data = sequence("00081140", empty, full, undefined=undefined) + explicit("00100010", "PN", b"A^B ")
    value = bulk_value(reader_of(data), EXPLICIT_VR_LE, ["00081140", "2", "00420011"])
    assert value
    assert value.read(reader_of(data)) == b"value!"
    disguised = explicit("00091010", "UN", implicit_sequence("00091011", item(implicit("00420011", b"hidden")))[8:])
    assert bulk_value(reader_of(disguised), EXPLICIT_VR_LE, ["00091010"])


@pytest.mark.parametrize(
    "path",
    [
        *(
            [],
            ["00420011"],
            ["00081140", "1", "00420012"],
            ["00081140", "2", "00420011"],
            ["00081140", "0", "00420011"],
        ),
        *(["00081140"], ["00081140", "1"], ["00081140", "x", "00420011"], ["00081140", "-1", "00420011"]),
        *(["../../etc/passwd"], ["00081140", "1", "00420011", "1", "00420011"], ["00081140", "9" * 40, "00420011"]),
        ["00081140", "²", "00420011"],
    ],
)
def test_path_that_leads_nowhere_gives_nothing(path: list[str]) -> None:
    data = sequence("00081140", item(explicit("00420011", "OB", b"value!")))
    assert bulk_value(reader_of(data), EXPLICIT_VR_LE, path) is None


def test_icon_in_fragments_is_found_without_its_offset_table() -> None:
    icon = encapsulated(1, b"abcd", b"ef", table=pack("<L", 0))
    data = sequence("00880200", item(icon))
    value = bulk_value(reader_of(data), JPEG_BASELINE, ["00880200", "1", "7FE00010"])
    assert value
    assert value.encapsulated
    assert value.read(reader_of(data)) == b"abcdef"


def test_value_in_big_endian_leaves_in_little_endian() -> None:
    data = explicit("00660016", "OF", pack(">2f", 1.5, -2), order=">")
    value = bulk_value(reader_of(data), EXPLICIT_VR_BE, ["00660016"])
    assert value
    assert value.word == WORD_SIZES["OF"]
    assert value.read(reader_of(data)) == pack("<2f", 1.5, -2)


# --- what is no Data Set

UIDS = [EXPLICIT_VR_LE, IMPLICIT_VR_LE, EXPLICIT_VR_BE, DEFLATED_EXPLICIT_VR_LE, JPEG_BASELINE, RLE_LOSSLESS]


def read_everything(data: bytes, uid: str) -> None:
    """Do all that can be done with a Data Set; only our own errors may come of it."""
    try:
        read = inflated(reader_of(data), uid)
        index = frame_index(reader_of(data), uid)
        for number in range(1, min(index.number_of_frames, 5) + 1):
            index.frame(read, number)
    except (DatasetError, LimitExceeded):
        pass
    for path in (["7FE00010"], ["00081140", "1", "7FE00010"]):
        try:
            value = bulk_value(reader_of(data), uid, path)
            if value:
                value.read(inflated(reader_of(data), uid))
        except (DatasetError, LimitExceeded):
            pass


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.sampled_from(UIDS))
def test_any_bytes_are_read_or_refused(data: bytes, uid: str) -> None:
    read_everything(data, uid)


SEEDS = [
    (encapsulated(2, b"aa", b"bb", b"cccc", table=pack("<2L", 0, 20), more=extended((0, 12), (3, 2))), JPEG_BASELINE),
    (
        sequence("00081140", NESTED, undefined=True) + described(2) + explicit("7FE00010", "OW", bytes(8)),
        EXPLICIT_VR_LE,
    ),
    (sequence("00880200", item(encapsulated(1, b"ab"), undefined=True)) + encapsulated(2, *JPEG, *JPEG), RLE_LOSSLESS),
    (
        implicit_sequence("00081140", item(undefined=True), undefined=True) + implicit("7FE00010", b"abcd"),
        IMPLICIT_VR_LE,
    ),
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
)
def test_damaged_data_set_is_read_or_refused(seed: tuple[bytes, str], changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(seed[0])
    for place_, byte in changes:
        data[place_ % len(data)] = byte
    read_everything(bytes(data[: len(data) - cut % len(data)]), seed[1])


def test_nesting_without_end_is_refused() -> None:
    opened = explicit("00081140", "SQ", length=0xFFFFFFFF) + implicit("FFFEE000", length=0xFFFFFFFF)
    with pytest.raises(LimitExceeded):
        frame_index(reader_of(opened * 10_000), EXPLICIT_VR_LE)


def test_deflated_bomb_is_refused() -> None:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = b"".join(stream.compress(bytes(1 << 20)) for _ in range(300)) + stream.flush()
    with pytest.raises(LimitExceeded):
        frame_index(reader_of(bomb), DEFLATED_EXPLICIT_VR_LE)
