"""A row as XML says what the row says: by PS3.19 Annex A.1, and as DCMTK writes it where DCMTK is right."""

import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.json_model import to_json_model
from gateway.dataset.native_xml import to_native_xml
from gateway.dataset.query import Row
from gateway.dataset.values import swapped
from tests.dataset.native_model import NAMESPACE, Element, Model, Tag, differences, parse
from tests.dataset.oracle import Sample, samples

REFUSED = {"rtplan_truncated.dcm", "MR_truncated.dcm", "DICOMDIR-nooffset"}
"""Data Sets that are cut: we make no row of a part of one."""

BEYOND_DCMTK = {
    **dict.fromkeys(
        ("chrH31.dcm", "chrH32.dcm", "chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm", "J2K_pixelrep_mismatch.dcm"),
        "its character set is one that DCMTK here cannot convert",
    ),
    **dict.fromkeys(
        ("DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nopatient", "DICOMDIR-reordered"),
        "a directory, not an instance",
    ),
    "SC_rgb_jpeg.dcm": "DCMTK finds no end in its Pixel Data",
}
"""Files of which DCMTK makes no XML document."""


def native(row: Row) -> str:
    """The document between its root's tags."""
    text = to_native_xml(row).decode()
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
    assert text.startswith(head)
    assert text.endswith("</NativeDicomModel>\n")
    return text.removeprefix(head).removesuffix("</NativeDicomModel>\n")


# --- element by element


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"00080061": {"vr": "CS", "Value": ["CT", None, "SR"]}},
            ('<DicomAttribute tag="00080061" vr="CS" keyword="ModalitiesInStudy">'
            '<Value number="1">CT</Value><Value number="2"/><Value number="3">SR</Value></DicomAttribute>'),
        ),
        ({"00080050": {"vr": "SH"}}, '<DicomAttribute tag="00080050" vr="SH" keyword="AccessionNumber"/>'),
        (
            {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Gagné^Noël^^Dr^MD", "Ideographic": "王^小东"}]}},
            ('<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1">'
            "<Alphabetic><FamilyName>Gagné</FamilyName><GivenName>Noël</GivenName>"
            "<NamePrefix>Dr</NamePrefix><NameSuffix>MD</NameSuffix></Alphabetic>"
            "<Ideographic><FamilyName>王</FamilyName><GivenName>小东</GivenName></Ideographic>"
            "</PersonName></DicomAttribute>"),
        ),
        # a name with more components than there are keeps them in the last one
        (
            {"00100010": {"vr": "PN", "Value": [None, {"Alphabetic": "A^B^C^D^E^F"}, {"Phonetic": "^ノエル"}]}},
            ('<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1"/>'
            '<PersonName number="2"><Alphabetic><FamilyName>A</FamilyName><GivenName>B</GivenName>'
            "<MiddleName>C</MiddleName><NamePrefix>D</NamePrefix><NameSuffix>E^F</NameSuffix></Alphabetic></PersonName>"
            '<PersonName number="3"><Phonetic><GivenName>ノエル</GivenName></Phonetic></PersonName></DicomAttribute>'),
        ),
        (
            {"00081032": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T1"]}}, {}]}},
            ('<DicomAttribute tag="00081032" vr="SQ" keyword="ProcedureCodeSequence"><Item number="1">'
            '<DicomAttribute tag="00080100" vr="SH" keyword="CodeValue"><Value number="1">T1</Value></DicomAttribute>'
            '</Item><Item number="2"/></DicomAttribute>'),
        ),
        ({"00081032": {"vr": "SQ"}}, '<DicomAttribute tag="00081032" vr="SQ" keyword="ProcedureCodeSequence"/>'),
        (
            {"00200032": {"vr": "DS", "Value": [-1.5, 20.0, 1e-7]}, "00280010": {"vr": "US", "Value": [512]}},
            ('<DicomAttribute tag="00200032" vr="DS" keyword="ImagePositionPatient"><Value number="1">-1.5</Value>'
            '<Value number="2">20</Value><Value number="3">1e-07</Value></DicomAttribute>'
            '<DicomAttribute tag="00280010" vr="US" keyword="Rows"><Value number="1">512</Value></DicomAttribute>'),
        ),
        (
            {"00280009": {"vr": "AT", "Value": ["00181063"]}},
            ('<DicomAttribute tag="00280009" vr="AT" keyword="FrameIncrementPointer">'
            '<Value number="1">00181063</Value></DicomAttribute>'),
        ),
        (
            {"7FE00010": {"vr": "OW", "BulkDataURI": '../bulk?a=1&b="2"'}},
            ('<DicomAttribute tag="7FE00010" vr="OW" keyword="PixelData">'
            '<BulkData uri="../bulk?a=1&amp;b=&quot;2&quot;"/></DicomAttribute>'),
        ),
        (
            {"00420011": {"vr": "OB", "InlineBinary": "JVBERg=="}},
            ('<DicomAttribute tag="00420011" vr="OB" keyword="EncapsulatedDocument">'
            "<InlineBinary>JVBERg==</InlineBinary></DicomAttribute>"),
        ),
        # a private element names its creator instead of its block, in an item by what the item says
        (
            {
                "00091110": {"vr": "UN", "InlineBinary": "AA=="},
                "00090011": {"vr": "LO", "Value": ['Lab & "Co"']},
                "00091201": {"vr": "LO", "Value": ["nobody's"]},
            },
            ('<DicomAttribute tag="00090011" vr="LO"><Value number="1">Lab &amp; "Co"</Value></DicomAttribute>'
            '<DicomAttribute tag="00090010" vr="UN" privateCreator="Lab &amp; &quot;Co&quot;">'
            "<InlineBinary>AA==</InlineBinary></DicomAttribute>"
            '<DicomAttribute tag="00091201" vr="LO"><Value number="1">nobody\'s</Value></DicomAttribute>'),
        ),
        # a repeating group, and a tag that no dictionary knows
        (
            {"60020011": {"vr": "US", "Value": [1]}, "0008FFFE": {"vr": "UN"}},
            (
                '<DicomAttribute tag="0008FFFE" vr="UN"/><DicomAttribute tag="60020011" vr="US" '
                'keyword="OverlayColumns"><Value number="1">1</Value></DicomAttribute>'
            ),
        ),
    ],
)  # fmt: skip
def test_element_of_each_kind(row: Row, expected: str) -> None:
    assert native(row) == expected
    parse(to_native_xml(row))


