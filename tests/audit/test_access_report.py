"""A patient learns who saw their record, under all their numbers, and can ask for a correction."""

import csv
import io
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.access.principal import Principal
from gateway.audit.chain import Entry, decode
from gateway.audit.corrections import Corrections, State
from gateway.audit.dates import span
from gateway.audit.desk import PrivacyDesk
from gateway.audit.index import ALWAYS, NAME, Index, Span
from gateway.audit.record import Event, Outcome, Record, record_of
from gateway.audit.report import Report
from gateway.audit.source import AuditSource
from gateway.audit.words import CHANNELS, EVENTS, OUTCOMES
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import AuditUnavailable, NotFound, RequestError
from tests.audit.logs import SEARCH, searches, write
from tests.kit.auditing import InMemoryAuditor

HCN = PatientIdentifier("TEST-HCN", "0041596842")
MRN = PatientIdentifier("NEODIN", "N5704457")
STRANGER = PatientIdentifier("NEODIN", "N1111111")
OFFICER = Principal("officer", "https://login.example.ca", organisation="oh", channel="web")

RETRIEVE = SEARCH._replace(event=Event.RETRIEVE, patients=(("NEODIN", "N5704457"),), instances=64)
OTHER = SEARCH._replace(patients=(("TEST-HCN", "9999999999"),), subject="somebody.else")
BOTH = SEARCH._replace(patients=(*SEARCH.patients, *OTHER.patients))
DENIED = SEARCH._replace(event=Event.DENIED, outcome=Outcome.DENIED, reason="no scope retrieve")


async def linked(patient: PatientIdentifier) -> frozenset[PatientIdentifier]:
    return frozenset({HCN, MRN}) if patient in {HCN, MRN} else frozenset()


def desk(folder: Path, auditor: InMemoryAuditor) -> PrivacyDesk:
    return PrivacyDesk(folder, auditor, AuditSource("gw1"), named=lambda name: name, linked=linked)


async def test_the_report_has_every_event_of_all_numbers_of_the_patient_and_no_other(tmp_path: Path) -> None:
    write(tmp_path / "log", [SEARCH], [RETRIEVE], [OTHER], [BOTH], [DENIED])
    page = await desk(tmp_path / "log", InMemoryAuditor()).look(OFFICER, MRN)
    assert page.patients == (MRN, HCN)
    assert page.total == 4
    assert [x.record.event for x in page.entries] == [Event.DENIED, Event.SEARCH, Event.RETRIEVE, Event.SEARCH]
    named = {patient for entry in page.entries for patient in entry.record.patients}
    assert named == {("TEST-HCN", "0041596842"), ("NEODIN", "N5704457")}


async def test_a_search_that_showed_several_patients_tells_of_each_her_own_examinations(tmp_path: Path) -> None:
    both = record_of(
        OFFICER,
        Event.SEARCH,
        patients=[HCN, MRN, STRANGER],
        studies=["1.1", "1.2", "1.3", "1.2"],
        whose=[{HCN, MRN}, {STRANGER}, {MRN}, {STRANGER}],
    )
    write(tmp_path / "log", [both])
    [entry] = (await desk(tmp_path / "log", InMemoryAuditor()).look(OFFICER, HCN)).entries
    assert entry.record.studies == ("1.1", "1.3")
    [entry] = (await desk(tmp_path / "log", InMemoryAuditor()).look(OFFICER, STRANGER)).entries
    assert entry.record.studies == ("1.2",)


async def test_looking_is_recorded_before_anything_is_shown(tmp_path: Path) -> None:
    write(tmp_path / "log", [SEARCH])
    auditor = InMemoryAuditor()
    await desk(tmp_path / "log", auditor).look(OFFICER, HCN)
    (look,) = auditor.of(Event.LOG_READ)
    assert (look.subject, look.patients) == ("officer", (("TEST-HCN", "0041596842"),))
    auditor.broken = True
    with pytest.raises(AuditUnavailable):
        await desk(tmp_path / "log", auditor).look(OFFICER, HCN)


