"""Breaking the glass: for one of three reasons, by who may, for one patient and a while, and never unnoticed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from gateway.access.consents import Reason
from gateway.access.fhir_terms import PCOI
from tests.access.consenting import (
    CLINIC,
    ELSEWHERE,
    FHIR,
    FORMS,
    HIDDEN,
    HOSPITAL,
    OTHERS,
    SECOND,
    Province,
    actor,
    consent,
    path_of,
    posted,
    province,
)
from tests.access.issuing import Issuer, real_time

LASTS = 3600.0
MINE = "/dicom-web/studies?PatientID=MRN-1&IssuerOfPatientID=north"


def because(reason: str) -> dict[str, str]:
    return {"Consent-Override": f"reason={reason}"}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return real_time()


class Receiver:
    """Takes what is told of overrides, once it is willing.

    Attributes:
        refusals: how often it answers 503 before.
        letters: what it has taken, by Idempotency-Key.
    """

    def __init__(self) -> None:
        self.refusals = 0
        self.letters: dict[str, dict[str, Any]] = {}
        self.arrived = asyncio.Condition()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        async with self.arrived:
            self.letters[request.headers["Idempotency-Key"]] = orjson.loads(await request.read())
            self.arrived.notify_all()
        return web.Response(status=204)

    async def has(self, number: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(30), self.arrived:
            await self.arrived.wait_for(lambda: len(self.letters) >= number)
        return list(self.letters.values())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Receiver"]:
        app = web.Application()
        app.router.add_post("/overrides", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/overrides"
            yield self
        finally:
            await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().running() as made:
        yield made


@pytest.fixture
async def here(issuer: Issuer, tmp_path: Path, receiver: Receiver) -> AsyncIterator[Province]:
    async with province(tmp_path, issuer, override_seconds=LASTS, webhook_url=receiver.url) as made:
        yield made


@pytest.fixture
async def over_each(
    issuer: Issuer, tmp_path: Path, receiver: Receiver, kept: dict[str, Any]
) -> AsyncIterator[Province]:
    """Run a gateway over each kind of database."""
    async with province(tmp_path, issuer, override_seconds=LASTS, webhook_url=receiver.url, **kept) as made:
        yield made


@pytest.mark.parametrize("disclosure", ["notice", "silent"])
@pytest.mark.parametrize("reason", Reason)
async def test_with_each_reason_records_are_visible_until_it_ends_and_no_longer(
    issuer: Issuer, tmp_path: Path, reason: str, disclosure: str
) -> None:
    async with province(tmp_path, issuer, override_seconds=LASTS, disclosure=disclosure) as here:
        await here.direct({"type": "deny"})
        denied = {"notice": 403, "silent": 404}[disclosure]
        path, accept = path_of("", HIDDEN), FORMS[""]
        assert (await here.ask(here.clinician, path, accept)).status == denied
        assert (await here.ask(here.clinician, path, accept, headers=because(reason))).status == 200
        # From now on without the field, and for all of this patient's records; for nobody else.
        for form, kind in FORMS.items():
            assert (await here.ask(here.clinician, path_of(form, HIDDEN), kind)).status == 200, form
        assert await here.studies(here.clinician) == {HIDDEN, SECOND, OTHERS, ELSEWHERE}
        assert (await here.ask(here.other, path, accept)).status == denied
        assert HIDDEN not in await here.studies(here.token("colleague", HOSPITAL, "cpso:3"))
        assert HIDDEN not in await here.studies(here.token("clinician", CLINIC, "cpso:1"))
        here.clock.now += LASTS - 1
        assert (await here.ask(here.clinician, path, accept)).status == 200
        here.clock.now += 1
        assert (await here.ask(here.clinician, path, accept)).status == denied
        assert HIDDEN not in await here.studies(here.clinician)


async def test_it_is_recorded_and_told_at_its_beginning_and_at_its_end_and_shown_among_consents(
    over_each: Province, receiver: Receiver
) -> None:
    here = over_each
    receiver.refusals = 1
    await here.direct({"type": "deny"})
    shown = await here.ask(here.clinician, MINE, headers=because("harm-to-patient"))
    assert len(shown.json) == 2
    for _ in range(3):  # a viewer sends the field with every request
        await here.ask(here.clinician, MINE, headers=because("harm-to-patient"))
    [(_, _, start)] = here.events("override-start")
    assert "significant risk of serious bodily harm to the patient" in start["reason"]
    assert {(x.issuer, x.value) for x in start["patients"]} == {("north", "MRN-1")}
    order = [event for event, _, _ in here.told]
    assert order.index("override-start") < order.index("search")
    path = "/fhir/Consent?patient.identifier=north%7CMRN-1&status="
    found = (await here.ask(here.privacy, f"{path}active")).json
    [override] = [x["resource"] for x in found["entry"] if x["resource"]["id"] == start["directive"]]
    assert override["meta"]["profile"] == [PCOI]
    assert (override["provision"]["type"], override["provision"]["purpose"][1]["code"]) == ("permit", "harm-to-patient")
    here.clock.now += LASTS
    told = {letter["event"]: letter for letter in await receiver.has(2)}  # one that was refused may come later
    assert set(told) == {"override-start", "override-end"}
    begun = told["override-start"]
    assert (begun["organisation"], begun["person"], begun["reason"]) == (HOSPITAL, "cpso:1", "harm-to-patient")
    assert begun["patient"] == {"issuer": "north", "value": "MRN-1"}
    [(_, _, end)] = here.events("override-end")
    assert (end["directive"], [x.value for x in end["patients"]]) == (start["directive"], ["MRN-1"])
    over = (await here.ask(here.privacy, f"{path}inactive")).json
    assert [x["resource"]["id"] for x in over["entry"]] == [start["directive"]]


@pytest.mark.parametrize("field", ["", "yes", "reason=", "reason=curiosity", "reason=harm-to-patient; reason=x"])
async def test_without_one_of_the_reasons_it_is_refused_and_all_three_are_named(here: Province, field: str) -> None:
    await here.direct({"type": "deny"})
    answer = await here.ask(here.clinician, MINE, headers={"Consent-Override": field})
    assert answer.status == 400
    assert all(reason in answer.json["detail"] for reason in Reason)
    assert not here.events("override-start")


async def test_who_lacks_the_scope_or_the_role_overrides_nothing(here: Province) -> None:
    await here.direct({"type": "deny"})
    lacking = {
        here.token("clinician", HOSPITAL, "cpso:1", scope="search retrieve"): 401,
        here.token("clerk", HOSPITAL, "cpso:1", roles=["clerk"]): 403,
    }
    for who, status in lacking.items():
        assert (await here.ask(who, MINE, headers=because("express-consent"))).status == status
    assert not here.events("override-start")
    assert [outcome for _, outcome, _ in here.events("denied")] == ["denied", "denied"]


async def test_it_is_for_one_patient_who_is_named(here: Province) -> None:
    await here.direct({"type": "deny"})
    await here.direct({"type": "deny"}, patient="MRN-2")
    for query in ("", "?PatientName=*", f"?StudyInstanceUID={HIDDEN},{OTHERS}"):
        answer = await here.ask(here.clinician, f"/dicom-web/studies{query}", headers=because("express-consent"))
        assert answer.status == 400, query
    assert not here.events("override-start")
    assert (await here.ask(here.clinician, MINE, headers=because("express-consent"))).json
    assert await here.studies(here.clinician) == {HIDDEN, SECOND, ELSEWHERE}


async def test_where_nothing_is_withheld_the_field_begins_nothing(here: Province) -> None:
    assert (await here.ask(here.clinician, MINE, headers=because("express-consent"))).status == 200
    assert not here.events("override-start")


async def test_a_consent_shaped_by_pcoi_begins_one_for_who_posts_it(here: Province) -> None:
    await here.direct({"type": "deny"})
    provision = {"type": "permit", "purpose": [{"code": "express-consent"}], "actor": [actor("Practitioner", "cpso:1")]}
    document = {**consent(provision), "meta": {"profile": [PCOI]}}
    for other in (actor("Practitioner", "cpso:7"),):
        wrong = {**document, "provision": {**provision, "actor": [other]}}
        assert (await here.ask(here.clinician, "/fhir/Consent", FHIR, "POST", **posted(wrong))).status == 422
    unreasoned = {**document, "provision": {"type": "permit"}}
    refused = await here.ask(here.clinician, "/fhir/Consent", FHIR, "POST", **posted(unreasoned))
    assert refused.status == 422
    assert all(reason in refused.body.decode() for reason in Reason)
    assert (await here.ask(here.privacy, "/fhir/Consent", FHIR, "POST", **posted(document))).status == 401
    made = await here.ask(here.clinician, "/fhir/Consent", FHIR, "POST", **posted(document))
    assert (made.status, len(here.events("override-start"))) == (201, 1)
    assert HIDDEN in await here.studies(here.clinician)
    # A privacy officer ends it before its time.
    ended = await here.end(made)
    assert ended.json["status"] == "inactive"
    assert HIDDEN not in await here.studies(here.clinician)


async def test_who_may_override_may_not_direct(here: Province) -> None:
    refused = await here.ask(here.clinician, "/fhir/Consent", FHIR, "POST", **posted(consent({"type": "permit"})))
    assert refused.status == 401
    assert 'scope="privacy"' in refused.headers["WWW-Authenticate"]


async def test_overrides_and_directives_outlive_a_restart(issuer: Issuer, tmp_path: Path, kept: dict[str, Any]) -> None:
    async with province(tmp_path, issuer, override_seconds=LASTS, **kept) as here:
        await here.direct({"type": "deny"})
        await here.ask(here.clinician, MINE, headers=because("express-consent"))
    async with province(tmp_path, issuer, override_seconds=LASTS, **kept) as again:
        assert HIDDEN in await again.studies(again.clinician)
        assert HIDDEN not in await again.studies(again.other)
