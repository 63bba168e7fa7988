"""The flat tables say what PS3.6 says, by pydicom's dictionary."""

import subprocess
import sys

import pytest
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import keyword_dict, keyword_for_tag

from gateway.dataset.dictionary import keyword_of, keywords, known_vr, vr_of
from gateway.dataset.values import DECODERS

CHOICES = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW", "NONE": "UN"}


def test_every_tag_has_its_vr_and_its_keyword() -> None:
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        key = f"{tag:08X}"
        if key.startswith("FFFE") or key.endswith("0000"):
            continue
        assert vr_of(key) == CHOICES.get(vr, vr), key
        assert not keyword or (keywords()[keyword], keyword_of(key)) == (key, keyword)


def test_every_repeating_tag_has_its_vr() -> None:
    for pattern, (vr, *_) in RepeatersDictionary.items():
        for digit in "24E":
            key = pattern.replace("x", digit)
            assert int(key, 16) in DicomDictionary or vr_of(key) == CHOICES.get(vr, vr), key


@pytest.mark.parametrize(
    ("key", "vr"),
    [("00190010", "LO"), ("001900FF", "LO"), ("00191001", "UN"), ("00190001", "UN"), ("0008FFFF", "UN")],
)
def test_tag_outside_the_dictionary_is_a_private_creator_or_unknown(key: str, vr: str) -> None:
    assert vr_of(key) == vr
    assert keyword_of(key) == key


def test_vr_of_what_came_as_unknown_is_only_taken_where_there_is_no_choice() -> None:
    assert [known_vr(key) for key in ("00080060", "00081140", "00280106", "00191001")] == ["CS", "SQ", "UN", "UN"]


def test_every_vr_of_the_dictionary_can_be_decoded() -> None:
    used = {CHOICES.get(vr, vr) for vr, *_ in (*DicomDictionary.values(), *RepeatersDictionary.values())}
    assert used - DECODERS.keys() == {"SQ"}


def test_every_keyword_has_its_tag_and_a_repeating_one_its_keyword() -> None:
    # pydicom's own table has retired attributes without a keyword under the empty one.
    assert dict(keywords()) == {keyword: f"{tag:08X}" for keyword, tag in keyword_dict.items() if keyword}
    for tag in (0x60000010, 0x60023000, 0x50003000, 0x00204100, 0x10100001, 0x60010010, 0x00190010):
        assert keyword_of(f"{tag:08X}") == (keyword_for_tag(tag) or f"{tag:08X}")


def test_the_registry_is_read_without_running_the_package_that_has_it() -> None:
    heavy = "numpy pydicom pynetdicom requests imagecodecs"
    code = f"import sys, gateway.assembly; print(*(sys.modules.keys() & set('{heavy}'.split())))"
    assert not subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
