"""A search over a good region and a faulty one: the good one's rows arrive, in time, and the faulty one is named."""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

import pytest

from gateway.events import CircuitChanged
from tests.adversity.province import BAD, SOFT, Province, province
from tests.dimse.scripts import until
from tests.kit import dicom, pdus
from tests.kit.fault_proxy import Toxics, fault_proxy
from tests.kit.peers import free_port
from tests.kit.region import Answer, ScriptedRegion, answer_find, send_rows
from tests.kit.scripted import Message, ScriptedPeer

GOOD_STUDIES = {str(dicom.uid(n)) for n in (1, 2, 9)}
BAD_STUDIES = {str(dicom.uid(n)) for n in (3, 4, 5, 9)}

Monkey = pytest.MonkeyPatch


def faulty(answer: Answer) -> ScriptedRegion:
    region = ScriptedRegion("BAD", BAD)
    region.answers[pdus.C_FIND_RQ] = answer
    return region


async def assert_partial(held: Province, slug: str, *, bound: float, rows: AbstractSet[str] = frozenset()) -> None:
    """The promise of every test here: 200, the good rows and those the faulty region gave, and its name."""
    answer = await held.get("/studies")
    assert answer.status == 200
    assert answer.studies == GOOD_STUDIES | rows
    assert answer.states["good"] == "state=complete;matches=3"
    assert answer.states["bad"].startswith(f"state={slug}")
    if rows:
        assert answer.states["bad"] == f"state={slug};matches={len(rows)}"
    assert_named(answer.warnings, of_split_study=str(dicom.uid(9)) in rows)
    assert answer.seconds < bound
    await held.at_rest()


def assert_named(warnings: list[str], *, of_split_study: bool) -> None:
    """The faulty region is named once; so is that its part of the study which both hold was not counted, if shown."""
    [named, *uncounted] = warnings
    assert "bad" in named
    assert ["held by several regions" in text for text in uncounted] == [True] * of_split_study


async def test_without_a_fault_nothing_is_missing(monkeypatch: Monkey) -> None:
    async with province(monkeypatch) as held:
        answer = await held.get("/studies")
        assert answer.studies == GOOD_STUDIES | BAD_STUDIES
        assert set(answer.states.values()) == {"state=complete;matches=3", "state=complete;matches=4"}
        assert answer.warnings == []


# --- R01: nothing listens


async def test_a_region_that_refuses_tcp_costs_no_time_and_is_left_alone_from_the_fifth_time(
    monkeypatch: Monkey,
) -> None:
    async with province(monkeypatch, bad_port=free_port()) as held:
        for _ in range(5):
            await assert_partial(held, "refused", bound=0.5)
        assert any(isinstance(e, CircuitChanged) and (e.region, e.state) == ("bad", "open") for e in held.events)
        await assert_partial(held, "circuit-open", bound=0.5)


async def test_every_region_down_is_503_with_retry_after(monkeypatch: Monkey) -> None:
    async def abort(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.abort())

    async with province(monkeypatch, faulty(abort)) as held:
        held.good.answers[pdus.C_FIND_RQ] = abort
        answer = await held.get("/studies")
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert set(answer.states.values()) == {"state=aborted"}


async def test_strict_handling_turns_a_missing_region_into_503(monkeypatch: Monkey) -> None:
    async with province(monkeypatch, bad_port=free_port()) as held:
        answer = await held.get("/studies", Prefer="handling=strict")
        assert answer.status == 503
        assert "Retry-After" in answer.headers


# --- R04, R08: too late, or silent


