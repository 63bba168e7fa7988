"""A patient hides one document of a study: the rest is there, and nothing of it tells of the document."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom import Dataset

from tests.access.consenting import CLINIC, FHIR, FORMS, HOSPITAL, Answer, Province, actor, consent, posted, province
from tests.access.issuing import Issuer, real_time
from tests.access.workstation import Pacs
from tests.kit import dicom, pdus
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion
from tests.kit.scripted import Message, ScriptedPeer
from tests.scp.pacs import peer

JSON, LINES = "application/dicom+json", "application/x-ndjson"
NOTICE = "a consent directive of the patient withholds records"
STUDY, LETTER = dicom.uid(1), dicom.uid(3)
REPORT, IMAGE, ABSENT = dicom.uid(1, 2, 1), dicom.uid(1, 1, 1), dicom.uid(1, 1, 9)
FILMED = dicom.uid(1, 3, 2)
"""An instance that shares its series with another, which another region holds, too."""
ALONE = dicom.uid(3, 1, 1)
"""The only instance of its study."""

ONE_NAMESPACE = {"issuer_of_patient_id": "ON"}
PATIENT: dict[str, Any] = {"PatientID": "MRN-1"}
SR: dict[str, Any] = {"Modality": "SR", "sop_class": "1.2.840.10008.5.1.4.1.1.88.11", "size": 0}
NORTH = [
    *dicom.study(1, instances=2, **PATIENT),
    dicom.instance(1, 3, 1, **PATIENT),
    dicom.instance(3, 1, 1, **PATIENT, AccessionNumber="A00003"),
    *dicom.study(2, instances=1, PatientID="MRN-2"),
]
SOUTH = [dicom.instance(1, 2, 1, **PATIENT, **SR), dicom.instance(1, 3, 2, **PATIENT)]

SEARCHES = (
    "/studies",
    "/studies?includefield=all",
    "/studies?ModalitiesInStudy=SR",
    "/studies?ModalitiesInStudy=CT",
    "/studies?PatientID=MRN-1&includefield=ModalitiesInStudy,SOPClassesInStudy",
    "/series",
    "/series?includefield=NumberOfStudyRelatedInstances,ModalitiesInStudy",
    f"/series?StudyInstanceUID={STUDY}&Modality=SR",
    f"/studies/{STUDY}/series",
    f"/studies/{STUDY}/instances",
    f"/studies/{STUDY}/instances?includefield=NumberOfStudyRelatedInstances,NumberOfSeriesRelatedInstances",
    f"/studies/{STUDY}/series/{STUDY}.1/instances",
    f"/studies/{STUDY}/series/{STUDY}.2/instances",
    f"/studies/{STUDY}/series/{STUDY}.3/instances",
    f"/studies/{LETTER}/series",
)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return real_time()


def document(uid: str, study: str = STUDY) -> dict[str, Any]:
    url = f"https://gateway.example/dicom-web/studies/{study}/series/{uid.rpartition('.')[0]}/instances/{uid}"
    return {"meaning": "instance", "reference": {"type": "DocumentReference", "reference": url}}


def denied(uid: str, study: str = STUDY) -> dict[str, Any]:
    return {"type": "deny", "data": [document(uid, study)]}


@dataclass
class Twins:
    """Two provinces with the same callers: in one a document is withheld, in the other it has never been."""

    withheld: Province
    without: Province

    async def both(self, path: str, accept: str, method: str = "GET") -> tuple[Answer, Answer]:
        one, other = [await x.ask(x.clinician, path, accept, method) for x in (self.withheld, self.without)]
        return one, other


@asynccontextmanager
async def twins(folder: Path, issuer: Issuer, hidden: str, disclosure: str) -> AsyncIterator[Twins]:
    made: list[Province] = []
    async with AsyncExitStack() as stack:
        for name, absent in (("withheld", ""), ("without", hidden)):
            (folder / name).mkdir()
            instances = [[x for x in held if x.SOPInstanceUID != absent] for held in (NORTH, SOUTH)]
            regions = [ScriptedRegion(*x) for x in zip(("NORTH", "SOUTH"), instances, strict=True)]
            settings: dict[str, Any] = {"disclosure": disclosure, "profile": ONE_NAMESPACE}
            made.append(await stack.enter_async_context(province(folder / name, issuer, regions=regions, **settings)))
        yield Twins(*made)


def told(answer: Answer) -> tuple[int, Any, str | None]:
    """Return what an answer tells; whichever region was the first to give a line is no part of it."""
    lines = [orjson.loads(line) for line in answer.body.splitlines()]
    if isinstance(lines[0], dict):
        lines = sorted([{k: v for k, v in x.items() if k != "00080054"} for x in lines], key=orjson.dumps)
    return answer.status, lines, answer.headers.get("Federation-Status")


@pytest.mark.parametrize("disclosure", ["silent", "notice"])
@pytest.mark.parametrize("hidden", [REPORT, FILMED, ALONE])
async def test_rows_and_counts_of_all_levels_are_those_of_a_province_without_it(
    issuer: Issuer, tmp_path: Path, hidden: str, disclosure: str
) -> None:
    study = LETTER if hidden == ALONE else STUDY
    async with twins(tmp_path, issuer, hidden, disclosure) as here:
        before = await here.withheld.ask(here.withheld.clinician, "/dicom-web/studies", JSON)  # so that it is known
        await here.withheld.direct(denied(hidden, study), issuer="ON")
        for path, accept in itertools.product(SEARCHES, (JSON, LINES)):
            one, other = await here.both(f"/dicom-web{path}", accept)
            assert before.body != one.body
            if disclosure == "silent":
                assert told(one) == told(other), (path, accept)
                assert one.warnings == other.warnings
            elif accept == JSON:
                assert (one.json, one.headers["Federation-Status"]) == (other.json, other.headers["Federation-Status"])
                assert [x for x in one.warnings if NOTICE not in x] == other.warnings
        withheld = [more for _, _, more in here.withheld.events("consent")]
        assert {more["reason"] for more in withheld} == {"record"}
        assert {uid for more in withheld for uid in more["studies"]} == {study}


def instances_of(body: bytes) -> set[str]:
    return {x for x in (REPORT, IMAGE, FILMED, dicom.uid(1, 1, 2), dicom.uid(1, 3, 1)) if holds(body, x)}


def holds(body: bytes, uid: str) -> bool:
    """Whether a body has an instance: its UID, which is no beginning of another here."""
    return uid.encode() in body


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_what_contains_it_is_released_without_it_and_it_alone_is_not(
    issuer: Issuer, tmp_path: Path, warm: bool
) -> None:
    everything = {REPORT, IMAGE, FILMED, dicom.uid(1, 1, 2), dicom.uid(1, 3, 1)}
    async with twins(tmp_path, issuer, REPORT, "notice") as twin:
        here = twin.withheld
        if warm:
            whole = await here.ask(here.clinician, f"/dicom-web/studies/{STUDY}", FORMS[""])
            assert instances_of(whole.body) == everything
        await here.direct(denied(REPORT), issuer="ON")
        for form in ("", "/metadata"):
            accept = FORMS[form]
            answer = await here.ask(here.clinician, f"/dicom-web/studies/{STUDY}{form}", accept)
            assert answer.status == 200
            assert instances_of(answer.body) == everything - {REPORT}
            assert "south;state=complete;instances=2" not in answer.headers["Federation-Status"]
        zipped = await here.ask(here.clinician, f"/dicom-web/studies/{STUDY}", "application/zip")
        assert zipped.status == 200
        assert REPORT.encode() not in zipped.body
        for form in ("/rendered", "/thumbnail"):
            assert (await here.ask(here.clinician, f"/dicom-web/studies/{STUDY}{form}", "image/png")).status == 200
        series, instance = f"/series/{STUDY}.2", f"/series/{STUDY}.2/instances/{REPORT}"
        for form, accept in {
            series: FORMS[""], f"{series}/metadata": JSON, instance: FORMS[""], f"{instance}/metadata": JSON,
            f"{instance}/rendered": "text/html", f"{instance}/bulkdata": "multipart/related; type=*/*",
            f"{instance}/frames/1": FORMS["/pixeldata"], f"{series}/rendered": "text/html",
        }.items():  # fmt: skip
            refused = await here.ask(here.clinician, f"/dicom-web/studies/{STUDY}{form}", accept)
            assert refused.status in {403, 404} if form == f"{series}/rendered" else refused.status == 403, form
            assert b"SR" not in refused.body
        uri = f"studyUID={STUDY}&seriesUID={STUDY}.2&objectUID={REPORT}"
        assert (await here.ask(here.clinician, f"/dicom-web/wado?requestType=WADO&{uri}")).status == 403
        # Nothing that is asked for without it says anything of it.
        image = await here.ask(here.clinician, f"/dicom-web/studies/{STUDY}/series/{STUDY}.1", FORMS[""])
        assert (image.status, instances_of(image.body)) == (200, {IMAGE, dicom.uid(1, 1, 2)})
        assert not image.warnings


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_in_silence_it_cannot_be_told_from_an_instance_that_is_not_there(
    issuer: Issuer, tmp_path: Path, warm: bool
) -> None:
    async with twins(tmp_path, issuer, REPORT, "silent") as here:
        if warm:
            assert (
                await here.withheld.ask(here.withheld.other, f"/dicom-web/studies/{STUDY}", FORMS[""])
            ).status == 200
        await here.withheld.direct(denied(REPORT), issuer="ON")
        series, instance = f"/series/{STUDY}.2", f"/series/{STUDY}.2/instances/{REPORT}"
        for form, accept in {
            instance: FORMS[""], f"{instance}/metadata": JSON, series: FORMS[""], f"{series}/metadata": JSON,
            f"{instance}/rendered": "text/html", f"{series}/instances": JSON,
        }.items():  # fmt: skip
            one, other = await here.both(f"/dicom-web/studies/{STUDY}{form}", accept)
            assert (one.status, one.body) == (other.status, other.body), form
            assert one.headers.get("Federation-Status") == other.headers.get("Federation-Status"), form
        one, other = await here.both(f"/dicom-web/studies/{STUDY}/metadata", JSON)
        key = "00080018"
        assert sorted(x[key]["Value"][0] for x in one.json) == sorted(x[key]["Value"][0] for x in other.json)


async def test_a_pacs_is_given_the_rest_and_told_the_counts_of_the_rest(issuer: Issuer, tmp_path: Path) -> None:
    pacs = Pacs(free_port())
    regions = [ScriptedRegion("NORTH", NORTH), ScriptedRegion("SOUTH", SOUTH)]
    peers = [peer("WS", pacs.port, organisation=HOSPITAL)]
    async with province(
        tmp_path, issuer, peers=peers, regions=regions, disclosure="silent", profile=ONE_NAMESPACE
    ) as here:
        await here.direct(denied(FILMED), issuer="ON")
        counted = {"NumberOfStudyRelatedInstances": "", "ModalitiesInStudy": "", "NumberOfStudyRelatedSeries": ""}

        async def ask(kind: str, **keys: str) -> tuple[list[Dataset], Dataset]:
            return await asyncio.to_thread(pacs.ask, here.dimse_port, kind, STUDY, **keys)

        [row], _ = await ask("find", **counted)
        assert row.StudyInstanceUID == STUDY
        found, _ = await ask("find", QueryRetrieveLevel="IMAGE", SeriesInstanceUID=f"{STUDY}.3", SOPInstanceUID="")
        assert {str(x.SOPInstanceUID) for x in found} == {dicom.uid(1, 3, 1)}
        for kind in ("move", "get"):
            pacs.instances.clear()
            assert (await ask(kind, QueryRetrieveLevel="SERIES", SeriesInstanceUID=f"{STUDY}.3"))[1].Status == 0
            assert pacs.instances == {dicom.uid(1, 3, 1)}, kind
            pacs.instances.clear()
            keys = {"QueryRetrieveLevel": "IMAGE", "SeriesInstanceUID": f"{STUDY}.3"}
            _, hidden = await ask(kind, **keys, SOPInstanceUID=FILMED)
            _, absent = await ask(kind, **keys, SOPInstanceUID=ABSENT)
            assert hidden == absent
            assert not pacs.instances


async def test_it_is_for_whom_the_directive_does_not_name_and_for_who_overrides(issuer: Issuer, tmp_path: Path) -> None:
    async with twins(tmp_path, issuer, REPORT, "notice") as twin:
        here, path = twin.withheld, f"/dicom-web/studies/{STUDY}"
        placed = await here.direct({**denied(REPORT), "actor": [actor("Organization", HOSPITAL)]}, issuer="ON")
        assert REPORT.encode() not in (await here.ask(here.clinician, path, FORMS[""])).body
        assert REPORT.encode() in (await here.ask(here.other, path, FORMS[""])).body
        overriding = {"Consent-Override": "reason=harm-to-patient"}
        opened = await here.ask(here.clinician, path, FORMS[""], headers=overriding)
        assert REPORT.encode() in opened.body
        assert here.events("override-start")
        here.clock.now += 5 * 3600
        assert REPORT.encode() not in (await here.ask(here.clinician, path, FORMS[""])).body
        # Narrower in what it is about: all is denied to the clinic but this one document cannot let it in.
        await here.end(placed)
        assert REPORT.encode() in (await here.ask(here.clinician, path, FORMS[""])).body
        permit = {"type": "permit", "data": [document(REPORT)]}
        await here.direct({"type": "deny", "actor": [actor("Organization", CLINIC)]}, issuer="ON")
        await here.direct({**permit, "actor": [actor("Organization", CLINIC)]}, issuer="ON")
        assert (await here.ask(here.other, path, FORMS[""])).status == 403


async def test_nothing_of_the_study_is_shown_while_a_holder_does_not_say_what_it_has(
    issuer: Issuer, tmp_path: Path
) -> None:
    south = ScriptedRegion("SOUTH", SOUTH)
    answer = south.answers[pdus.C_FIND_RQ]

    async def of_studies_only(region: ScriptedRegion, asker: ScriptedPeer, request: Message) -> None:
        if dicom.decode(request.data or b"").QueryRetrieveLevel == "STUDY":
            await answer(region, asker, request)
        else:
            await asker.close()

    south.answers[pdus.C_FIND_RQ] = of_studies_only
    async with province(
        tmp_path, issuer, regions=[ScriptedRegion("NORTH", NORTH), south], profile=ONE_NAMESPACE
    ) as here:
        assert STUDY in await here.studies(here.clinician)
        await here.direct(denied(REPORT), issuer="ON")
        assert STUDY not in await here.studies(here.clinician)


@pytest.mark.parametrize(
    ("reference", "where"),
    [
        ({"type": "DocumentReference", "reference": "studies/1.2/instances/"}, "reference.reference"),
        ({"type": "DocumentReference", "reference": 7}, "reference.reference"),
        (
            {
                "type": "DiagnosticReport",
                "reference": "studies/1.2/instances/1.2.3",
                "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.4"},
            },
            "reference.identifier",
        ),
    ],
)
async def test_a_document_that_is_not_named_for_certain_is_refused(
    issuer: Issuer, tmp_path: Path, reference: Mapping[str, Any], where: str
) -> None:
    async with province(tmp_path, issuer) as here:
        provision = {"type": "deny", "data": [{"meaning": "instance", "reference": reference}]}
        answer = await here.ask(here.privacy, "/fhir/Consent", FHIR, "POST", **posted(consent(provision)))
        assert answer.status in {400, 422}
        assert f"Consent.provision.data[0].{where}" in answer.body.decode()
