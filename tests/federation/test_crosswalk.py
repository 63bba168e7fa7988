"""The crosswalk of numbers in a CSV file: what it knows, and how a mistake in it is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.patient import PatientIdentifier
from gateway.deadline import Deadline
from gateway.errors import ConfigError
from gateway.federation.crosswalk import Crosswalk, _join, is_patient_id
from gateway.federation.issuers import Issuer, Issuers
from tests.federation.test_identity import ids

HEADER = "health_card_number,issuer,patient_id,issuer_of_patient_id\n"
OID = "2.25.1234"
SOON = Deadline(float("inf"))


def read(folder: Path, text: str | bytes, issuers: Issuers | None = None) -> Crosswalk:
    path = folder / "crosswalk.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Crosswalk.read(path, issuers or Issuers())


async def test_every_number_leads_to_all_of_its_patient(tmp_path: Path) -> None:
    crosswalk = read(tmp_path, f"{HEADER}100,HCN,7,NEODIN\n200,HCN,7,HDIRS\n100,HCN,8,HDIRS\n100,HCN,9,NEODIN\n")
    marie = ids("HCN 100", "NEODIN 7", "NEODIN 9", "HDIRS 8")
    for identifier in marie:
        assert await crosswalk.identifiers(identifier, SOON) == marie
    assert await crosswalk.identifiers(PatientIdentifier("HDIRS", "7"), SOON) == ids("HCN 200", "HDIRS 7")


async def test_a_number_of_another_issuer_is_another_patients(tmp_path: Path) -> None:
    crosswalk = read(tmp_path, f"{HEADER}100,HCN,7,NEODIN\n")
    assert await crosswalk.identifiers(PatientIdentifier("SWODIN", "7"), SOON) == frozenset()
    assert await crosswalk.identifiers(PatientIdentifier("", "7"), SOON) == frozenset()


async def test_who_issued_a_number_is_known_without_naming_the_issuer(tmp_path: Path) -> None:
    crosswalk = read(tmp_path, f"{HEADER}100,HCN,7,NEODIN\n200,HCN,7,HDIRS\n")
    assert await crosswalk.issuers_of("7", SOON) == {"NEODIN", "HDIRS"}
    assert await crosswalk.issuers_of("100", SOON) == {"HCN"}
    assert await crosswalk.issuers_of("300", SOON) == frozenset()


async def test_an_issuer_may_be_written_by_any_of_its_names(tmp_path: Path) -> None:
    issuers = Issuers([Issuer("HCN", OID, "https://example.ca/hcn")])
    text = f"{HEADER}100,{OID},7,NEODIN\n100,urn:oid:{OID},8,HDIRS\n100,https://example.ca/hcn,9,SWODIN\n"
    known = await read(tmp_path, text, issuers).identifiers(PatientIdentifier("HCN", "100"), SOON)
    assert known == ids("HCN 100", "NEODIN 7", "HDIRS 8", "SWODIN 9")


async def test_a_file_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + HEADER.replace("\n", "\r\n").encode() + b'"100", HCN ,"7",NEODIN\r\n\r\n'
    assert await read(tmp_path, text).issuers_of("7", SOON) == {"NEODIN"}


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("", 1, "header"),
        ("100,HCN,7,NEODIN\n", 1, "header"),
        (f"{HEADER}100,HCN,7\n", 2, "expected 4 values"),
        (f"{HEADER}100,HCN,7,NEODIN,more\n", 2, "expected 4 values"),
        (f"{HEADER}100,HCN,,NEODIN\n", 2, "expected 4 values"),
        (f"{HEADER}100,HCN,7*,NEODIN\n", 2, "without *"),
        (f"{HEADER}100,HCN,7,NEODIN\n100,HCN,{'7' * 65},NEODIN\n", 3, "64"),
        (f'{HEADER}100,HCN,7,NEODIN\n100,HCN,"7,NEODIN\n', 3, "not CSV"),
        (f"{HEADER}100,HCN,7,NEODIN\n200,HCN,7,NEODIN\n", 3, "another patient's"),
        (f"{HEADER}100,HCN,7,NEODIN\n200,HCN,100,HCN\n", 3, "another patient's"),
    ],
)
def test_a_mistake_is_told_by_file_and_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    with pytest.raises(ConfigError, match=r"crosswalk\.csv") as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'crosswalk.csv'}:{line}: ")
    assert word in str(caught.value)
    assert "200" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe1\x00"])
def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"other\.csv"):
        Crosswalk.read(path, Issuers())


@given(st.lists(st.tuples(*(st.sampled_from(["1", "2", "3"]), st.sampled_from(["A", "B", "P"])) * 2), max_size=8))
async def test_a_crosswalk_that_is_accepted_never_gives_a_number_to_two_patients(rows: list[tuple[str, ...]]) -> None:
    patients: dict[PatientIdentifier, set[PatientIdentifier]] = {}
    try:
        for number, issuer, local, local_issuer in rows:
            provincial, own = PatientIdentifier(issuer, number), PatientIdentifier(local_issuer, local)
            _join(patients, provincial, own, "here")
    except ConfigError:
        return
    for identifier, patient in patients.items():
        assert identifier in patient
        assert all(patients[other] is patient for other in patient)


@pytest.mark.parametrize(
    ("value", "usable"),
    [("7", True), ("GW-339 673", True), ("", False), ("7*", False), ("?", False), ("7\\8", False), ("7\n", False)],
)
def test_a_number_that_an_archive_would_take_for_a_pattern_is_none(value: str, usable: bool) -> None:
    assert is_patient_id(value) is usable


# --- issuers


def test_one_name_of_two_issuers_is_refused() -> None:
    with pytest.raises(ConfigError, match="two issuers"):
        Issuers([Issuer("HCN", OID), Issuer("OTHER", OID)])


def test_an_issuer_has_the_uri_of_its_oid_where_it_has_no_other() -> None:
    assert Issuers([Issuer("HCN", OID)]).issuer("HCN").system == f"urn:oid:{OID}"
    assert Issuers([Issuer("HCN", OID, "https://example.ca/hcn")]).issuer(OID).system == "https://example.ca/hcn"
    assert Issuers().issuer("HCN").system == ""