async def too_late(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    await peer.recv(pdus.P_DATA_TF)  # the C-CANCEL
    await peer.send(pdus.find_response(request.context_id, request.command, status=0xFE00))


async def silent(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    await peer.hold()


async def half_a_pdu(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    await peer.send_half(pdus.find_response(request.context_id, request.command, region.rows(request)[0]))
    await peer.hold()


async def test_a_region_whose_first_match_is_late_gets_a_c_cancel_and_is_named(monkeypatch: Monkey) -> None:  # R04
    async with province(monkeypatch, faulty(too_late)) as held:
        await assert_partial(held, "timeout", bound=SOFT + 0.5)
        assert held.bad.saw(pdus.C_CANCEL_RQ)
        assert "idle=1" in held.slots("bad")  # the association took the cancel well and serves again


async def test_a_caller_who_leaves_before_the_first_byte_is_a_c_cancel_there(monkeypatch: Monkey) -> None:  # H06
    async with province(monkeypatch, faulty(too_late)) as held:
        asking = asyncio.ensure_future(held.get("/studies"))
        await until(lambda: held.bad.saw(pdus.C_FIND_RQ))
        asking.cancel()
        await asyncio.wait([asking])
        await until(lambda: held.bad.saw(pdus.C_CANCEL_RQ), SOFT / 2)
        await until(lambda: "idle=1" in held.slots("bad"))


@pytest.mark.parametrize("behaviour", [silent, half_a_pdu])
async def test_a_region_that_falls_silent_is_named_in_time(monkeypatch: Monkey, behaviour: Answer) -> None:  # R08
    async with province(monkeypatch, faulty(behaviour)) as held:
        await assert_partial(held, "timeout", bound=SOFT + 0.5)


async def test_rows_that_came_before_the_silence_are_kept(monkeypatch: Monkey) -> None:
    async def two_rows(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await send_rows(peer, request, region.rows(request)[:2])
        await peer.hold()

    async with province(monkeypatch, faulty(two_rows)) as held:
        await assert_partial(held, "timeout", bound=SOFT + 0.5, rows={str(dicom.uid(3)), str(dicom.uid(4))})


async def test_a_drip_is_named_in_time(monkeypatch: Monkey) -> None:  # R05
    bad = ScriptedRegion("BAD", BAD)
    async with bad.running(), fault_proxy(bad.node.port) as proxy:
        proxy.to_client.drip(0.1)
        async with province(monkeypatch, bad_port=proxy.port) as held:
            await assert_partial(held, "timeout", bound=SOFT + 0.5)


# --- R06, R07: cut after three matches


THREE = {str(dicom.uid(n)) for n in (3, 4, 5)}
# The A-ASSOCIATE-AC, then of each match its command and its Identifier.
AFTER_THREE = 1 + 2 * 3

CUTS: dict[str, Callable[[Toxics], None]] = {
    "aborted": lambda toxics: toxics.inject(pdus.abort(0, 0)),
    "closed": Toxics.half_close,
    "truncated": lambda toxics: toxics.truncate(20),
}


@pytest.mark.parametrize("slug", CUTS)
async def test_what_a_region_sent_before_it_was_cut_off_is_kept(monkeypatch: Monkey, slug: str) -> None:
    behind = ScriptedRegion("BAD", BAD)
    async with behind.running(), fault_proxy(behind.node.port) as proxy:
        CUTS[slug](proxy.to_client.after_pdu(AFTER_THREE))
        async with province(monkeypatch, bad_port=proxy.port) as held:
            await assert_partial(held, slug, bound=SOFT, rows=THREE)


async def test_a_reset_keeps_what_was_read_before_it(monkeypatch: Monkey) -> None:
    async def reset(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await send_rows(peer, request, region.rows(request)[:3])
        await asyncio.sleep(0.1)  # a reset overtakes what is still in flight
        await peer.rst()

    async with province(monkeypatch, faulty(reset)) as held:
        await assert_partial(held, "reset", bound=SOFT + 0.5, rows=THREE)


async def test_a_region_cut_off_once_answers_whole_the_next_time(monkeypatch: Monkey) -> None:
    behind = ScriptedRegion("BAD", BAD)
    async with behind.running(), fault_proxy(behind.node.port) as proxy:
        proxy.to_client.after_pdu(AFTER_THREE).rst()
        async with province(monkeypatch, bad_port=proxy.port) as held:
            assert (await held.get("/studies")).states["bad"] != "state=complete;matches=4"
            proxy.to_client.cure()
            assert (await held.get("/studies")).states["bad"] == "state=complete;matches=4"


async def test_associations_that_died_while_idle_cost_no_answer(monkeypatch: Monkey) -> None:
    async with province(monkeypatch) as held:
        assert (await held.get("/studies")).states["bad"] == "state=complete;matches=4"
        for peer in held.bad.node.peers:
            await peer.rst()
        assert (await held.get("/studies")).states["bad"] == "state=complete;matches=4"


# --- R09 to R11: the protocol is broken


def pending(request: Message, **changes: object) -> bytes:
    command = pdus.response(request.command, 0xFF00, command_data_set_type=pdus.DATA_SET) | changes
    row = dicom.encode(next(dicom.matches(BAD[-1:], dicom.decode(request.data))))
    return pdus.message(request.context_id, {k: v for k, v in command.items() if v is not None}, row)


VIOLATIONS: dict[str, tuple[Callable[[Message], bytes], int]] = {
    "R09 length 0xFFFFFFFF": (lambda _: pdus.pdu(4, b"", length=0xFFFFFFFF), 6),
    "R09 length 0": (lambda _: pdus.pdu(4, b""), 6),
    "R09 length 3": (lambda _: pdus.pdu(4, bytes(3)), 6),
    "R09 type 00": (lambda _: pdus.pdu(0, bytes(4)), 1),
    "R09 type 08": (lambda _: pdus.pdu(8, bytes(4)), 1),
    "R10 unknown context": (lambda request: pdus.p_data(99, b"", command=True), 6),
    "R11 wrong message id": (lambda request: pending(request, message_id_being_responded_to=9999), 0),
    "R11 wrong command field": (lambda request: pending(request, command_field=pdus.C_GET_RSP), 0),
    "R11 missing status": (lambda request: pending(request, status=None), 0),
    "R11 data set not announced": (lambda request: pending(request, command_data_set_type=pdus.NO_DATA_SET), 0),
}


@pytest.mark.parametrize("what", VIOLATIONS)
async def test_a_region_that_breaks_the_protocol_is_aborted_and_named(monkeypatch: Monkey, what: str) -> None:
    make, reason = VIOLATIONS[what]

    async def violate(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await send_rows(peer, request, region.rows(request)[:3])
        await peer.send(make(request))
        await peer.hold()

    async with province(monkeypatch, faulty(violate)) as held:
        await assert_partial(held, "remote-protocol-error", bound=SOFT, rows=THREE)
        aborts = [pdu for peer in held.bad.node.peers for pdu in peer.received if pdu.type == pdus.A_ABORT]
        assert [tuple(pdu.body[2:]) for pdu in aborts] == [(2, reason)]


# --- R12: without end


async def endless(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    (row,) = region.rows(request)[:1]
    while not peer.saw(pdus.C_CANCEL_RQ):
        await send_rows(peer, request, [row] * 5)
        try:
            async with asyncio.timeout(0.001):
                await peer.recv()
        except TimeoutError:
            pass
    await peer.send(pdus.find_response(request.context_id, request.command, status=0xFE00))


async def test_a_region_without_end_is_stopped_at_its_limit_with_a_c_cancel(monkeypatch: Monkey) -> None:
    settings = {"search": {"max_matches_per_region": 50}}
    async with province(monkeypatch, faulty(endless), settings=settings) as held:
        answer = await held.get("/studies")
        assert answer.status == 200
        assert answer.studies == GOOD_STUDIES | {str(dicom.uid(3))}
        assert answer.states["bad"] == "state=limited;matches=50"
        assert_named(answer.warnings, of_split_study=False)
        await held.at_rest()
        assert held.bad.saw(pdus.C_CANCEL_RQ)


# --- other refusals, told by kind


@pytest.mark.parametrize(("rejection", "slug"), [((1, 1, 7), "rejected"), ((1, 1, 3), "rejected"), ((2, 3, 2), "busy")])
async def test_a_region_that_rejects_us_is_named(
    monkeypatch: Monkey, rejection: tuple[int, int, int], slug: str
) -> None:
    class Rejecting(ScriptedRegion):
        async def _serve(self, peer: ScriptedPeer) -> None:
            await peer.recv(pdus.A_ASSOCIATE_RQ)
            await peer.send(pdus.associate_rj(*rejection))
            await peer.hold()

    async with province(monkeypatch, Rejecting("BAD", BAD)) as held:
        await assert_partial(held, slug, bound=0.5)


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0x0122])
async def test_a_failure_status_keeps_the_rows_and_names_the_region(monkeypatch: Monkey, status: int) -> None:
    async def fail(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await send_rows(peer, request, region.rows(request)[:3])
        await peer.send(pdus.find_response(request.context_id, request.command, status=status))

    async with province(monkeypatch, faulty(fail)) as held:
        await assert_partial(held, "failed", bound=SOFT, rows=THREE)
        assert "idle=1" in held.slots("bad")


async def test_a_row_that_cannot_be_read_costs_that_row_only(monkeypatch: Monkey) -> None:
    async def garbage_among(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await send_rows(peer, request, [b"\x08\x00\x05\x00CS\xff\xff", *region.rows(request)])
        await peer.send(pdus.find_response(request.context_id, request.command))

    async with province(monkeypatch, faulty(garbage_among)) as held:
        await assert_partial(held, "malformed-dataset", bound=SOFT, rows=BAD_STUDIES)


# --- many at once


async def test_under_load_a_faulty_region_costs_the_good_one_nothing(monkeypatch: Monkey) -> None:
    faults: list[Callable[[ScriptedPeer], Awaitable[object]]] = [
        lambda peer: peer.send(pdus.abort()),
        ScriptedPeer.rst,
        ScriptedPeer.close,
        lambda peer: peer.send(pdus.pdu(8, bytes(4))),
    ]
    count = 0

    async def any_fault(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        nonlocal count
        count += 1
        if count % 5:
            await faults[count % 4](peer)
            await peer.hold()
        await answer_find(region, peer, request)

    async with province(monkeypatch, faulty(any_fault), settings={"search": {"soft_seconds": 5.0}}) as held:
        answers = await asyncio.gather(*(held.get("/studies") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert all(answer.studies >= GOOD_STUDIES for answer in answers)
        assert all(answer.states["good"] == "state=complete;matches=3" for answer in answers)
