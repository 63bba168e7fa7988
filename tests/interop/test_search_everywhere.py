"""The same searches give the same rows, whatever archives the regions have: four Orthancs, four embedded ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson
import pytest
from dicomweb_client.api import DICOMwebClient

from regions.truth import TrueInstance, TrueSeries, TrueStudy, Truth
from tests.interop.serving import JSON, Answer, Gateway, JsonRow
from tests.interop.two_provinces import Provinces

pytestmark = pytest.mark.peer("orthanc")

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
UNREADABLE: Final = frozenset({"00100010", "00080090"})

OHIF = "limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060%2C00080090%2C00100030"


# --- what is there, from the province's own manifest


def date(begin: str, end: str) -> Callable[[Truth, TrueStudy], bool]:
    return lambda _, study: begin <= study.date <= end


def of_person(name: str) -> Callable[[Truth, TrueStudy], bool]:
    return lambda truth, study: name in truth.patient(study.patient).name


def modalities(*wanted: str) -> Callable[[Truth, TrueStudy], bool]:
    return lambda _, study: any(series.modality in wanted for series in study.series)


def numbered(patient_id: str, *issuers: str) -> Callable[[Truth, TrueStudy], bool]:
    """Whether a study is of somebody to whom an issuer gave a number."""

    def fits(truth: Truth, study: TrueStudy) -> bool:
        numbers = truth.patient(study.patient).medical_record_numbers
        return any(numbers.get(issuer) == patient_id for issuer in issuers or numbers)

    return fits


def everything(_: Truth, study: TrueStudy) -> bool:
    return study.instances != ()


def nothing(_: Truth, study: TrueStudy) -> bool:
    return study.instances == ()


def traveller(truth: Truth, study: TrueStudy) -> bool:
    """Whether a study is of the patient who was in all four regions."""
    return study.patient == truth.study("four-regions").patient


def accession(part: str) -> Callable[[Truth, TrueStudy], bool]:
    return lambda _, study: part in study.accession_numbers[study.region]


STUDY_SEARCHES: Final[dict[str, tuple[str, Callable[[Truth, TrueStudy], bool]]]] = {
    "all": ("", everything),
    "all fields": ("includefield=all", everything),
    "name with an accent": ("PatientName=b%C3%A9langer*", of_person("Bélanger")),
    "name without its accent, in capitals": ("PatientName=BELANGER*", of_person("Bélanger")),
    "name with a wildcard inside": ("PatientName=Fr%3Fser%5E*", of_person("Fraser")),
    "name in Han script": (f"PatientName={quote('*=山田^*')}", of_person("Yamada")),
    "fuzzy name": ("PatientName=josee%20gagne&fuzzymatching=true", of_person("Gagné-Lévesque")),
    "date range": ("StudyDate=20220101-20221231", date("20220101", "20221231")),
    "open date range": ("StudyDate=20240101-", date("20240101", "20991231")),
    "date and time range": (
        "StudyDate=20220115-20220405&StudyTime=080000-170000",
        lambda _, study: ("20220115", "080000") <= (study.date, study.time) <= ("20220405", "170000"),
    ),
    "time range": (
        "StudyTime=-120000",
        lambda _, study: study.time <= "120000" and "empty-type-2" not in study.purposes,
    ),
    "accession of two regions": ("AccessionNumber=1000001", accession("1000001")),
    "modality": ("ModalitiesInStudy=MR", modalities("MR")),
    "modality list": ("ModalitiesInStudy=CT%2CUS", modalities("CT", "US")),
    "description with wildcards": (
        f"StudyDescription={quote('*CÉRÉ*')}",
        lambda _, study: "CÉRÉ" in study.description,
    ),
    "birth date and sex": (
        "PatientBirthDate=19400101-19701231&PatientSex=F",
        lambda truth, study: (
            "19400101" <= (patient := truth.patient(study.patient)).birth_date <= "19701231" and patient.sex == "F"
        ),
    ),
    "health card number": ("PatientID={health_card}", traveller),
    "bare number of two patients": ("PatientID=54823572", numbered("54823572")),
    "number and issuer": ("PatientID=54823572&IssuerOfPatientID=SWODIN", numbered("54823572", "SWODIN")),
    "bare local number": (
        "PatientID={local}",
        lambda truth, study: study.patient == truth.study("same-accession").patient,
    ),
    "nobody's number": ("PatientID=NOBODY", nothing),
    "UID list": (
        "StudyInstanceUID={split}%2C{big}",
        lambda _, study: study.purposes in {("split-series",), ("big-600",)},
    ),
    "UID list with a backslash": (
        "StudyInstanceUID={split}%5C{big}",
        lambda _, study: study.purposes in {("split-series",), ("big-600",)},
    ),
    "OHIF: list": (OHIF, everything),
    "OHIF: name": (f"{OHIF}&PatientName=*fraser*", of_person("Fraser")),
    "OHIF: number": (f"{OHIF}&00100020=*{{health_card}}*", traveller),
    "OHIF: accession": (f"{OHIF}&AccessionNumber=*HD*", accession("HD")),
    "OHIF: description": (f"{OHIF}&StudyDescription=*CHEST*", lambda _, study: "CHEST" in study.description),
    "OHIF: modalities": (f"{OHIF}&ModalitiesInStudy=CT%2CMR", modalities("CT", "MR")),
    "OHIF: dates": (f"{OHIF}&StudyDate=20240101-20240301", date("20240101", "20240301")),
    "OHIF: study": (f"{OHIF}&StudyInstanceUID={{split}}", lambda _, study: study.purposes == ("split-series",)),
    "OHIF: priors": (f"00100020={{health_card}}&{OHIF}", traveller),
}

Below = Callable[[TrueStudy, TrueSeries, TrueInstance], bool]


def in_split(study: TrueStudy, series: TrueSeries, instance: TrueInstance) -> bool:
    return study.purposes == ("split-series",)


def in_shared(study: TrueStudy, series: TrueSeries, instance: TrueInstance) -> bool:
    return study.purposes == ("split-instances",)


SERIES_SEARCHES: Final[dict[str, tuple[str, Below]]] = {
    "all": ("/series", lambda study, series, instance: True),
    "modality": ("/series?Modality=CT", lambda study, series, instance: series.modality == "CT"),
    "key of the study": (
        "/series?Modality=SR&StudyDate=20200101-20221231",
        lambda study, series, instance: series.modality == "SR" and "20200101" <= study.date <= "20221231",
    ),
    "number": ("/series?SeriesNumber=2", lambda study, series, instance: series.number == 2),
    "in a sequence": ("/studies/{split}/series?00400275.RequestedProcedureID=RP*", in_split),
    "of a study": ("/studies/{split}/series", in_split),
    "of a study, all fields": ("/studies/{split}/series?includefield=all", in_split),
    "of a study whose series is in two regions": ("/studies/{shared}/series", in_shared),
    "OHIF: preview": ("/studies/{split}/series?includefield=0008103E%2C00080021", in_split),
    "OHIF: open": ("/studies/{split}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011", in_split),
    "of no study": ("/studies/2.25.1/series", lambda study, series, instance: False),
}

INSTANCE_SEARCHES: Final[dict[str, tuple[str, Below]]] = {
    "SOP Class below a date": (
        "/instances?StudyDate=20210101-&SOPClassUID=1.2.840.10008.5.1.4.1.1.7.4",
        lambda study, series, instance: (
            instance.sop_class_uid == "1.2.840.10008.5.1.4.1.1.7.4" and study.date >= "20210101"
        ),
    ),
    "modality": ("/instances?Modality=SR", lambda study, series, instance: series.modality == "SR"),
    "of a study": ("/studies/{split}/instances", in_split),
    "of a study whose series is in two regions": ("/studies/{shared}/instances", in_shared),
    "of a series": (
        "/studies/{split}/series/{series}/instances",
        lambda study, series, instance: in_split(study, series, instance) and series is study.series[0],
    ),
    "of a series, by number": (
        "/studies/{split}/series/{series}/instances?InstanceNumber=2",
        lambda study, series, instance: in_split(study, series, instance) and instance is study.series[0].instances[1],
    ),
    "of no series": ("/studies/2.25.1/series/2.25.2/instances", lambda study, series, instance: False),
}


# --- what may differ


@dataclass(frozen=True)
class Comparison:
    """Rows without the differences that DICOM allows; whatever else differs is a fault.

    - An attribute that is empty is as good as absent where it is optional: PS3.18 8.3.4.3 has an origin server drop
      what it does not support, and PS3.4 C.2.2.1.3 lets an archive answer an optional key with nothing. Orthanc
      returns all it is asked for, empty where it knows nothing.
    - Instance Availability is returned "if known" (PS3.18 Table 10.6.3-3) and never asked for (PS3.4 C.4.1.1.3):
      Orthanc does not tell it.
    - Available Transfer Syntax UID is optional (Table 10.6.3-5), and so is Patient Position (PS3.3 C.7.3.1, no key of
      PS3.4 C.6): one of the two archives has each.
    - Orthanc converts text to one set of its own and knows no code extensions (PS3.5 6.1.2.5) but those of Japanese
      and Korean; text without Specific Character Set is in that set, too. What its conversion loses, no gateway can
      restore: names in the one study with Cyrillic by ISO 2022 IR 144, and in the one with undeclared Latin-1.
    """

    truth: Truth

    def of(self, row: JsonRow) -> dict[str, Any]:
        lost = {study.study_instance_uid for study in self.truth.studies if self._is_lost(study)}
        left_out = {"00080056", "00083002", "00185100"}
        if row[STUDY]["Value"][0] in lost:
            left_out |= UNREADABLE
        return {tag: attribute for tag, attribute in row.items() if tag not in left_out and "Value" in attribute}

    def _is_lost(self, study: TrueStudy) -> bool:
        return "ISO 2022 IR 144" in study.character_set or "no-character-set" in study.purposes


def completed(path: str, truth: Truth) -> str:
    """Return a path with the province's own numbers in it."""
    split, shared = truth.study("split-series"), truth.study("split-instances")
    return path.format(
        health_card=truth.patient(truth.study("four-regions").patient).health_card_number,
        local=truth.study("same-accession").patient_ids[truth.study("same-accession").region],
        split=split.study_instance_uid,
        series=split.series[0].series_instance_uid,
        shared=shared.study_instance_uid,
        big=truth.study("big-600").study_instance_uid,
    )


