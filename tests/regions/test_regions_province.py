"""What the synthetic province promises to whoever tests a federation against it."""

import csv
import hashlib
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, config, dcmread
from pydicom.uid import ExplicitVRBigEndian

from regions import province as maker
from regions.people import REGIONS, health_card_number, people
from regions.plan import FULL, SMALL
from regions.province import NotOurs, generate
from regions.schedule import findings, schedule
from regions.truth import Truth, is_complete

PURPOSES = {
    "four-regions", "copied", "split-series", "split-instances", "foreign-copy", "different-counts", "report-elsewhere",
    "ct-volume", "big-600", "implicit", "big-endian", "deflated", "codecs", "private-tags", "us-multi-frame", "script",
    "no-character-set", "empty-type-2", "same-accession", "same-patient-id", "time-zone", "amended-report", "pet",
    "mammography",
}  # fmt: skip

SYNTAXES = {
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203",
}  # fmt: skip


def files_of(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in cache.rglob("*") if p.is_file()}


def pixel_value(dataset: Dataset) -> bytes:
    value = bytes(dataset.get("PixelData") or dataset.get("EncapsulatedDocument") or b"")
    if value and dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        return np.frombuffer(value, ">u2").astype("<u2").tobytes()
    return value


def test_same_seed_gives_the_same_bytes_however_many_processes_work(province: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", scale=SMALL, workers=0)
    assert files_of(tmp_path / "again") == files_of(province)


def test_small_province_is_small(province: Path) -> None:
    assert sum(len(content) for content in files_of(province).values()) < 15_000_000


def test_another_seed_gives_other_people_and_uids() -> None:
    first, second = (schedule(seed, SMALL, people(seed, SMALL.patients)) for seed in (1, 2))
    assert not {study.uid for study in first} & {study.uid for study in second}
    assert [p.health_card_number for p in people(1, 12)] != [p.health_card_number for p in people(2, 12)]


def test_full_province_has_the_size_it_promises() -> None:
    persons = people(1, FULL.patients)
    studies = schedule(1, FULL, persons)
    assert len(persons) >= 60
    assert len(studies) >= 150
    assert {study.person.key for study in studies} == {person.key for person in persons}
    assert {purpose for study in studies for purpose in study.purposes} == PURPOSES
    volume = next(study for study in studies if "ct-volume" in study.purposes)
    assert volume.series[0].count == 400
    years = {study.date[:4] for study in studies}
    assert len(years) >= 3


def test_every_special_case_is_there(true: Truth) -> None:
    assert {purpose for study in true.studies for purpose in study.purposes} == PURPOSES


def test_every_transfer_syntax_is_there(true: Truth) -> None:
    held = {instance.transfer_syntax_uid for study in true.studies for instance in study.instances}
    assert held >= SYNTAXES


def test_every_modality_is_there(true: Truth) -> None:
    held = {series.modality for study in true.studies for series in study.series}
    assert held >= {"CT", "MR", "PT", "DX", "US", "MG", "XC", "SR", "DOC"}


def test_one_patient_has_studies_in_four_regions_under_four_numbers(true: Truth) -> None:
    studies = true.having("four-regions")
    assert {study.patient for study in studies} == {studies[0].patient}
    assert {study.region for study in studies} == set(REGIONS)
    assert len({study.patient_ids[study.region] for study in studies}) == 4


def test_copied_study_is_the_same_file_in_both_regions(true: Truth) -> None:
    for instance in true.study("copied").instances:
        assert len(instance.files) == 2
        assert len(set(instance.files.values())) == 1


def test_split_series_lie_whole_in_one_region_each(true: Truth) -> None:
    study = true.study("split-series")
    assert [series.regions for series in study.series] == [{"GTAWEST"}, {"GTAWEST"}, {"HDIRS"}, {"HDIRS"}]


def test_split_instances_overlap_and_neither_region_has_all(true: Truth) -> None:
    study = true.study("split-instances")
    first, second = ({i.sop_instance_uid for i in study.held_by(region)} for region in ("NEODIN", "HDIRS"))
    everything = {instance.sop_instance_uid for instance in study.instances}
    assert first | second == everything
    assert first & second
    assert first < everything
    assert second < everything


def test_foreign_copy_says_what_was_coerced(province: Path, true: Truth) -> None:
    study = true.study("foreign-copy")
    for instance in study.instances:
        original, copy = (dcmread(province / instance.files[region]) for region in ("SWODIN", "GTAWEST"))
        before = copy.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
        assert (before.PatientID, before.AccessionNumber) == (original.PatientID, original.AccessionNumber)
        assert copy.PatientID != original.PatientID
        assert copy.AccessionNumber != original.AccessionNumber
        assert "OriginalAttributesSequence" not in original
        assert copy.PixelData == original.PixelData


def test_regions_differ_in_what_they_hold_of_one_study(true: Truth) -> None:
    study = true.study("different-counts")
    assert 0 < len(study.held_by("NEODIN")) < len(study.held_by("HDIRS")) == len(study.instances)


def test_large_study_has_six_hundred_instances(true: Truth) -> None:
    assert len(true.study("big-600").instances) == 600


def test_report_lies_elsewhere_than_its_images(true: Truth) -> None:
    study = true.study("report-elsewhere")
    assert [(series.modality, set(series.regions)) for series in study.series] == [
        ("CT", {"NEODIN"}), ("SR", {"HDIRS"}), ("DOC", {"HDIRS"}),
    ]  # fmt: skip


def test_two_patients_share_a_patient_id_in_different_regions(true: Truth) -> None:
    first, second = true.having("same-patient-id")
    assert first.patient != second.patient
    assert first.region != second.region
    assert first.patient_ids[first.region] == second.patient_ids[second.region]


def test_every_file_is_what_the_truth_says(province: Path, true: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.RAISE)
    names = {patient.key: patient for patient in true.patients}
    for study in true.studies:
        for instance in study.instances:
            for region, path in instance.files.items():
                dataset = dcmread(province / path)
                assert dataset.StudyInstanceUID == study.study_instance_uid
                assert dataset.SOPInstanceUID == instance.sop_instance_uid
                assert dataset.file_meta.TransferSyntaxUID == instance.transfer_syntax_uid
                assert dataset.PatientID == study.patient_ids[region]
                assert dataset.AccessionNumber == study.accession_numbers[region]
                person = names[study.patient]
                assert dataset.OtherPatientIDsSequence[0].PatientID == person.health_card_number
                assert dataset.PatientName == person.name
                value = pixel_value(dataset)
                assert (hashlib.sha256(value).hexdigest() if value else "") == instance.pixel_data_sha256


def test_character_sets_are_as_various_as_the_regions(true: Truth) -> None:
    sets = Counter(study.character_set for study in true.studies)
    assert set(sets) >= {
        ("ISO_IR 100",), ("ISO_IR 192",), ("ISO 2022 IR 100",), ("", "ISO 2022 IR 87"), ("", "ISO 2022 IR 149"),
        ("GB18030",), ("ISO 2022 IR 100", "ISO 2022 IR 144"), (),
    }  # fmt: skip


def test_study_without_character_set_has_letters_beyond_ascii(province: Path, true: Truth) -> None:
    instance = true.study("no-character-set").instances[0]
    raw = (province / instance.files["HDIRS"]).read_bytes()
    dataset = dcmread(province / instance.files["HDIRS"])
    assert "SpecificCharacterSet" not in dataset
    assert "Côté".encode("latin-1") in raw


def test_empty_type_2_attributes_are_present_and_empty(province: Path, true: Truth) -> None:
    instance = true.study("empty-type-2").instances[0]
    dataset = dcmread(province / instance.files["GTAWEST"])
    for keyword in (
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
    ):
        assert keyword in dataset
        assert not dataset[keyword].value


def test_structured_reports_name_every_content_item(province: Path, true: Truth) -> None:
    def walk(item: Dataset) -> None:
        assert item.ConceptNameCodeSequence[0].CodeMeaning
        for child in item.get("ContentSequence", []):
            walk(child)

    reports = [i for study in true.studies for s in study.series if s.modality == "SR" for i in s.instances]
    assert len({report.sop_class_uid for report in reports}) == 3
    for report in reports:
        walk(dcmread(province / next(iter(report.files.values()))))


def test_reports_speak_both_languages(province: Path, true: Truth) -> None:
    languages = set()
    for study in true.studies:
        for series in study.series:
            if series.modality == "SR":
                dataset = dcmread(province / next(iter(series.instances[0].files.values())))
                languages.add(dataset.ContentSequence[0].ConceptCodeSequence[0].CodeValue)
    assert languages == {"en-CA", "fr-CA"}


def test_every_finding_can_be_written_in_latin_1() -> None:
    for lesions in findings().values():
        for languages in lesions.values():
            for texts in languages.values():
                assert all(text.encode("latin-1") for text in texts.values())


def test_pdf_report_is_a_pdf(province: Path, true: Truth) -> None:
    series = next(s for study in true.studies for s in study.series if s.modality == "DOC")
    dataset = dcmread(province / next(iter(series.instances[0].files.values())))
    assert dataset.EncapsulatedDocument.startswith(b"%PDF-")
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_crosswalk_leads_from_every_local_number_to_the_health_card(province: Path, true: Truth) -> None:
    with (province / "crosswalk.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * len(true.patients)
    assert {row["issuer"] for row in rows} == {"TEST-HCN"}
    for patient in true.patients:
        mine = {
            row["issuer_of_patient_id"]: row["patient_id"]
            for row in rows
            if row["health_card_number"] == patient.health_card_number
        }
        assert mine == dict(patient.medical_record_numbers)


def test_health_card_numbers_pass_luhn_and_start_with_a_digit_never_issued() -> None:
    for serial in (0, 1, 12_345_678, 99_999_999):
        digits = [int(digit) for digit in health_card_number(serial)]
        doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[0::2])
        assert (doubled + sum(digits[1::2])) % 10 == 0
        assert digits[0] == 0


def test_completed_cache_is_left_alone(province: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_again(*_: object) -> None:
        pytest.fail("a completed province was made again")

    monkeypatch.setattr(maker, "_fill", made_again)
    generate(province, scale=SMALL)
    assert is_complete(province, 1, "small")
    assert not is_complete(province, 2, "small")
    assert not is_complete(province, 1, "full")


def test_interrupted_generation_leaves_no_cache_and_the_next_one_starts_afresh(
    tmp_path: Path, province: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(root: Path, *_: object) -> None:
        (root / "half").write_text("made")
        raise KeyboardInterrupt

    cache = tmp_path / "province"
    with monkeypatch.context() as patch:
        patch.setattr(maker, "_fill", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate(cache, scale=SMALL)
    assert not cache.exists()

    seen: list[list[Path]] = []
    monkeypatch.setattr(maker, "_fill", lambda root, *_: seen.append(list(root.iterdir())))
    generate(cache, scale=SMALL)
    assert seen == [[]]


def test_folder_with_other_content_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(NotOurs, match=r"holds no manifest\.json"):
        generate(tmp_path, scale=SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "chapter one"


def test_nothing_in_the_province_makes_pydicom_warn(province: Path, true: Truth) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for study in true.studies:
            path = next(iter(study.instances[0].files.values()))
            assert dcmread(province / path).to_json_dict()
