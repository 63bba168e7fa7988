"""The gateway over the embedded province and its crosswalk: a patient is found under any number, and nobody else is.

Traps 2, 4, 5, 6, 15 and 23, end to end: HTTP in, four archives behind.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.assembly import running
from gateway.config.settings import load
from gateway.errors import ConfigError
from gateway.federation.identity import identifiers, text
from gateway.region.profile import Profile
from regions.archive import Archive
from regions.people import HEALTH_CARD_ISSUER, HEALTH_CARD_OID, REGIONS
from regions.truth import Patient, TrueStudy, Truth
from tests.federation.pix_server import PixServer
from tests.kit.peers import free_port

Keys = dict[str, str]


@pytest.fixture(scope="module")
def profiles(province: Path) -> Iterator[list[Profile]]:
    with ExitStack() as stack:
        made = []
        for name in REGIONS:
            archive = stack.enter_context(Archive(name, province / name))
            values: dict[str, Any] = {"name": name, "ae_title": name, "host": "127.0.0.1", "port": archive.port}
            made.append(Profile(**{**values, "issuer_of_patient_id": name}))
        yield made


@dataclass
class Answer:
    rows: list[dict[str, Any]]
    warnings: list[str]
    states: str

    @property
    def studies(self) -> set[str]:
        return {text(row, "0020000D") for row in self.rows}

    @property
    def shown(self) -> set[tuple[str, str]]:
        return {(text(row, "00100021"), text(row, "00100020")) for row in self.rows}


@dataclass
class Gateway:
    port: int

    async def search(self, keys: Keys | None = None, resource: str = "studies", status: int = 200) -> Answer:
        url = f"http://127.0.0.1:{self.port}/dicom-web/{resource}"
        headers = {"Accept": "application/dicom+json"}
        async with aiohttp.ClientSession() as session, session.get(url, params=keys, headers=headers) as reply:
            assert reply.status == status, await reply.text()
            warnings = [value for name, value in reply.headers.items() if name.lower() == "warning"]
            rows = await reply.json(content_type=None) if status == 200 else []
            return Answer(rows, warnings, reply.headers.get("Federation-Status", ""))


@contextlib.asynccontextmanager
async def gateway(profiles: list[Profile], **identity: Any) -> AsyncIterator[Gateway]:
    issuers = [{"issuer": HEALTH_CARD_ISSUER, "oid": HEALTH_CARD_OID}]
    overrides: dict[str, Any] = {
        "access": {"mode": "open"},
        "http": {"port": 0},
        "ops": {"port": 0},
        "dimse": {"port": free_port()},
        "identity": {"provincial_issuer": HEALTH_CARD_ISSUER, "issuers": issuers, **identity},
    }
    async with running(load(overrides=overrides), profiles) as made:
        yield Gateway(made.http_port)


@contextlib.asynccontextmanager
async def knowing(profiles: list[Profile], province: Path, **more: Any) -> AsyncIterator[Gateway]:
    async with gateway(profiles, source="csv", crosswalk=str(province / "crosswalk.csv"), **more) as made:
        yield made


def studies_of(true: Truth, patient: Patient) -> set[str]:
    return {study.study_instance_uid for study in true.studies if study.patient == patient.key}


def namesakes(true: Truth) -> tuple[TrueStudy, TrueStudy]:
    """Two studies of two patients with one Patient ID in two regions."""
    one, other = true.having("same-patient-id")
    [number] = {*one.patient_ids.values(), *other.patient_ids.values()}
    assert number
    assert one.patient != other.patient
    return one, other


async def test_the_health_card_number_finds_the_studies_of_all_regions(
    profiles: list[Profile], province: Path, true: Truth
) -> None:
    async with knowing(profiles, province) as made:
        for patient in true.patients:
            found = await made.search({"PatientID": patient.health_card_number})
            assert found.studies == studies_of(true, patient)
            assert found.shown == {(HEALTH_CARD_ISSUER, patient.health_card_number)}
            assert found.states.count("state=complete") == 4
            others = set(patient.medical_record_numbers.items())
            for row in found.rows:
                known = {(x.issuer, x.value) for x in identifiers(row, "?")}
                assert known >= others | {(HEALTH_CARD_ISSUER, patient.health_card_number)}


async def test_trap_5_any_local_number_with_its_issuer_finds_the_studies_of_all_regions(
    profiles: list[Profile], province: Path, true: Truth
) -> None:
    patient = true.patient(true.study("four-regions").patient)
    async with knowing(profiles, province) as made:
        for issuer, number in patient.medical_record_numbers.items():
            found = await made.search({"PatientID": number, "IssuerOfPatientID": issuer})
            assert found.studies == studies_of(true, patient)
            assert found.shown == {(issuer, number)}


async def test_what_a_viewer_sends_finds_the_same(profiles: list[Profile], province: Path, true: Truth) -> None:
    patient = true.patient(true.study("four-regions").patient)
    number, page = patient.health_card_number, {"limit": "101", "offset": "0", "fuzzymatching": "true"}
    qualified = {"IssuerOfPatientIDQualifiersSequence.UniversalEntityID": HEALTH_CARD_OID}
    async with knowing(profiles, province) as made:
        for keys in (
            {"00100020": number, **page},
            {"00100020": f"*{number}*", **page},
            {"00100020": number, **qualified},
        ):
            assert (await made.search(keys)).studies == studies_of(true, patient)


async def test_trap_5_a_bare_number_of_two_patients_shows_each_as_their_own(
    profiles: list[Profile], province: Path, true: Truth
) -> None:
    one, other = namesakes(true)
    patients = [true.patient(study.patient) for study in (one, other)]
    number = one.patient_ids[one.region]
    async with knowing(profiles, province) as made:
        found = await made.search({"PatientID": number})
        assert found.studies == studies_of(true, patients[0]) | studies_of(true, patients[1])
        assert found.shown == {(one.region, number), (other.region, number)}
        [warning] = [text for text in found.warnings if "ambiguous" in text]
        assert one.region in warning
        assert other.region in warning
        assert number not in warning
        for study, patient in zip((one, other), patients, strict=True):
            mine = await made.search({"PatientID": number, "IssuerOfPatientID": study.region})
            assert mine.studies == studies_of(true, patient)
            assert not mine.warnings


async def test_trap_15_an_accession_number_of_two_regions_shows_each_study_under_its_patient(
    profiles: list[Profile], province: Path, true: Truth
) -> None:
    studies = true.having("same-accession")
    async with knowing(profiles, province) as made:
        found = await made.search({"AccessionNumber": studies[0].accession_numbers[studies[0].region]})
        assert {text(row, "0020000D"): text(row, "00100020") for row in found.rows} == {
            study.study_instance_uid: true.patient(study.patient).health_card_number for study in studies
        }


async def test_trap_4_a_foreign_copy_is_one_row_with_the_custodians_accession_number(
    profiles: list[Profile], province: Path, true: Truth
) -> None:
    study = true.study("foreign-copy")
    patient = true.patient(study.patient)
    async with knowing(profiles, province, present="local") as made:
        for keys in ({"StudyInstanceUID": study.study_instance_uid}, {"PatientID": patient.health_card_number}):
            found = await made.search(keys)
            [row] = [row for row in found.rows if text(row, "0020000D") == study.study_instance_uid]
            assert text(row, "00080050") == study.accession_numbers[study.region]
            assert (text(row, "00100021"), text(row, "00100020")) == (study.region, study.patient_ids[study.region])
            known = {(x.issuer, x.value) for x in identifiers(row, "?")}
            assert known >= {
                (HEALTH_CARD_ISSUER, patient.health_card_number),
                ("GTAWEST", study.patient_ids["GTAWEST"]),
            }
            assert set(row["00080054"]["Value"]) == {study.region, "GTAWEST"}


async def test_a_search_without_a_patient_shows_every_study_under_its_patients_provincial_number(
    profiles: list[Profile], province: Path, true: Truth
) -> None:
    async with knowing(profiles, province) as made:
        found = await made.search()
        assert {text(row, "0020000D"): text(row, "00100020") for row in found.rows} == {
            study.study_instance_uid: true.patient(study.patient).health_card_number for study in true.studies
        }
        assert not [text for text in found.warnings if "identity" in text]


async def test_a_number_that_nobody_has_finds_nothing_and_all_regions_are_complete(
    profiles: list[Profile], province: Path
) -> None:
    async with knowing(profiles, province) as made:
        found = await made.search({"PatientID": "no-such-number"})
        assert (found.rows, found.states.count("state=complete")) == ([], 4)


async def test_without_a_source_a_local_number_finds_its_regions_studies_with_their_issuer(
    profiles: list[Profile], true: Truth
) -> None:
    one, other = namesakes(true)
    number = one.patient_ids[one.region]
    async with gateway(profiles) as made:
        found = await made.search({"PatientID": number})
        assert found.shown >= {(one.region, number), (other.region, number)}
        mine = await made.search({"PatientID": number, "IssuerOfPatientID": one.region})
        assert {number for _, number in mine.shown} == {number}
        assert one.study_instance_uid in mine.studies
        assert other.study_instance_uid not in mine.studies


async def test_a_pixm_manager_instead_of_the_file_gives_the_same_answer(
    profiles: list[Profile], province: Path, true: Truth
) -> None:
    systems = {name: f"urn:oid:2.25.{at}" for at, name in enumerate(REGIONS, 1)}
    systems[HEALTH_CARD_ISSUER] = f"urn:oid:{HEALTH_CARD_OID}"
    issuers = [{"issuer": name, "oid": system.removeprefix("urn:oid:")} for name, system in systems.items()]
    people = [
        [f"{systems[HEALTH_CARD_ISSUER]}|{patient.health_card_number}"]
        + [f"{systems[issuer]}|{number}" for issuer, number in patient.medical_record_numbers.items()]
        for patient in true.patients
    ]
    one, _ = namesakes(true)
    patient = true.patient(true.study("four-regions").patient)
    keys = [{"PatientID": patient.health_card_number}, {"PatientID": one.patient_ids[one.region]}, {}]
    async with (
        PixServer(people).running() as server,
        gateway(profiles, source="pixm", pixm_url=server.url, issuers=issuers) as made,
    ):
        registry = [await made.search(each) for each in keys]
        asked = len(server.asked)
        again = [await made.search(each) for each in keys]
        assert len(server.asked) == asked
    async with knowing(profiles, province, issuers=issuers) as made:
        filed = [await made.search(each) for each in keys]
    assert registry == again == filed
    assert registry[0].studies == studies_of(true, patient)


async def test_a_pixm_manager_that_is_down_leaves_the_search_working_and_says_so(
    profiles: list[Profile], true: Truth
) -> None:
    study = true.study("four-regions")
    number = study.patient_ids[study.region]
    issuers = [{"issuer": name, "oid": f"2.25.{at}"} for at, name in enumerate((*REGIONS, HEALTH_CARD_ISSUER), 1)]
    url = f"http://127.0.0.1:{free_port()}"
    async with gateway(profiles, source="pixm", pixm_url=url, issuers=issuers) as made:
        for keys in ({"PatientID": number}, {"PatientID": number, "IssuerOfPatientID": study.region}):
            found = await made.search(keys)
            assert study.study_instance_uid in found.studies
            assert found.shown == {(study.region, number)}
            assert [warning for warning in found.warnings if "could not be resolved" in warning]


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        ({"source": "csv"}, "identity.crosswalk"),
        ({"source": "pixm"}, "identity.pixm_url"),
        ({"source": "csv", "crosswalk": "/nowhere.csv", "provincial_issuer": ""}, "identity.provincial_issuer"),
        ({"source": "csv", "crosswalk": "/nowhere.csv"}, "/nowhere.csv"),
        ({"source": "pixm", "pixm_url": "http://127.0.0.1:1", "issuers": []}, "identity.issuers"),
        ({"source": "pixm", "pixm_url": "http://127.0.0.1:1", "pixm_token_file": "/no/token"}, "/no/token"),
    ],
)
async def test_a_source_that_cannot_be_used_is_told_before_anything_listens(
    identity: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        async with gateway([], **identity):
            pytest.fail("it started")
    assert said in str(caught.value)


@pytest.mark.parametrize("source", ["csv", "pixm"])
async def test_a_region_whose_numbers_the_source_cannot_know_is_told_at_the_start(
    profiles: list[Profile], province: Path, source: str
) -> None:
    elsewhere = [*profiles[1:], profiles[0].model_copy(update={"issuer_of_patient_id": ""})]
    issuers = [{"issuer": name, "oid": f"2.25.{at}"} for at, name in enumerate((*REGIONS, HEALTH_CARD_ISSUER), 1)]
    where = {"crosswalk": str(province / "crosswalk.csv"), "pixm_url": "http://127.0.0.1:1"}
    with pytest.raises(ConfigError, match="'neodin', the issuer of region NEODIN "):
        async with gateway(elsewhere, source=source, issuers=issuers, **where):
            pytest.fail("it started")
