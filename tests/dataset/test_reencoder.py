"""What is re-encoded while it streams holds the same values, by pydicom's reading (PS3.18 8.7.3, PS3.5 Annex A)."""

import tracemalloc
import zlib
from base64 import b64decode
from struct import pack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.dataset.json_model import to_json_model
from gateway.dataset.transcode import Reencoder
from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    transfer_syntax,
)
from gateway.errors import DatasetError
from tests.dataset.elements import (
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    implicit,
    implicit_sequence,
    item,
    sequence,
)
from tests.dataset.oracle import Sample, chunks, decode, encode, samples

if TYPE_CHECKING:
    from gateway.dataset.sink import Buffer

SOURCES = (IMPLICIT_VR_LE, EXPLICIT_VR_BE, DEFLATED_EXPLICIT_VR_LE)
NOT_READ = {"rtplan_truncated.dcm", "MR_truncated.dcm", "DICOMDIR-nooffset"}


def reencode(data: bytes, syntax: str, size: int = 1 << 20) -> bytes:
    reencoder = Reencoder(syntax)
    out: list[Buffer] = []
    for chunk in chunks(data, size):
        out += map(bytes, reencoder.feed(chunk))
    return b"".join([*out, *reencoder.finish()])


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def without_group_lengths(dataset: Dataset) -> Dataset:
    for element in dataset:
        if element.tag.element == 0:
            del dataset[element.tag]
    return dataset


SUITABLE = [
    sample
    for sample in samples()
    if sample.name not in NOT_READ and not transfer_syntax(sample.transfer_syntax_uid).encapsulated
]


@pytest.mark.parametrize("sample", SUITABLE, ids=lambda sample: sample.name)
def test_file_re_encoded_in_any_chunking_reads_as_before(sample: Sample) -> None:
    out = reencode(sample.data, sample.transfer_syntax_uid)
    assert reencode(sample.data, sample.transfer_syntax_uid, 1 if len(sample.data) < 20_000 else 509) == out
    ours = to_json_model(out, EXPLICIT_VR_LE)
    assert ours == to_json_model(sample.data, sample.transfer_syntax_uid)
    if sample.transfer_syntax_uid == IMPLICIT_VR_LE:
        theirs = without_group_lengths(decode(sample.data, sample.transfer_syntax_uid))
        again = decode(out, EXPLICIT_VR_LE)
        assert again.keys() == theirs.keys()
        assert again.get("PixelData") == theirs.get("PixelData")


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"])
def test_pixel_bytes_are_identical(name: str) -> None:
    (sample,) = (sample for sample in samples() if sample.name == name)
    out = reencode(sample.data, sample.transfer_syntax_uid, 333)
    pixels = b64decode(to_json_model(out, EXPLICIT_VR_LE)["7FE00010"]["InlineBinary"])
    (reference,) = (one for one in samples() if one.name == "MR_small.dcm")
    if name.startswith("MR_small"):
        assert pixels == decode(reference.data, EXPLICIT_VR_LE).PixelData
    assert out.endswith(pixels) or pixels in out


# --- data sets made up

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\=^"), max_size=12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "PatientName": TEXT,
    "PatientID": TEXT,
    "StudyDescription": TEXT,
    "ImageType": st.lists(st.sampled_from(["ORIGINAL", "PRIMARY", "AXIAL"]), max_size=3),
    "Rows": st.integers(0, 65535),
    "PixelRepresentation": st.integers(0, 1),
    "ImagePositionPatient": st.lists(st.integers(-500, 500), min_size=3, max_size=3),
    "FrameIncrementPointer": st.sampled_from([0x00181063, 0x00181065]),
    "ExposureTimeInms": st.floats(allow_nan=False, width=64),
    # pydicom writes OW in whatever order it is given: both bytes of a word are the same here.
    "RedPaletteColorLookupTableData": st.binary(max_size=9).map(lambda value: bytes(b for b in value for _ in "12")),
    "EncapsulatedDocument": st.binary(max_size=9).map(lambda value: value + value),
    "TextValue": TEXT,
    "SelectorUVValue": st.integers(0, 2**64 - 1),
    "ReferencedSOPInstanceUID": st.just("1.2.3.4"),
}


def dataset_of(values: dict[str, Any], items: list[Dataset]) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    if items:
        dataset.ReferencedImageSequence = items
    return dataset


