"""What a patient directs holds by whichever way her records are asked for, and for nobody else's."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.access.consenting import (
    ABSENT,
    CLINIC,
    ELSEWHERE,
    FORMS,
    HIDDEN,
    HOSPITAL,
    NORTH,
    OTHERS,
    SECOND,
    Answer,
    Province,
    actor,
    path_of,
    province,
    record,
    report,
)
from tests.access.issuing import Issuer, real_time
from tests.kit import dicom, pdus
from tests.kit.region import ScriptedRegion
from tests.kit.scripted import Message, ScriptedPeer

JSON, LINES = "application/dicom+json", "application/x-ndjson"
NOTICE = "a consent directive of the patient withholds records"
BELOW = ("/series", "/instances", "/series/{series}/instances")

LEVELS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "domain": ({"type": "deny"}, {HIDDEN, SECOND}),
    "record": ({"type": "deny", "data": [record(HIDDEN)]}, {HIDDEN}),
    "report": ({"type": "deny", "data": [report("ACC-1")]}, {HIDDEN}),
    "organisation": ({"type": "deny", "actor": [actor("Organization", HOSPITAL)]}, {HIDDEN, SECOND}),
    "person": ({"type": "deny", "actor": [actor("Practitioner", "cpso:1")]}, {HIDDEN, SECOND}),
}
"""What is directed at each level, and which studies it hides from the clinician."""


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return real_time()


@pytest.fixture
async def here(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Province]:
    async with province(tmp_path, issuer) as made:
        yield made


@pytest.fixture
async def silent(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Province]:
    async with province(tmp_path, issuer, disclosure="silent") as made:
        yield made


@pytest.mark.parametrize("level", LEVELS)
async def test_a_directive_of_each_level_hides_its_studies_on_every_route_and_nobody_elses(
    here: Province, level: str
) -> None:
    provision, hidden = LEVELS[level]
    everything = {HIDDEN, SECOND, OTHERS, ELSEWHERE}
    for form, accept in FORMS.items():  # so that it is in the spool, and what was made of it, too
        assert (await here.ask(here.clinician, path_of(form, HIDDEN), accept)).status == 200
    assert await here.studies(here.clinician) == everything
    placed = await here.direct(provision)
    assert await here.studies(here.clinician) == everything - hidden
    for form, accept in FORMS.items():
        answer = await here.ask(here.clinician, path_of(form, HIDDEN), accept)
        assert answer.status == 403, form
        told = answer.json
        assert told["type"].endswith("/consent-block")
        assert told["detail"].startswith(NOTICE)
        assert "Consent-Override: reason=" in told["detail"]
        for shown in (OTHERS, ELSEWHERE):
            assert (await here.ask(here.clinician, path_of(form, shown), accept)).status == 200, form
    for below in BELOW:
        for accept in (JSON, LINES):
            answer = await here.ask(here.clinician, path_of(below, HIDDEN), accept)
            assert answer.status == 200
            assert rows_of(answer) == []
    uris = f"studyUID={HIDDEN}&seriesUID={HIDDEN}.1&objectUID={HIDDEN}.1.1"
    assert (await here.ask(here.clinician, f"/dicom-web/wado?requestType=WADO&{uris}")).status == 403
    [(_, _, withheld)] = here.events("consent")[:1]
    assert (withheld["directive"], withheld["reason"]) == (placed.json["id"], "record" if level == "report" else level)
    # What is directed for one organisation or person is not for another.
    for_all = level in {"domain", "record", "report"}
    assert await here.studies(here.other) == (everything - hidden if for_all else everything)
    await here.end(placed)
    assert await here.studies(here.clinician) == everything
    assert (await here.ask(here.clinician, path_of("", HIDDEN), FORMS[""])).status == 200


def rows_of(answer: Answer) -> list[Any]:
    rows = [orjson.loads(line) for line in answer.body.splitlines()]
    return rows[0] if rows and isinstance(rows[0], list) else [row for row in rows if "federation" not in row]


async def test_a_notice_tells_that_something_is_withheld_and_neither_what_nor_how_much(here: Province) -> None:
    await here.direct({"type": "deny"})
    answer = await here.ask(here.clinician, "/dicom-web/studies?PatientID=MRN-1")
    [notice] = [warning for warning in answer.warnings if NOTICE in warning]
    assert notice.endswith(f": {NOTICE}")
    assert answer.headers["Federation-Status"] == "north;state=complete;matches=0, south;state=complete;matches=1"
    lines = await here.ask(here.clinician, "/dicom-web/studies?PatientID=MRN-1", LINES)
    assert orjson.loads(lines.body.splitlines()[-1])["federation"]["warnings"] == [NOTICE]
    assert not (await here.ask(here.clinician, "/dicom-web/studies?PatientID=MRN-2")).warnings


@pytest.mark.parametrize(
    ("contradiction", "accept"), [("another patient", JSON), ("another patient", LINES), ("another birth date", JSON)]
)
async def test_no_warning_tells_of_contradictions_about_what_is_withheld(
    issuer: Issuer, tmp_path: Path, contradiction: str, accept: str
) -> None:
    other = {"PatientBirthDate": "19800101"}
    if contradiction == "another patient":
        other |= {"PatientID": "MRN-7", "PatientName": "Roy^Luc"}
    shared: dict[str, Any] = {"PatientID": "MRN-1", "AccessionNumber": "ACC-7"}
    north = ScriptedRegion("NORTH", [*NORTH, *dicom.study(7, instances=1, **shared)])
    south = ScriptedRegion("SOUTH", dicom.study(7, instances=1, **{**shared, **other}))
    settings: dict[str, Any] = {
        "regions": [north, south],
        "disclosure": "silent",
        "profile": {"issuer_of_patient_id": "north"},
    }
    async with province(tmp_path, issuer, **settings) as here:

        async def warnings(query: str = "") -> list[str]:
            answer = await here.ask(here.clinician, f"/dicom-web/studies{query}", accept)
            assert answer.status == 200
            if accept == JSON:
                return answer.warnings
            return list(orjson.loads(answer.body.splitlines()[-1])["federation"]["warnings"])

        found = await warnings()
        assert any("north" in x and "south" in x for x in found), found
        for patient in ("MRN-1", "MRN-7"):
            await here.direct({"type": "deny", "data": [record(dicom.uid(7))]}, patient)
        for query in ("", f"?StudyInstanceUID={dicom.uid(7)}"):
            assert await warnings(query) == []


async def test_a_study_that_two_regions_hold_is_counted_at_neither_where_it_is_withheld(
    issuer: Issuer, tmp_path: Path
) -> None:
    both = [ScriptedRegion(name, dicom.study(1, instances=1, PatientID="MRN-1")) for name in ("NORTH", "SOUTH")]
    settings: dict[str, Any] = {"regions": both, "disclosure": "silent", "profile": {"issuer_of_patient_id": "north"}}
    async with province(tmp_path, issuer, **settings) as here:
        await here.direct({"type": "deny"})
        lines = await here.ask(here.clinician, "/dicom-web/studies", LINES)
        [last] = map(orjson.loads, lines.body.splitlines())
        assert [region["matches"] for region in last["federation"]["regions"]] == [0, 0]


async def test_pages_and_what_remains_do_not_count_what_is_withheld(here: Province) -> None:
    await here.direct({"type": "deny", "data": [record(SECOND)]})
    first = await here.ask(here.clinician, "/dicom-web/studies?limit=2")
    assert any("There are 1 additional" in warning for warning in first.warnings)
    second = await here.ask(here.clinician, "/dicom-web/studies?limit=2&offset=2")
    assert len(first.json) + len(second.json) == 3


async def test_a_directive_placed_between_two_pages_holds_for_the_second(here: Province) -> None:
    first = await here.ask(here.clinician, "/dicom-web/studies?limit=1")
    await here.direct({"type": "deny"})
    rest = await here.ask(here.clinician, "/dicom-web/studies?limit=10&offset=1")
    shown = {row["0020000D"]["Value"][0] for row in rest.json}
    assert shown <= {OTHERS, ELSEWHERE}
    assert len(first.json) == 1


async def test_the_roots_of_single_regions_are_no_way_round(here: Province) -> None:
    await here.direct({"type": "deny"})
    answer = await here.ask(here.clinician, "/regions/north/dicom-web/studies")
    assert [row["0020000D"]["Value"][0] for row in answer.json] == [OTHERS]
    path = f"/regions/north/dicom-web/studies/{HIDDEN}/metadata"
    assert (await here.ask(here.clinician, path, JSON)).status == 403


async def test_silence_cannot_be_told_from_absence_on_any_route(silent: Province) -> None:
    queries = ("?StudyInstanceUID={}", "?StudyInstanceUID={}&limit=1&includefield=all", "?StudyInstanceUID={}&offset=1")
    await silent.direct({"type": "deny", "data": [record(HIDDEN)]})
    for turn, (query, accept) in itertools.product((1, 2), itertools.product(queries, (JSON, LINES))):
        if not (accept == LINES and "offset" in query):
            path = f"/dicom-web/studies{query}"
            await assert_alike(silent, path.format(HIDDEN), path.format(ABSENT), accept, turn)
    for below, accept in itertools.product(BELOW, (JSON, LINES)):
        await assert_alike(silent, path_of(below, HIDDEN), path_of(below, ABSENT), accept, 1)
    for form, accept in FORMS.items():
        for state in ("cold", "warm"):
            await assert_alike(silent, path_of(form, HIDDEN), path_of(form, ABSENT), accept, state)
            # Somebody whom no directive keeps out brings it into the spool.
            let_in = {"type": "permit", "actor": [actor("Organization", CLINIC)], "data": [record(HIDDEN)]}
            placed = await silent.direct(let_in)
            assert (await silent.ask(silent.other, path_of(form, HIDDEN), accept)).status == 200
            await silent.end(placed)
    uri = "/dicom-web/wado?requestType=WADO&studyUID={0}&seriesUID={0}.1&objectUID={0}.1.1"
    await assert_alike(silent, uri.format(HIDDEN), uri.format(ABSENT), "*/*", 1)


async def test_who_never_had_a_study_is_told_that_it_is_withheld_in_every_form_and_the_trail_too(
    here: Province,
) -> None:
    await here.direct({"type": "deny"})
    for form, accept in FORMS.items():
        here.told.clear()
        answer = await here.ask(here.clinician, path_of(form, HIDDEN), accept)
        assert (answer.status, answer.json["detail"].startswith(NOTICE)) == (403, True), form
        assert len(here.events("consent")) == 1, form


async def test_what_a_caller_had_before_is_as_absent_as_what_never_was(silent: Province) -> None:
    for form, accept in FORMS.items():
        assert (await silent.ask(silent.clinician, path_of(form, HIDDEN), accept)).status == 200
    await silent.direct({"type": "deny", "data": [record(HIDDEN)]})
    for form, accept in FORMS.items():
        await assert_alike(silent, path_of(form, HIDDEN), path_of(form, ABSENT), accept, "had before")


async def assert_alike(silent: Province, hidden: str, absent: str, accept: str, turn: Any) -> None:
    """Assert that two answers are the same to the byte, but for the time."""
    named = {"X-Request-ID": "the-same-request"}
    one, other = [await silent.ask(silent.clinician, path, accept, headers=named) for path in (hidden, absent)]
    timeless = [{k: v for k, v in x.headers.items() if k.lower() != "date"} for x in (one, other)]
    case = f"{hidden} as {accept}, turn {turn}"
    assert (one.status, one.body) == (other.status, other.body), case
    assert timeless[0] == timeless[1], case
    assert one.warnings == other.warnings, case


async def drop(_: ScriptedRegion, peer: ScriptedPeer, __: Message) -> None:
    await peer.close()


async def test_a_region_that_went_down_hides_nothing_of_what_is_withheld_in_silence(silent: Province) -> None:
    assert (await silent.ask(silent.clinician, path_of("", HIDDEN), FORMS[""])).status == 200
    await silent.direct({"type": "deny"})
    silent.regions[0].answers[pdus.C_FIND_RQ] = drop
    named = {"X-Request-ID": "the-same-request"}
    paths = [path_of("", x) for x in (HIDDEN, ABSENT)]
    one, other = [await silent.ask(silent.clinician, path, FORMS[""], headers=named) for path in paths]
    assert (one.status, one.body) == (other.status, other.body)
    assert one.status == 503


async def test_where_nothing_is_permitted_by_default_a_directive_permits(issuer: Issuer, tmp_path: Path) -> None:
    async with province(tmp_path, issuer, default="deny") as here:
        assert await here.studies(here.clinician) == set()
        assert (await here.ask(here.clinician, path_of("", OTHERS), FORMS[""])).status == 403
        await here.direct({"type": "permit", "actor": [actor("Practitioner", "cpso:1")]})
        assert await here.studies(here.clinician) == {HIDDEN, SECOND}
        assert await here.studies(here.other) == set()


async def test_a_directive_holds_in_its_period_only(here: Province) -> None:
    begins = "2030-04-01T00:00:00Z"
    await here.direct({"type": "deny", "period": {"start": begins, "end": "2030-04-30"}})
    for now, hidden in ((1_901_232_000.0 - 1, False), (1_901_232_000.0, True), (1_903_823_999.0, True)):
        here.clock.now = now
        assert (HIDDEN not in await here.studies(here.clinician)) == hidden, now
    here.clock.now = 1_903_824_000.0
    assert HIDDEN in await here.studies(here.clinician)


@pytest.mark.parametrize("disclosure", ["notice", "silent"])
async def test_what_is_directed_about_a_study_holds_under_a_number_that_nobody_knows_to_be_hers(
    issuer: Issuer, tmp_path: Path, disclosure: str
) -> None:
    study = dicom.uid(7)
    north = ScriptedRegion("NORTH", [*NORTH, *dicom.study(7, instances=2, PatientID="MRN-1")])
    south = ScriptedRegion("SOUTH", dicom.study(7, instances=2, PatientID="MRN-7"))
    async with province(tmp_path, issuer, regions=[north, south], disclosure=disclosure) as here:
        roots = "/dicom-web", "/regions/north/dicom-web", "/regions/south/dicom-web"

        async def seen(who: str, **more: Any) -> set[bool]:
            found = set[bool]()
            for root in roots:
                for accept in (JSON, LINES):
                    rows = rows_of(await here.ask(who, f"{root}/studies", accept, **more))
                    found.add(study in {row["0020000D"]["Value"][0] for row in rows})
                found.add((await here.ask(who, f"{root}/studies/{study}/metadata", JSON, **more)).status == 200)
                found.add(bool((await here.ask(who, f"{root}/studies/{study}/series", JSON, **more)).json))
            return found

        assert await seen(here.clinician) == {True}
        placed = await here.direct({"type": "deny", "data": [record(study)]})
        assert await seen(here.clinician) == {False}
        # Of others it says nothing, and what is hers may be seen as before.
        assert {HIDDEN, SECOND, OTHERS} <= await here.studies(here.clinician)
        but_one = {"type": "permit", "actor": [actor("Practitioner", "cpso:2")], "data": [record(study)]}
        await here.direct(but_one)
        assert await seen(here.other) == {True}
        assert await seen(here.clinician) == {False}
        headers = {"Consent-Override": "reason=express-consent"}
        url = f"/regions/south/dicom-web/studies/{study}/metadata"
        assert (await here.ask(here.clinician, url, JSON, headers=headers)).status == 200
        await here.end(placed)
        assert await seen(here.clinician) == {True}


async def test_what_somebody_else_permits_about_a_study_opens_nothing(here: Province) -> None:
    await here.direct({"type": "deny"})
    await here.direct({"type": "permit", "data": [record(HIDDEN)]}, "MRN-2")
    assert HIDDEN not in await here.studies(here.clinician)
    assert (await here.ask(here.clinician, path_of("", HIDDEN), FORMS[""])).status == 403
