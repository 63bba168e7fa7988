"""A token that is bound to one patient: nothing of anybody else's leaves, by whichever way it is asked for."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.assembly import running
from gateway.config.settings import load
from tests.access.issuing import Issuer, real_time
from tests.kit import dicom
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion
from tests.scp.pacs import region_profile

MINE, HIS = dicom.uid(1), dicom.uid(2)
NORTH = [*dicom.study(1, instances=2), *dicom.study(2, instances=2)]
SOUTH = [*dicom.study(3, instances=1, PatientID="MRN00001"), *dicom.study(4, instances=1, PatientID="S-7")]
"""In the south, MRN00001 is the number of somebody else."""
ELSEWHERE = dicom.uid(3)
ABSENT = dicom.uid(9)

FORMS = {
    "": "multipart/related; type=application/dicom; transfer-syntax=*",
    "?zip": "application/zip",
    "/metadata": "application/dicom+json",
    "/series/{series}": "multipart/related; type=application/dicom; transfer-syntax=*",
    "/series/{series}/instances/{instance}": "multipart/related; type=application/dicom; transfer-syntax=*",
    "/series/{series}/metadata": "application/dicom+json",
    "/series/{series}/instances/{instance}/frames/1": "multipart/related; type=application/octet-stream",
    "/series/{series}/instances/{instance}/bulkdata": "multipart/related; type=application/octet-stream",
    "/series/{series}/instances/{instance}/rendered": "image/png",
    "/rendered": "image/png",
    "/thumbnail": "image/png",
    "/series/{series}/thumbnail": "image/png",
    "/pixeldata": "multipart/related; type=application/octet-stream",
}


@dataclass
class Clinic:
    """A gateway before two regions, and those who ask it.

    Attributes:
        clinician: may see everybody.
        patient: a patient of the north.
    """

    url: str
    session: aiohttp.ClientSession
    clinician: str
    patient: str
    regions: list[ScriptedRegion]

    async def get(self, who: str, path: str, accept: str = "*/*") -> tuple[int, bytes, Mapping[str, str]]:
        headers = {"Authorization": f"Bearer {who}", "Accept": accept, "X-Request-Id": "the-same-for-all"}
        async with self.session.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers

    async def studies(self, who: str, path: str) -> set[str]:
        status, body, _ = await self.get(who, path)
        assert status == 200
        return {row["0020000D"]["Value"][0] for row in orjson.loads(body)}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return real_time()


@pytest.fixture
async def clinic(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Clinic]:
    port = free_port()
    believed = issuer.settings(tmp_path, claims={"patient": "patient"})
    overrides: dict[str, dict[str, Any]] = {
        "access": {"mode": "tokens", "issuers": [believed.model_dump()]},
        "audit": {"folder": str(tmp_path / "audit")},
        "ops": {"port": 0},
        "http": {"port": 0},
        "dimse": {"port": port},
        "search": {"soft_seconds": 2.0, "hard_seconds": 5.0},
        "retrieve": {"first_instance_seconds": 5.0, "quiet_seconds": 0.4},
    }
    async with contextlib.AsyncExitStack() as stack:
        regions = [ScriptedRegion("NORTH", NORTH), ScriptedRegion("SOUTH", SOUTH)]
        for region in regions:
            await stack.enter_async_context(region.running(port))
        profiles = [region_profile(region) for region in regions]
        gateway = await stack.enter_async_context(running(load(overrides=overrides), profiles))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Clinic(
            f"http://127.0.0.1:{gateway.http_port}",
            session,
            issuer.token(sub="clinician"),
            issuer.token(sub="patient", patient="north|MRN00001"),
            regions,
        )


def path_of(form: str, study: str) -> str:
    number = int(study.rpartition(".")[2])
    tail = form.removesuffix("?zip").format(series=dicom.uid(number, 1), instance=dicom.uid(number, 1, 1))
    return f"/dicom-web/studies/{study}{tail}"


async def test_searches_give_the_patients_own_studies_only(clinic: Clinic) -> None:
    root = "/dicom-web/studies"
    assert await clinic.studies(clinic.clinician, root) == {MINE, HIS, ELSEWHERE, dicom.uid(4)}
    for path in (root, f"{root}?PatientID=MRN00001", f"{root}?PatientName=*", f"{root}?PatientID=*"):
        assert await clinic.studies(clinic.patient, path) == {MINE}
    for path in (f"{root}?PatientID=MRN00002", f"{root}?StudyInstanceUID={HIS}", f"{root}?offset=1"):
        assert await clinic.studies(clinic.patient, path) == set()


async def test_counts_do_not_tell_of_what_is_withheld(clinic: Clinic) -> None:
    path = f"/dicom-web/studies?StudyInstanceUID={MINE},{HIS}&limit=1"
    _, _, headers = await clinic.get(clinic.patient, path)
    assert headers["Federation-Status"] == "north;state=complete;matches=1, south;state=complete;matches=0"
    assert "additional" not in headers.get("Warning", "")
    _, _, headers = await clinic.get(clinic.clinician, path)
    assert headers["Federation-Status"].startswith("north;state=complete;matches=2")


async def test_lines_give_and_count_the_patients_own_studies_only(clinic: Clinic) -> None:
    _, body, _ = await clinic.get(clinic.patient, "/dicom-web/studies", "application/x-ndjson")
    *rows, end = map(orjson.loads, body.splitlines())
    assert [row["0020000D"]["Value"][0] for row in rows] == [MINE]
    assert (end["federation"]["rows"], [x["matches"] for x in end["federation"]["regions"]]) == (1, [1, 0])


async def test_levels_below_a_study_are_empty_for_anybody_elses(clinic: Clinic) -> None:
    levels = ("/series", "/instances", "/series/{series}/instances")
    for below, accept in itertools.product(levels, ("application/dicom+json", "application/x-ndjson")):
        answers = {
            study: await clinic.get(clinic.patient, path_of(below, study), accept) for study in (MINE, HIS, ABSENT)
        }
        assert orjson.loads(answers[MINE][1].splitlines()[0])
        assert answers[HIS][:2] == answers[ABSENT][:2]
        assert answers[HIS][2].get("Federation-Status") == answers[ABSENT][2].get("Federation-Status")
        status, body, _ = await clinic.get(clinic.clinician, path_of(below, HIS), accept)
        assert (status, body != answers[HIS][1]) == (200, True)


async def test_a_known_uid_gives_nothing_of_anybody_elses_study(clinic: Clinic) -> None:
    for form, accept in FORMS.items():
        status, body, _ = await clinic.get(clinic.patient, path_of(form, MINE), accept)
        assert (status, bool(body)) == (200, True), form
        absent = await clinic.get(clinic.patient, path_of(form, ABSENT), accept)
        # At first it has to be brought; then it is in the spool, and so is what was made of it.
        for turn in ("cold", "warm"):
            for study in (HIS, ELSEWHERE):
                refused = await clinic.get(clinic.patient, path_of(form, study), accept)
                assert refused[:2] == absent[:2], (form, turn, study)
                assert refused[2].get("Federation-Status") == absent[2].get("Federation-Status"), (form, turn)
                status, _, _ = await clinic.get(clinic.clinician, path_of(form, study), accept)
                assert status == 200, (form, turn)


async def test_a_known_uid_by_wado_uri_gives_nothing_either(clinic: Clinic) -> None:
    names = "studyUID={}&seriesUID={}&objectUID={}"
    for study, expected in ((1, 200), (2, 404), (9, 404)):
        uids = names.format(dicom.uid(study), dicom.uid(study, 1), dicom.uid(study, 1, 1))
        for kind in ("application/dicom", "image/jpeg"):
            path = f"/dicom-web/wado?requestType=WADO&{uids}&contentType={kind}"
            assert (await clinic.get(clinic.patient, path))[0] == expected


async def test_the_roots_of_single_regions_are_no_way_round(clinic: Clinic) -> None:
    for region, own in (("north", {MINE}), ("south", set())):
        root = f"/regions/{region}/dicom-web/studies"
        assert await clinic.studies(clinic.patient, root) == own
        for study in {MINE, HIS, ELSEWHERE, dicom.uid(4)} - own:
            status, _, _ = await clinic.get(clinic.patient, f"{root}/{study}/metadata", "application/dicom+json")
            assert status == 404


async def test_a_retrieve_of_another_that_is_under_way_is_no_way_round(clinic: Clinic) -> None:
    path, accept = path_of("", HIS), FORMS[""]
    answers = await asyncio.gather(*(clinic.get(who, path, accept) for who in [clinic.clinician, clinic.patient] * 5))
    assert [status for status, _, _ in answers] == [200, 404] * 5


async def test_an_entity_tag_of_anybody_elses_study_tells_nothing(clinic: Clinic) -> None:
    path, accept = path_of("/metadata", HIS), "application/dicom+json"
    await clinic.get(clinic.clinician, path, accept)
    _, _, headers = await clinic.get(clinic.clinician, path, accept)
    fields = {"Authorization": f"Bearer {clinic.patient}", "If-None-Match": headers["ETag"], "Accept": accept}
    async with clinic.session.get(clinic.url + path, headers=fields) as answer:
        assert answer.status == 404
        assert "ETag" not in answer.headers
