"""A directive that is placed while records are on their way stops them, on both faces; and what a PACS is told."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from pydicom import Dataset

from tests.access.consenting import (
    ABSENT,
    CLINIC,
    FORMS,
    HIDDEN,
    HOSPITAL,
    NORTH,
    OTHERS,
    Province,
    path_of,
    province,
    until,
)
from tests.access.issuing import Issuer, real_time
from tests.access.workstation import Pacs
from tests.kit import pdus
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion, counted
from tests.kit.scripted import Message, ScriptedPeer
from tests.scp.pacs import peer

NOTICE = "a consent directive of the patient withholds records"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return real_time()


class Pausing:
    """A C-MOVE that stands still behind its first instance until it is told to go on."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()

    async def __call__(self, region: ScriptedRegion, asker: ScriptedPeer, request: Message) -> None:
        selected = region.selected(request)
        async with region.storing(request.command["move_destination"]) as sub:
            for done, instance in enumerate(selected, start=1):
                await region.store(sub, done, instance, request)
                await asker.send(counted(request, 0xFF00, len(selected) - done, done, 0))
                await self.goes_on.wait()
            await sub.release()
        await asker.send(counted(request, 0, 0, len(selected), 0))


@pytest.mark.parametrize("change", ["directive", "end of an override"])
async def test_a_body_that_is_half_sent_ends_without_its_closing_boundary(
    issuer: Issuer, tmp_path: Path, change: str
) -> None:
    north, pause = ScriptedRegion("NORTH", NORTH), Pausing()
    north.answers[pdus.C_MOVE_RQ] = pause
    async with province(tmp_path, issuer, regions=[north], override_seconds=60.0) as here:
        headers = {"Authorization": f"Bearer {here.clinician}", "Accept": FORMS[""]}
        if change != "directive":
            await here.direct({"type": "deny"})
            headers["Consent-Override"] = "reason=express-consent"
        async with here.session.get(here.url + path_of("", HIDDEN), headers=headers) as answer:
            assert answer.status == 200
            begun = await answer.content.readany()
            boundary = answer.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
            if change == "directive":
                await here.direct({"type": "deny"})
            else:
                here.clock.now += 60.0
                await until(lambda: bool(here.events("override-end")))
            pause.goes_on.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                begun += await answer.content.read()
        assert begun.count(b"--" + boundary) == 1
        assert b"--" + boundary + b"--" not in begun
        # Somebody else's goes on.
        assert (await here.ask(here.clinician, path_of("", OTHERS), FORMS[""])).status == 200


# --- DIMSE


@pytest.mark.parametrize("disclosure", ["notice", "silent"])
async def test_c_find_c_move_and_c_get_withhold_what_is_directed_for_the_peers_organisation(
    issuer: Issuer, tmp_path: Path, disclosure: str
) -> None:
    pacs = Pacs(free_port())
    peers = [peer("WS", pacs.port, organisation=HOSPITAL)]
    async with province(tmp_path, issuer, peers=peers, disclosure=disclosure) as here:

        async def ask(kind: str, study: str = "") -> tuple[list[Dataset], Dataset]:
            return await asyncio.to_thread(pacs.ask, here.dimse_port, kind, study)

        for kind in ("move", "get"):
            pacs.received.clear()
            assert (await ask(kind, HIDDEN))[1].Status == 0
            assert pacs.received == {HIDDEN}
        await direct_for(here, HOSPITAL)
        pacs.received.clear()
        # Neither Patient ID nor Accession Number is asked for, and yet it is known whose the rows are.
        found, ended = await ask("find")
        studies = {str(row.StudyInstanceUID) for row in found}
        assert HIDDEN not in studies
        assert OTHERS in studies
        assert (ended.Status, ended.get("ErrorComment", "")) == (0, NOTICE if disclosure == "notice" else "")
        for kind in ("move", "get"):
            found, blocked = await ask(kind, HIDDEN)
            absent = (await ask(kind, ABSENT))[1]
            if disclosure == "silent":
                assert blocked == absent
            else:
                assert blocked.Status == 0xA702
                assert blocked.ErrorComment.startswith(NOTICE)
            assert (await ask(kind, OTHERS))[1].Status == 0
        assert pacs.received == {OTHERS}


async def test_what_is_directed_for_an_organisation_holds_where_somebody_else_has_it_sent_there(
    issuer: Issuer, tmp_path: Path
) -> None:
    pacs = Pacs(free_port())
    peers = [
        peer("WS", pacs.port, organisation=HOSPITAL, may_move_to=("CLINIC",)),
        peer("CLINIC", pacs.port, organisation=CLINIC, services=("echo",)),
    ]
    async with province(tmp_path, issuer, peers=peers) as here:

        async def move(study: str, destination: str) -> Dataset:
            return (await asyncio.to_thread(pacs.ask, here.dimse_port, "move", study, destination=destination))[1]

        assert (await move(HIDDEN, "CLINIC")).Status == 0
        assert pacs.received == {HIDDEN}
        [*_, (_, outcome, sent)] = here.events("export")
        assert (outcome, sent["destination"], sent["studies"], sent["instances"]) == ("success", "CLINIC", [HIDDEN], 2)
        pacs.received.clear()
        await direct_for(here, CLINIC)
        blocked = await move(HIDDEN, "CLINIC")
        assert (blocked.Status, blocked.ErrorComment.startswith(NOTICE)) == (0xA702, True)
        assert not pacs.received
        # The hospital itself may have it, and the clinic what is somebody else's.
        for study, destination in ((HIDDEN, "WS"), (OTHERS, "CLINIC")):
            assert (await move(study, destination)).Status == 0
        assert pacs.received == {HIDDEN, OTHERS}
        [*_, (_, _, own)] = here.events("retrieve")
        assert own["destination"] == ""


async def direct_for(here: Province, organisation: str) -> None:
    identifier = {"type": "Organization", "identifier": {"value": organisation}}
    await here.direct({"type": "deny", "actor": [{"role": {}, "reference": identifier}]})
