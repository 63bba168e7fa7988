"""An XML document becomes the row that it describes, or is refused: whoever wrote it, and whatever it is."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.json_model import to_json_model
from gateway.dataset.native_xml import to_native_xml
from gateway.dataset.native_xml_reader import from_native_xml
from gateway.dataset.query import Row
from gateway.errors import DatasetError, LimitExceeded
from tests.dataset.native_model import NAMESPACE, differences, parse
from tests.dataset.oracle import Sample, samples
from tests.dataset.test_native_xml import BEYOND_DCMTK, NONE, REFUSED, dcm2xml, only_delimiters, unexplained

MOST = 1 << 24
READABLE = [sample for sample in samples() if sample.name not in REFUSED]
BY_DCMTK = [sample for sample in READABLE if sample.name not in BEYOND_DCMTK]


def read(document: bytes) -> Row:
    return from_native_xml(document, max_bytes=MOST)


def document(content: str, namespace: str = f' xmlns="{NAMESPACE}"') -> bytes:
    return f'<NativeDicomModel{namespace} xml:space="preserve">{content}</NativeDicomModel>'.encode()


def attribute(content: str, vr: str = "LO", tag: str = "00081030") -> bytes:
    return document(f'<DicomAttribute tag="{tag}" vr="{vr}">{content}</DicomAttribute>')


@pytest.mark.parametrize("sample", READABLE, ids=lambda s: s.name)
def test_document_of_ours_is_read_as_it_was_meant(sample: Sample) -> None:
    written = to_native_xml(to_json_model(sample.data, sample.transfer_syntax_uid))
    row = read(written)
    again = to_native_xml(row)
    changed = differences(parse(written), parse(again))
    assert [tag for tag, ours, theirs in changed if not only_delimiters(tag, ours or NONE, theirs or NONE)] == []
    assert read(again) == row
    assert list(row) == sorted(row)


def test_row_survives_both_ways() -> None:
    row: Row = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080061": {"vr": "CS", "Value": ["CT", None, "SR"]},
        "00080090": {"vr": "PN"},
        "00090010": {"vr": "LO", "Value": ["LAB"]},
        "00090011": {"vr": "LO", "Value": ["OTHER"]},
        "00091001": {"vr": "UN", "InlineBinary": "AAE="},
        "00091101": {"vr": "DS", "Value": [1.5, -2.0]},
        "00091201": {"vr": "SH", "Value": ["nobody's"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Gagné^Noël", "Phonetic": "^ノエル"}, None]},
        "00200013": {"vr": "IS", "Value": [7]},
        "00204000": {"vr": "LT", "Value": [" a\r\n<b>  "]},
        "00280009": {"vr": "AT", "Value": ["0018106B"]},
        "00280106": {"vr": "SS", "Value": [-3]},
        "00400275": {"vr": "SQ", "Value": [{}, {"00400009": {"vr": "SH", "Value": ["S"]}}]},
        "00720074": {"vr": "FD", "Value": [0.1, None]},
        "00720082": {"vr": "SV", "Value": [-5]},
        "00720083": {"vr": "UV", "Value": ["18446744073709551615", 3]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "../bulk?a&b"},
    }
    assert read(to_native_xml(row)) == row


@pytest.mark.skipif(not shutil.which("dcm2xml"), reason="DCMTK is not installed")
@pytest.mark.parametrize("sample", BY_DCMTK[::4], ids=lambda s: s.name)
def test_document_of_dcmtk_is_read(sample: Sample) -> None:
    theirs = dcm2xml(sample.path)
    ours = to_native_xml(read(theirs))
    assert unexplained(parse(ours), parse(theirs)) == []


# --- what others may write


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1"])
def test_encoding_is_what_the_document_says(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + attribute('<Value number="1">Crâne</Value>').decode()
    assert read(text.encode(encoding)) == {"00081030": {"vr": "LO", "Value": ["Crâne"]}}


def test_namespace_may_be_missing_and_space_between_elements_has_no_meaning() -> None:
    content = '\n <DicomAttribute tag="00081030" vr="LO">\n <Value number="1">x</Value> </DicomAttribute>\n'
    assert read(document(content, "")) == {"00081030": {"vr": "LO", "Value": ["x"]}}


def test_vr_may_be_left_to_the_dictionary() -> None:
    content = '<DicomAttribute tag="00200013"><Value number="1">7</Value></DicomAttribute>'
    assert read(document(content)) == {"00200013": {"vr": "IS", "Value": [7]}}


def test_private_elements_get_the_block_of_their_creator_or_the_first_that_is_free() -> None:
    private = (
        '<DicomAttribute tag="00090001" vr="LO" privateCreator="{0}"><Value number="1">{0}</Value></DicomAttribute>'
    )
    reserved = '<DicomAttribute tag="00090011" vr="LO"><Value number="1">LAB</Value></DicomAttribute>'
    assert read(document(private.format("NEW") + private.format("LAB") + reserved)) == {
        "00090010": {"vr": "LO", "Value": ["NEW"]},
        "00090011": {"vr": "LO", "Value": ["LAB"]},
        "00091001": {"vr": "LO", "Value": ["NEW"]},
        "00091101": {"vr": "LO", "Value": ["LAB"]},
    }


def test_group_lengths_and_file_meta_information_are_left_out() -> None:
    content = "".join(f'<DicomAttribute tag="{tag}" vr="UL"/>' for tag in ("00020010", "00080000", "00280010"))
    assert list(read(document(content))) == ["00280010"]


# --- what is refused

BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    + attribute('<Value number="1">&b;&b;&b;</Value>')
)  # fmt: skip


@pytest.mark.parametrize(
    "malformed",
    [
        b"",
        b"{}",
        b"<NativeDicomModel>",
        BOMB,
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + document(""),
        attribute('<Value number="1">&unknown;</Value>'),
        b'<?xml version="1.0" encoding="rot13"?>' + document(""),
        b'<?xml version="1.0" encoding="Big5"?>' + document(""),
        b"<Other/>",
        document("text"),
        document("<Value/>"),
        document('<DicomAttribute tag="0008103" vr="LO"/>'),
        document('<DicomAttribute tag="0008103e" vr="LO"/>'),
        document('<DicomAttribute vr="LO"/>'),
        document('<DicomAttribute tag="00081030" vr="XX"/>'),
        document('<DicomAttribute tag="00091001"/>'),
        document('<DicomAttribute tag="00081030" vr="LO"/>' * 2),
        document('<DicomAttribute tag="00081030" vr="LO" privateCreator="LAB"/>'),
        attribute("text"),
        attribute("<Value>x</Value>"),
        attribute('<Value number="2">x</Value>'),
        attribute('<Value number="999999999">x</Value>'),
        attribute('<Value number="1"><b/></Value>'),
        attribute('<Item number="1"/>'),
        attribute("<InlineBinary>AA==</InlineBinary>"),
        attribute('<BulkData uuid="1"/>'),
        attribute('<BulkData uri="x">y</BulkData>'),
        attribute('<BulkData uri="x"/><Value number="1">x</Value>'),
        attribute('<Value number="1">x</Value><BulkData uri="x"/>'),
        attribute("<InlineBinary>A</InlineBinary>", "OB"),
        attribute("<InlineBinary>AA==</InlineBinary><InlineBinary/>", "OB"),
        attribute('<Value number="1">AA==</Value>', "OW"),
        attribute('<Value number="1">x</Value>', "PN"),
        attribute('<PersonName number="1"><FamilyName>x</FamilyName></PersonName>', "PN"),
        attribute('<PersonName number="1"><Alphabetic><Name/></Alphabetic></PersonName>', "PN"),
        attribute('<PersonName number="1"><Alphabetic/><Alphabetic/></PersonName>', "PN"),
        attribute('<Value number="1">1.5</Value>', "US"),
        attribute('<Value number="1">1_0</Value>', "US"),
        attribute('<Value number="1">x</Value>', "FD"),
        attribute('<Value number="1">x</Value>', "AT"),
        document("".join(f'<DicomAttribute tag="00090001" vr="LO" privateCreator="{n}"/>' for n in range(241))),
    ],
)  # fmt: skip
def test_document_that_is_no_native_model_is_refused(malformed: bytes) -> None:
    with pytest.raises(DatasetError) as refusal:
        read(malformed)
    assert "AA==" not in str(refusal.value)


def nested(depth: int) -> bytes:
    opening = '<DicomAttribute tag="00081032" vr="SQ"><Item number="1">'
    return document(opening * depth + "</Item></DicomAttribute>" * depth)


def test_depth_and_size_are_bounded() -> None:
    row = read(nested(64))
    for _ in range(64):
        row = row["00081032"]["Value"][0]
    assert row == {}
    with pytest.raises(LimitExceeded, match="64"):
        read(nested(65))
    whole = document("")
    assert from_native_xml(whole, max_bytes=len(whole)) == {}
    with pytest.raises(LimitExceeded):
        from_native_xml(whole, max_bytes=len(whole) - 1)


WHOLE = to_native_xml(to_json_model(READABLE[0].data, READABLE[0].transfer_syntax_uid))


@given(st.binary(max_size=60), st.integers(0, len(WHOLE)), st.integers(0, 40))
def test_any_bytes_are_read_or_refused(junk: bytes, at: int, cut: int) -> None:
    for damaged in (junk, WHOLE[:at] + junk + WHOLE[at + cut :]):
        try:
            row = read(damaged)
        except (DatasetError, LimitExceeded):
            continue
        assert read(to_native_xml(row)) == row