ELEMENTS = st.fixed_dictionaries({}, optional=VALUES)
DATASETS = st.recursive(
    st.builds(dataset_of, ELEMENTS, st.just([])),
    lambda inner: st.builds(dataset_of, ELEMENTS, st.lists(inner, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=120, deadline=None)
@given(DATASETS, st.sampled_from(SOURCES), st.integers(1, 60))
def test_made_up_data_set_re_encoded_is_equal_by_pydicom(dataset: Dataset, syntax: str, size: int) -> None:
    plain = encode(dataset, EXPLICIT_VR_LE)
    source = deflated(plain) if syntax == DEFLATED_EXPLICIT_VR_LE else encode(dataset, syntax)
    assert decode(reencode(source, syntax, size), EXPLICIT_VR_LE) == decode(plain, EXPLICIT_VR_LE)


# --- byte by byte


def test_implicit_element_gets_its_vr_and_keeps_its_value() -> None:
    data = implicit("00080005", b"ISO_IR 100") + implicit("00100010", b"Gagn\xe9 ") + implicit("00080000", bytes(4))
    assert reencode(data, IMPLICIT_VR_LE) == explicit("00080005", "CS", b"ISO_IR 100") + explicit(
        "00100010", "PN", b"Gagn\xe9 "
    )


@pytest.mark.parametrize("undefined", [False, True])
def test_sequence_is_written_with_delimiters_whatever_it_had(undefined: bool) -> None:
    code = implicit_sequence("00080121", item(implicit("00080100", b"T1"), undefined=undefined), undefined=undefined)
    data = implicit_sequence("00081032", item(code, undefined=undefined), item(), undefined=undefined)
    inner = sequence("00080121", item(explicit("00080100", "SH", b"T1"), undefined=True), undefined=True)
    assert reencode(data, IMPLICIT_VR_LE) == sequence("00081032", item(inner, undefined=True), item(), undefined=True)


def test_attribute_that_no_dictionary_knows_becomes_unknown() -> None:
    data = implicit("00190010", b"LAB ") + implicit("00191001", b"\1\2")
    expected = explicit("00190010", "LO", b"LAB ") + explicit("00191001", "UN", b"\1\2")
    assert reencode(data, IMPLICIT_VR_LE) == expected


def test_private_sequence_without_length_stays_a_sequence() -> None:
    data = implicit_sequence("00191001", item(implicit("00080100", b"T1"), undefined=True), undefined=True)
    expected = sequence("00191001", item(explicit("00080100", "SH", b"T1"), undefined=True), undefined=True)
    assert reencode(data, IMPLICIT_VR_LE) == expected


@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
@pytest.mark.parametrize(("length", "vr"), [(65_534, "DS"), (65_536, "UN")])
def test_value_too_long_for_its_vr_becomes_unknown(length: int, vr: str, size: int) -> None:
    value = b"1\\" * (length // 2)
    out = reencode(implicit("30060050", value), IMPLICIT_VR_LE, 1 << 20)
    assert out == explicit("30060050", vr, value)
    assert reencode(implicit("30060050", value), IMPLICIT_VR_LE, size) == out


@pytest.mark.parametrize("size", [1, 3, 1021, 1 << 20])
@pytest.mark.parametrize(("vr", "word"), [("OB", 1), ("OW", 2), ("OL", 4), ("OF", 4), ("OD", 8), ("OV", 8), ("UN", 1)])
def test_big_endian_words_are_swapped_across_chunk_borders(vr: str, word: int, size: int) -> None:
    value = bytes(range(256)) * 130
    words = [value[start : start + word][::-1] for start in range(0, len(value), word)]
    data = explicit("00280010", "US", b"\0\7", order=">") + explicit("00091001", vr, value, order=">")
    expected = explicit("00280010", "US", b"\7\0") + explicit("00091001", vr, b"".join(words))
    assert reencode(data, EXPLICIT_VR_BE, size) == expected


def test_big_endian_value_with_half_a_word_keeps_it() -> None:
    value = bytes(range(251)) * 101
    swapped = b"".join(value[start : start + 2][::-1] for start in range(0, len(value), 2))
    assert reencode(explicit("7FE00010", "OW", value, order=">"), EXPLICIT_VR_BE, 7) == explicit(
        "7FE00010", "OW", swapped
    )


def test_ambiguous_vr_is_resolved_as_in_the_model() -> None:
    data = implicit("00280103", b"\1\0") + implicit("00280106", b"\xfe\xff") + implicit("7FE00010", b"\1\2")
    out = (
        explicit("00280103", "US", b"\1\0")
        + explicit("00280106", "SS", b"\xfe\xff")
        + explicit("7FE00010", "OW", b"\1\2")
    )
    assert reencode(data, IMPLICIT_VR_LE) == out


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_fragments_pass_through(size: int) -> None:
    fragments = implicit("FFFEE000") + implicit("FFFEE000", SEQUENCE_END + b"ab") + SEQUENCE_END
    data = implicit("7FE00010", fragments, length=UNDEFINED) + implicit("FFFCFFFC", b"\0\0")
    expected = explicit("7FE00010", "OB", fragments, length=UNDEFINED) + explicit("FFFCFFFC", "OB", b"\0\0")
    assert reencode(data, IMPLICIT_VR_LE, size) == expected


def test_large_values_are_passed_on_without_a_copy() -> None:
    reencoder = Reencoder(IMPLICIT_VR_LE)
    reencoder.feed(implicit("7FE00010", length=1 << 20))
    fragment = bytearray(1 << 17)
    (view,) = reencoder.feed(fragment)
    assert isinstance(view, memoryview)
    assert view.obj is fragment


def test_multi_frame_of_a_gigabyte_costs_no_memory() -> None:
    reencoder = Reencoder(EXPLICIT_VR_BE)
    fragment = bytes(1 << 17)
    tracemalloc.start()
    reencoder.feed(explicit("7FE00010", "OW", length=1 << 30, order=">"))
    written = sum(len(chunk) for _ in range(200) for chunk in reencoder.feed(fragment))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written == 200 << 17
    assert peak < 2 << 20


def test_data_set_that_ends_too_early_is_refused() -> None:
    reencoder = Reencoder(IMPLICIT_VR_LE)
    reencoder.feed(implicit("7FE00010", b"\1\2", length=100))
    with pytest.raises(DatasetError):
        reencoder.finish()


def test_header_of_a_long_vr() -> None:
    out = reencode(implicit("0040A160", b"text"), IMPLICIT_VR_LE)
    assert out == bytes.fromhex("4000 60A1 5554 0000") + pack("<L", 4) + b"text"