def test_markup_and_line_ends_survive_a_parser() -> None:
    text = 'a<b>&amp; "q"\r\n\tlast\r'
    row: Row = {"00204000": {"vr": "LT", "Value": [text]}}
    assert parse(to_native_xml(row))["00204000", None].content == [("Value", "1", text)]


def test_character_that_xml_cannot_write_is_replaced_and_the_row_stays() -> None:
    row: Row = {
        "00081030": {"vr": "LO", "Value": ["a\x1bb\x00c\ufffed\ud800e"]},
        "00090010": {"vr": "LO", "Value": ["LAB\x02"]},
        "00091001": {"vr": "LO", "Value": ["x"]},
    }
    model = parse(to_native_xml(row))
    assert model["00081030", None].content == [("Value", "1", "a\ufffdb\ufffdc\ufffdd\ufffde")]
    assert model["00090001", "LAB\ufffd"].content == [("Value", "1", "x")]


@given(st.text(st.characters(), min_size=1))
def test_any_text_makes_a_document_that_says_the_same(text: str) -> None:
    row: Row = {
        "00204000": {"vr": "LT", "Value": [text]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": text.replace("^", "") or "x"}]},
        "7FE00010": {"vr": "OW", "BulkDataURI": text},
    }
    model = parse(to_native_xml(row))
    allowed = "".join(
        c if c in "\t\n\r" or " " <= c < "\ud800" or "\udfff" < c not in "\ufffe\uffff" else "\ufffd" for c in text
    )
    assert model["00204000", None].content == [("Value", "1", allowed)]
    assert model["7FE00010", None].content == [("BulkData", None, allowed)]
    assert model["00100010", None].content[0][2] == {"Alphabetic": {"FamilyName": allowed.replace("^", "") or "x"}}


# --- DCMTK

NONE = Element()
"""Stands for an element that one side does not have."""


def character_set(tag: Tag, _ours: Element, _theirs: Element) -> bool:
    """DCMTK says what it has converted to; ours is what the Data Set was in (PS3.18 F.2.2, note)."""
    return tag[0] == "00080005"


def pixel_data(tag: Tag, ours: Element, theirs: Element) -> bool:
    """Encapsulated Pixel Data is a value like any other; DCMTK leaves InlineBinary empty."""
    return tag[0] == "7FE00010" and ours.vr == theirs.vr == "OB" and theirs.content == [("InlineBinary", None, None)]


def retired(_tag: Tag, ours: Element, theirs: Element) -> bool:
    """A keyword is required of every attribute that is known (Table A.1.5-2), also of a retired one."""
    return theirs.keyword is None and (ours.vr, ours.content) == (theirs.vr, theirs.content)


def only_delimiters(_tag: Tag, ours: Element, theirs: Element) -> bool:
    """A name of delimiters only is not of zero length, so it has a PersonName; DCMTK leaves it out."""
    return ours.vr == "PN" and not theirs.content and all(name == {} for _, _, name in ours.content)


def empty_group(_tag: Tag, ours: Element, theirs: Element) -> bool:
    """DCMTK repeats the ideographic group where the phonetic one is empty: the name ends in ``=``."""
    if not ours.vr == theirs.vr == "PN":
        return False
    pairs = [(mine[2], other[2]) for mine, other in zip(ours.content, theirs.content, strict=False)]
    return all(other == {**mine, "Phonetic": mine.get("Ideographic")} for mine, other in pairs if mine != other)


def byte_order(_tag: Tag, ours: Element, theirs: Element) -> bool:
    """Words are little-endian, as in all Transfer Syntaxes of the web (PS3.18 8.7.3); DCMTK swaps OW for Base64."""
    if ours.vr != "OW" or not theirs.content:
        return False
    return b64decode(ours.content[0][2]) == swapped(b64decode(theirs.content[0][2]), 2)


def unknown_vr(_tag: Tag, ours: Element, theirs: Element) -> bool:
    """What is in a file as UN, and known to the dictionary, has its VR in a row (PS3.5 6.2.2)."""
    return theirs.vr == "UN" != ours.vr


def unreserved(tag: Tag, ours: Element, theirs: Element) -> bool:
    """Without a creator the block is all that tells private elements apart; DCMTK drops it all the same."""
    private = tag[0][3] in "13579BDF" and tag[1] is None
    return private and (theirs is NONE if tag[0][4:6] != "00" else ours is NONE)


def padding(_tag: Tag, ours: Element, theirs: Element) -> bool:
    """Values have no padding in a model (PS3.18 F.2.3); DCMTK strips it from the last value only."""
    values = [(kind, number, (text and str(text).strip(" \0")) or None) for kind, number, text in theirs.content]
    return ours.vr not in {"PN", "SQ"} and ours.content == values


JUSTIFIED: tuple[Callable[[Tag, Element, Element], bool], ...] = (
    character_set,
    pixel_data,
    retired,
    only_delimiters,
    empty_group,
    byte_order,
    unknown_vr,
    unreserved,
    padding,
)


def dcm2xml(path: Path) -> bytes:
    command = ["dcm2xml", "--quiet", "--native-format", "--convert-to-utf8", "--load-all", "--encode-base64", str(path)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def unexplained(ours: Model, theirs: Model) -> list[Any]:
    return [
        (tag, mine, other)
        for tag, mine, other in differences(ours, theirs)
        if not any(justified(tag, mine or NONE, other or NONE) for justified in JUSTIFIED)
    ]


@pytest.mark.skipif(not shutil.which("dcm2xml"), reason="DCMTK is not installed")
@pytest.mark.parametrize(
    "sample", [s for s in samples() if s.name not in REFUSED | BEYOND_DCMTK.keys()], ids=lambda s: s.name
)
def test_native_model_is_the_one_of_dcmtk(sample: Sample) -> None:
    row = to_json_model(sample.data, sample.transfer_syntax_uid)
    assert unexplained(parse(to_native_xml(row)), parse(dcm2xml(sample.path))) == []


@pytest.mark.parametrize("sample", [s for s in samples() if s.name in BEYOND_DCMTK], ids=lambda s: s.name)
def test_data_set_that_dcmtk_cannot_convert_is_a_document_all_the_same(sample: Sample) -> None:
    row = to_json_model(sample.data, sample.transfer_syntax_uid)
    assert {tag for tag, _ in parse(to_native_xml(row))} >= {key for key in row if key[3] not in "13579BDF"}