def test_an_index_that_is_gone_or_damaged_is_made_anew(tmp_path: Path) -> None:
    write(tmp_path / "log", *(searches(2) for _ in range(5)), size=1000)
    index = Index(tmp_path / "log")
    assert index.find([HCN]).total == 10
    assert stat.S_IMODE((tmp_path / "log" / NAME).stat().st_mode) == 0o600
    (tmp_path / "log" / NAME).unlink()
    assert index.find([HCN]).total == 10
    (tmp_path / "log" / NAME).write_bytes(b"no database" * 1000)
    assert index.find([HCN]).total == 10


def test_the_index_takes_in_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "log", searches(5))
    index = Index(tmp_path / "log")
    index.catch_up()
    decoded = 0

    def counted(line: bytes) -> Entry:
        nonlocal decoded
        decoded += 1
        return decode(line)

    monkeypatch.setattr("gateway.audit.segments.decode", counted)
    write(tmp_path / "log", searches(3))
    index.catch_up()
    assert decoded == 3 + 1  # and the first one of the segment, by which a writer learns its age


def test_pages_and_times_cut_what_is_found(tmp_path: Path) -> None:
    write(tmp_path / "log", *([record] for record in searches(5)), at=1.7e9)
    index = Index(tmp_path / "log")
    page = index.find([HCN], ALWAYS, offset=1, limit=2)
    assert (page.total, [x.record.request_id for x in page.entries]) == (5, ["req-3", "req-2"])
    cut = index.find([HCN], Span("2023-11-14T22:13:21.000000Z", "2023-11-14T22:13:23.000000Z"))
    assert [x.record.request_id for x in cut.entries] == ["req-2", "req-1"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2026-01-31"], ("2026-01-31T00:00:00", "2026-02-01T00:00:00")),
        (["ge2026-01-01", "le2026-01-31"], ("2026-01-01T00:00:00", "2026-02-01T00:00:00")),
        (["gt2026-01-01", "lt2026-01-31"], ("2026-01-02T00:00:00", "2026-01-31T00:00:00")),
        (["ge2026-01-01T08:00:00-05:00"], ("2026-01-01T13:00:00", "")),
        ([], ("", "")),
    ],
)
def test_dates_are_those_of_fhir(values: list[str], expected: tuple[str, str]) -> None:
    found = span(values)
    assert (found.begin.partition(".")[0], found.end.partition(".")[0]) == expected


@pytest.mark.parametrize("value", ["yesterday", "2026-13-01", "sa2026-01-01", "2026", ""])
def test_what_is_no_date_is_refused(value: str) -> None:
    with pytest.raises(RequestError, match="expected such as"):
        span([value])


