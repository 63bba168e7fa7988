"""File Meta Information, and a look at the front of a Data Set that still arrives."""

import io
import warnings

import pydicom
import pytest
from pydicom.uid import AllTransferSyntaxes

from gateway.dataset.json_model import to_json_model
from gateway.dataset.part10 import FileMeta, file_meta, split
from gateway.dataset.peek import Peek
from gateway.dataset.transfer_syntax import (
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    JPEG_2000,
    TRANSFER_SYNTAXES,
    transfer_syntax,
)
from gateway.errors import DatasetError
from tests.dataset.elements import explicit, implicit, item, sequence
from tests.dataset.oracle import Sample, samples

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_golden_bytes() -> None:
    head = file_meta(CT, "1.2.3", EXPLICIT_VR_LE)
    assert head[:132] == bytes(128) + b"DICM"
    elements = (
        explicit("00020001", "OB", b"\0\1")
        + explicit("00020002", "UI", CT.encode() + b"\0")
        + explicit("00020003", "UI", b"1.2.3\0")
        + explicit("00020010", "UI", b"1.2.840.10008.1.2.1\0")
        + explicit("00020012", "UI", b"2.25.271606337458938424862186403137218604213")
        + explicit("00020013", "SH", b"PROVGW_010")
    )
    assert head[132:] == explicit("00020000", "UL", len(elements).to_bytes(4, "little")) + elements


def test_pydicom_reads_the_file_without_a_warning() -> None:
    head = file_meta(CT, "1.2.3", IMPLICIT_VR_LE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = pydicom.dcmread(io.BytesIO(head + implicit("00100020", b"A1")))
    assert dataset.PatientID == "A1"
    assert dataset.file_meta.TransferSyntaxUID == IMPLICIT_VR_LE


def test_head_is_split_into_what_it_says_and_where_the_data_set_begins() -> None:
    head = file_meta(CT, "1.2.3", JPEG_2000)
    assert split(head + explicit("00080016", "UI")) == (FileMeta(CT, "1.2.3", JPEG_2000), len(head))
    assert split(memoryview(head)) == (FileMeta(CT, "1.2.3", JPEG_2000), len(head))


def test_wrong_group_length_does_not_matter() -> None:
    head = bytearray(file_meta(CT, "1.2.3", EXPLICIT_VR_LE))
    head[140:144] = b"\xff\xff\xff\x7f"
    assert split(bytes(head) + explicit("00080016", "UI"))[1] == len(head)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(200),
        file_meta(CT, "1.2.3", EXPLICIT_VR_LE)[:200],
        file_meta(CT, "1.2.3", EXPLICIT_VR_LE)[:131],
        bytes(128) + b"DICM" + explicit("00020002", "UI", b"1.2\0") + explicit("00080016", "UI"),
        bytes(128) + b"DICM" + explicit("00020102", "OB", bytes(70_000)) + explicit("00020010", "UI", b"1.2\0"),
    ],
)
def test_head_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DatasetError):
        split(data)


@pytest.mark.parametrize("sample", samples()[::7], ids=lambda sample: sample.name)
def test_heads_of_files_are_split_where_pydicom_splits_them(sample: Sample) -> None:
    raw = sample.path.read_bytes()
    if raw[128:134] != b"DICM\2\0" or "meta" in sample.name:
        return
    meta, offset = split(raw)
    assert (meta.transfer_syntax_uid, raw[offset:]) == (sample.transfer_syntax_uid, sample.data)


# --- a look at the front


STUDY, SERIES = "0020000D", "0020000E"


def peek(head: bytes, syntax: str = EXPLICIT_VR_LE) -> str | None:
    (uid,) = Peek([STUDY]).uids(head, syntax)
    return uid


@pytest.mark.parametrize("undefined", [False, True])
def test_uid_is_seen_as_soon_as_it_is_there(undefined: bool) -> None:
    front = sequence("00081140", item(explicit(STUDY, "UI", b"9.9\0")), undefined=undefined)
    data = front + explicit("00100020", "LO", b"A1") + explicit(STUDY, "UI", b"1.2\0")
    assert peek(data) == "1.2"
    assert peek(data + explicit("7FE00010", "OW", length=1 << 30)) == "1.2"
    assert all(peek(data[:size]) is None for size in range(len(data)))