def assert_same(provinces: Provinces, path: str) -> Answer:
    """Ask both, and return what the one says once the other has said the same."""
    path = completed(path, provinces.truth)
    one, other = provinces.orthancs.get(path), provinces.embedded.get(path)
    assert (one.status, other.status) == (200, 200), (one.body, other.body)
    comparison = Comparison(provinces.truth)
    assert [comparison.of(row) for row in one.rows] == [comparison.of(row) for row in other.rows]
    for header in ("Federation-Status", "Warning"):
        assert one.headers.get_all(header) == other.headers.get_all(header)
    return one


def uids(rows: list[JsonRow], tag: str) -> set[object]:
    found = [row[tag]["Value"][0] for row in rows]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("name", STUDY_SEARCHES)
def test_studies_are_the_same_everywhere(provinces: Provinces, name: str) -> None:
    query, expected = STUDY_SEARCHES[name]
    answer = assert_same(provinces, f"/studies?{query}")
    truth = provinces.truth
    assert uids(answer.rows, STUDY) == {x.study_instance_uid for x in truth.studies if expected(truth, x)}
    told = answer.headers.get_all("Warning") or []
    assert ["PatientID is ambiguous" in text for text in told] == [True] * (name == "bare number of two patients")


BELOW_STUDIES = {
    **{f"series, {name}": (SERIES, *search) for name, search in SERIES_SEARCHES.items()},
    **{f"instances, {name}": (INSTANCE, *search) for name, search in INSTANCE_SEARCHES.items()},
}