class Reader(HTMLParser):
    """Collects what an assistive technology would look for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[dict[str, str | None]]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.setdefault(tag, []).append(dict(attrs))


async def report(folder: Path, *records: Record) -> Report:
    write(folder, list(records))
    page = await desk(folder, InMemoryAuditor()).look(OFFICER, HCN)
    return Report(page.patients, page.entries)


async def test_the_page_is_readable_in_both_languages_and_by_a_screen_reader(tmp_path: Path) -> None:
    made = await report(tmp_path / "log", SEARCH, RETRIEVE, DENIED)
    english, french = made.html("en").decode(), made.html("fr").decode()
    for page, language in ((english, "en"), (french, "fr")):
        reader = Reader(page)
        assert reader.attributes["html"] == [{"lang": language}]
        assert {"title", "h1", "main", "caption", "thead", "time"} <= set(reader.tags)
        assert all(x.get("scope") in {"col", "row"} for x in reader.attributes["th"])
        assert reader.tags.count("tr") == 4
        assert not {"script", "link", "img"} & set(reader.tags)
    assert "Who has seen this record" in english
    assert "Received your images or reports" in english
    assert "dr.roy (cpso:12345), physician" in english
    assert "Hôpital Général" in english
    assert "Refused" in english
    assert "no scope retrieve" in english
    assert "Qui a vu ce dossier" in french
    assert "Soins" in french


async def test_what_a_caller_calls_itself_is_text_in_every_form(tmp_path: Path) -> None:
    nasty = SEARCH._replace(subject="<script>alert(1)</script>", person="", organisation_name="=1+1")
    made = await report(tmp_path / "log", nasty)
    assert b"<script" not in made.html()
    rows = list(csv.reader(io.StringIO(made.csv().decode("utf-8-sig"))))
    assert rows[1][2].startswith("'=1+1")


@pytest.mark.parametrize(
    "nasty", ["=1+1", " =1+1", "\n=1+1", "a;=1+1", "a\t@SUM(1)", "a; -1+1", 'a",=1+1', "a;\uff1d1+1"]
)
async def test_no_cell_is_a_formula_wherever_a_spreadsheet_parts_the_line(tmp_path: Path, nasty: str) -> None:
    """A French spreadsheet parts at semicolons."""
    made = await report(tmp_path / "log", SEARCH._replace(organisation_name=nasty))
    text = made.csv("fr").decode("utf-8-sig")
    for delimiter in (",", ";", "\t"):
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            assert not any(cell.lstrip(' "\n').startswith(("=", "+", "-", "@", "\uff1d")) for cell in row), row


async def test_the_table_has_a_line_an_event_and_the_same_columns(tmp_path: Path) -> None:
    made = await report(tmp_path / "log", SEARCH, RETRIEVE)
    head, *rows = csv.reader(io.StringIO(made.csv("fr").decode("utf-8-sig")))
    assert head[:4] == ["Quand (UTC)", "Qui", "Pour quel organisme", "Ce qui a été fait"]
    assert {len(row) for row in rows} == {len(head)}
    assert rows[0][7] == "64"
    assert re.fullmatch(r"gw1/[0-9a-f]{8} 2", rows[0][-1])


def test_every_event_and_outcome_has_words_in_both_languages() -> None:
    assert set(EVENTS) == set(Event)
    assert set(OUTCOMES) == set(Outcome)
    for english, french in (*EVENTS.values(), *OUTCOMES.values(), *CHANNELS.values()):
        assert english
        assert french
        assert english != french


async def test_a_correction_request_goes_through_its_states_and_each_is_audited(tmp_path: Path) -> None:
    auditor = InMemoryAuditor()
    corrections = Corrections(tmp_path, auditor)
    made = await corrections.open(OFFICER, HCN, "The birth date is 1950-01-02.", "1.2.3")
    assert made.state is State.RECEIVED
    await corrections.move(OFFICER, made.id, State.UNDER_REVIEW)
    done = await corrections.move(OFFICER, made.id, State.REFUSED, "the record is right")
    assert (await Corrections(tmp_path, auditor).get(made.id)) == done
    records = auditor.of(Event.CORRECTION)
    assert [record.reason.partition(": ")[2] for record in records] == [
        "received",
        "under-review",
        "refused (the record is right)",
    ]
    assert {record.patients for record in records} == {(("TEST-HCN", "0041596842"),)}
    assert all("birth date" not in record.reason for record in records)


@pytest.mark.parametrize("state", [State.DONE, State.REFUSED, State.RECEIVED])
async def test_a_step_that_is_not_the_next_is_refused(tmp_path: Path, state: State) -> None:
    auditor = InMemoryAuditor()
    corrections = Corrections(tmp_path, auditor)
    made = await corrections.open(OFFICER, HCN, "wrong")
    with pytest.raises(RequestError, match="under-review"):
        await corrections.move(OFFICER, made.id, state, "because")
    assert len(auditor.records) == 1


async def test_a_refusal_without_a_reason_an_empty_request_and_an_unknown_one_are_refused(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path, InMemoryAuditor())
    made = await corrections.open(OFFICER, HCN, "wrong")
    await corrections.move(OFFICER, made.id, State.UNDER_REVIEW)
    with pytest.raises(RequestError, match="reason"):
        await corrections.move(OFFICER, made.id, State.REFUSED, " ")
    with pytest.raises(RequestError, match="what is wrong"):
        await corrections.open(OFFICER, HCN, "  ")
    with pytest.raises(NotFound):
        await corrections.get("none")


async def test_a_correction_that_cannot_be_audited_is_not_made(tmp_path: Path) -> None:
    auditor = InMemoryAuditor()
    corrections = Corrections(tmp_path, auditor)
    made = await corrections.open(OFFICER, HCN, "wrong")
    auditor.broken = True
    with pytest.raises(AuditUnavailable):
        await corrections.move(OFFICER, made.id, State.UNDER_REVIEW)
    with pytest.raises(AuditUnavailable):
        await corrections.open(OFFICER, HCN, "wrong")
    assert [one.state for one in await corrections.all()] == [State.RECEIVED]