def test_several_uids_are_seen_at_once() -> None:
    data = explicit(STUDY, "UI", b"1.2\0") + explicit(SERIES, "UI", b"1.3\0")
    assert Peek([SERIES, STUDY]).uids(data, EXPLICIT_VR_LE) == ["1.3", "1.2"]
    assert Peek([SERIES, STUDY]).uids(data[:-1], EXPLICIT_VR_LE) == [None, "1.2"]


def test_uids_are_seen_in_each_of_many_data_sets_laid_out_alike_or_not() -> None:
    searched = Peek((STUDY, SERIES))
    for number in [*range(1, 2000, 37), *(10**power for power in range(30)), *range(1, 90)]:
        instance, series = f"1.9.{number}".encode(), f"1.3.{number}".encode()
        decoy = sequence("00081140", item(explicit(SERIES, "UI", series)), undefined=False)
        front = decoy if number % 3 == 0 else explicit("00081140", "UN", bytes(len(decoy) - 12))
        uids = explicit(STUDY, "UI", b"1.2\0") + explicit(SERIES, "UI", series + bytes(len(series) % 2))
        data = explicit("00080018", "UI", instance + bytes(len(instance) % 2)) + front + uids
        assert searched.uids(data, EXPLICIT_VR_LE) == ["1.2", series.decode()]
        assert searched.uids(data[:-1], EXPLICIT_VR_LE) == ["1.2", None]


@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LE, EXPLICIT_VR_BE, JPEG_2000])
def test_uid_is_seen_in_every_transfer_syntax(syntax: str) -> None:
    order = ">" if syntax == EXPLICIT_VR_BE else "<"
    value = b"1.2\0"
    assert (
        peek(implicit(STUDY, value) if syntax == IMPLICIT_VR_LE else explicit(STUDY, "UI", value, order=order), syntax)
        == "1.2"
    )


def test_uid_that_is_absent_or_empty_is_none() -> None:
    assert peek(explicit("00200011", "IS", b"1 ")) is None
    assert peek(explicit(STUDY, "UI")) is None
    assert peek(explicit("00400001", "AE", b"X ")) is None
    assert peek(b"") is None


def test_uid_behind_an_element_of_a_future_vr_is_seen() -> None:
    assert peek(bytes.fromhex("0900 0110 5A5A 0000 02000000 6869") + explicit(STUDY, "UI", b"1.2\0")) == "1.2"


def test_front_that_is_no_data_set_is_refused() -> None:
    with pytest.raises(DatasetError):
        peek(sequence("00081140", explicit("00100020", "LO"), undefined=True))


@pytest.mark.parametrize("sample", samples()[::5], ids=lambda sample: sample.name)
def test_uids_of_files_are_those_of_their_rows(sample: Sample) -> None:
    try:
        row = to_json_model(sample.data, sample.transfer_syntax_uid)
    except DatasetError:
        return
    expected = [(row.get(key, {}).get("Value") or [None])[0] for key in (STUDY, SERIES)]
    assert Peek([STUDY, SERIES]).uids(sample.data, sample.transfer_syntax_uid) == expected


# --- transfer syntaxes


def test_table_of_transfer_syntaxes_is_that_of_pydicom() -> None:
    for uid in AllTransferSyntaxes:
        if str(uid).startswith("1.2.840.10008.1.20") or "SMPTE" in uid.name or "Papyrus" in uid.name:
            continue
        ours = transfer_syntax(str(uid))
        assert ours.uid in TRANSFER_SYNTAXES or ours.name == ours.uid, uid.name
        assert ours.explicit == (not uid.is_implicit_VR), uid.name
        assert ours.little_endian == uid.is_little_endian, uid.name
        assert ours.deflated == uid.is_deflated, uid.name
        assert ours.encapsulated == uid.is_compressed, uid.name


def test_unknown_transfer_syntax_is_explicit_and_encapsulated() -> None:
    private = transfer_syntax("1.2.3.4")
    assert (private.explicit, private.little_endian, private.encapsulated) == (True, True, True)