@pytest.mark.parametrize("name", BELOW_STUDIES)
def test_series_and_instances_are_the_same_everywhere(provinces: Provinces, name: str) -> None:
    unique_key, path, expected = BELOW_STUDIES[name]
    answer = assert_same(provinces, path)
    assert uids(answer.rows, unique_key) == {
        series.series_instance_uid if unique_key == SERIES else instance.sop_instance_uid
        for study in provinces.truth.studies
        for series in study.series
        for instance in series.instances
        if expected(study, series, instance)
    }
    assert answer.headers["Warning"] is None


def test_trap_20_sequence_key_is_verified_wherever_the_archive_returns_the_sequence(provinces: Provinces) -> None:
    """Orthanc leaves a Sequence out that is empty: the key stays unproved for that row, which is told."""
    [bare] = provinces.truth.having("empty-type-2")
    [row] = provinces.embedded.get(completed("/studies/{shared}/series", provinces.truth)).rows
    [item] = row["00400275"]["Value"]
    assert isinstance(item, dict)
    path = f"/series?RequestAttributesSequence.RequestedProcedureID={item['00401001']['Value'][0]}"
    one, other = provinces.orthancs.get(path), provinces.embedded.get(path)
    assert uids(other.rows, SERIES) == uids([row], SERIES)
    assert other.headers["Warning"] is None
    assert uids(one.rows, SERIES) == {*uids([row], SERIES), *(x.series_instance_uid for x in bare.series)}
    assert one.headers["Warning"] == (
        "299 /dicom-web: RequestAttributesSequence.RequestedProcedureID is not in rows of gtawest: "
        "it could not be verified there"
    )


