"""A directive that is placed while records are on their way stops them, on both faces; and what a PACS is told."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydicom import Dataset
from pynetdicom import AE, build_role, evt

from tests.access.consenting import ABSENT, FORMS, HIDDEN, HOSPITAL, NORTH, OTHERS, Province, path_of, province, until
from tests.access.issuing import Issuer, real_time
from tests.kit import pdus
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion, counted
from tests.kit.scripted import Message, ScriptedPeer
from tests.scp.pacs import peer

NOTICE = "a consent directive of the patient withholds records"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"


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


class Pacs:
    """A PACS of an organisation, which asks and is sent to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: set[str] = set()

    def _stored(self, event: Any) -> int:
        self.received.add(str(event.dataset.StudyInstanceUID))
        return 0

    def ask(self, gateway: int, kind: str, study: str = "") -> tuple[list[Dataset], Dataset]:
        """Return the pending Identifiers and the final status; a C-MOVE or C-GET for a study."""
        ae = AE("WS")
        for context in (STUDY_FIND, STUDY_MOVE, STUDY_GET):
            ae.add_requested_context(context)
        ae.add_requested_context(pdus.CT_IMAGE, pdus.EXPLICIT_LE)
        ae.add_supported_context(pdus.CT_IMAGE, pdus.EXPLICIT_LE)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._stored)]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        association = ae.associate(
            "127.0.0.1", gateway, ae_title="GATEWAY", ext_neg=[build_role(pdus.CT_IMAGE, scp_role=True)],
            evt_handlers=handlers,
        )  # fmt: skip
        try:
            assert association.is_established
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "STUDY"
            identifier.StudyInstanceUID = study
            if kind == "find":
                answers = list(association.send_c_find(identifier, STUDY_FIND))
            elif kind == "move":
                answers = list(association.send_c_move(identifier, "WS", STUDY_MOVE))
            else:
                answers = list(association.send_c_get(identifier, STUDY_GET))
        finally:
            association.release()
            server.shutdown()
        return [found for _, found in answers[:-1] if found is not None], answers[-1][0]


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


async def direct_for(here: Province, organisation: str) -> None:
    identifier = {"type": "Organization", "identifier": {"value": organisation}}
    await here.direct({"type": "deny", "actor": [{"role": {}, "reference": identifier}]})