@pytest.mark.parametrize(
    "resource", ["/studies?", "/series?Modality=CT&", "/studies/{big}/instances?InstanceNumber=7&"]
)
def test_pages_are_the_same_everywhere_and_leave_nothing_out(provinces: Provinces, resource: str) -> None:
    whole = assert_same(provinces, resource.rstrip("&?")).rows
    paged: list[JsonRow] = []
    for offset in range(0, len(whole), 3):
        page = assert_same(provinces, f"{resource}limit=3&offset={offset}")
        remaining = len(whole) - offset - len(page.rows)
        told = f"299 /dicom-web: There are {remaining} additional results that can be requested"
        assert page.headers.get_all("Warning") == ([told] if remaining else None)
        paged += page.rows
    assert paged == whole
    assert len(whole) > 3
    assert assert_same(provinces, f"{resource}offset={len(whole)}").rows == []


@pytest.mark.parametrize("media_type", ["application/x-ndjson", 'multipart/related; type="application/dicom+xml"'])
def test_every_form_has_the_rows_that_json_has(provinces: Provinces, media_type: str) -> None:
    for gateway in (provinces.orthancs, provinces.embedded):
        listed = uids(gateway.get("/studies").rows, STUDY)
        answer = gateway.get("/studies", media_type)
        if media_type == "application/x-ndjson":
            *lines, last = map(orjson.loads, answer.body.splitlines())
            assert uids(lines, STUDY) == listed
            assert last["federation"]["complete"]
        else:
            assert len(answer.parts) == len(listed)
            assert all(any(str(uid).encode() in part for uid in listed) for _, part in answer.parts)


@pytest.mark.parametrize("which", ["orthancs", "embedded"])
def test_dicomweb_client_searches_at_every_level(provinces: Provinces, which: str) -> None:
    gateway: Gateway = getattr(provinces, which)
    client, truth = DICOMwebClient(url=gateway.url), provinces.truth
    split = truth.study("split-series")
    uid, series = split.study_instance_uid, split.series[0]
    assert uids(client.search_for_studies(), STUDY) == {x.study_instance_uid for x in truth.studies}
    filters = {"PatientName": "Bélanger*", "StudyDate": f"{split.date}-{split.date}"}
    [found] = client.search_for_studies(search_filters=filters, fields=["StudyDescription"])
    assert found["00081030"]["Value"] == [split.description]
    assert len(client.search_for_studies(limit=3, offset=2)) == 3
    assert uids(client.search_for_series(uid), SERIES) == {x.series_instance_uid for x in split.series}
    assert len(client.search_for_series(search_filters={"Modality": "MG"})) == sum(
        x.modality == "MG" for study in truth.studies for x in study.series
    )
    expected = {x.sop_instance_uid for x in series.instances}
    assert uids(client.search_for_instances(uid, series.series_instance_uid), INSTANCE) == expected
    assert uids(client.search_for_instances(uid), INSTANCE) == {x.sop_instance_uid for x in split.instances}


def test_ohif_finds_no_attribute_that_breaks_its_list(provinces: Provinces) -> None:
    for gateway in (provinces.orthancs, provinces.embedded):
        for row in gateway.get(f"/studies?{OHIF}", JSON).rows:
            assert row["00080061"]["Value"]
            assert all(row[tag].get("Value") != [None] for tag in row)
