"""The test tools keep their own promises, shown against peers that are strangers to the gateway."""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from gateway.deadline import Deadline
from tests.kit import dicom, pdus
from tests.kit.fault_proxy import FaultProxy, Toxics, fault_proxy
from tests.kit.peers import ECHOSCU, FINDSCU, dcmqrscp, free_port, orthanc, pynetdicom_archive, run
from tests.kit.scripted import ScriptedPeer, scripted_acceptor, scripted_requestor

FIND_ALL = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientName")


async def echo_script(peer: ScriptedPeer) -> None:
    await peer.accept()
    request = await peer.recv_message()
    await peer.send(pdus.message(request.context_id, pdus.response(request.command)))
    await peer.recv(pdus.A_RELEASE_RQ)
    await peer.send(pdus.RELEASE_RP)
    await peer.hold()


async def test_scripted_acceptor_satisfies_echoscu() -> None:
    async with scripted_acceptor(echo_script) as node:
        assert (await run(ECHOSCU, node.host, node.port)).returncode == 0
        assert node.peer.saw(pdus.C_ECHO_RQ)


async def test_scripted_acceptor_that_resets_fails_echoscu() -> None:
    async def reset(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.rst()

    async with scripted_acceptor(reset) as node:
        finished = await run(ECHOSCU, node.host, node.port)
    # Its return code is 0 when the reset meets it in the middle of the C-ECHO; what it says is the same.
    assert finished.returncode != 0 or "Echo Failed" in finished.output


async def test_scripted_requestor_finds_in_a_pynetdicom_archive() -> None:
    with pynetdicom_archive("ARCHIVE", dicom.study(1) + dicom.study(2)) as archive:
        async with scripted_requestor(archive.port) as peer:
            await peer.associate([(1, pdus.STUDY_FIND, [pdus.EXPLICIT_LE])], called="ARCHIVE")
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "STUDY"
            identifier.StudyInstanceUID = ""
            command = {
                "affected_sop_class_uid": pdus.STUDY_FIND,
                "command_field": pdus.C_FIND_RQ,
                "message_id": 7,
                "priority": 0,
                "command_data_set_type": pdus.DATA_SET,
            }
            await peer.send(pdus.message(1, command, dicom.encode(identifier)))
            answers = [await peer.recv_message() for _ in range(3)]
            assert [a.command["status"] for a in answers] == [0xFF00, 0xFF00, 0x0000]
            assert [dicom.decode(a.data).StudyInstanceUID for a in answers[:2]] == [dicom.uid(1), dicom.uid(2)]
            await peer.release()


@contextlib.asynccontextmanager
async def proxied_archive() -> AsyncIterator[FaultProxy]:
    with pynetdicom_archive("ARCHIVE", [i for n in range(5) for i in dicom.study(n, instances=1)]) as archive:
        async with fault_proxy(archive.port) as proxy:
            yield proxy


async def find_through(proxy: FaultProxy) -> str:
    return (await run(FINDSCU, *FIND_ALL, "-aec", "ARCHIVE", "127.0.0.1", proxy.port)).output


def matches_in(output: str) -> int:
    return output.count("(Pending)")


async def test_fault_proxy_without_toxics_changes_nothing() -> None:
    async with proxied_archive() as proxy:
        assert matches_in(await find_through(proxy)) == 5
        assert proxy.to_server.saw(pdus.C_FIND_RQ)
        assert not proxy.to_server.saw(pdus.C_CANCEL_RQ)
        assert proxy.to_client.saw(pdus.C_FIND_RSP)


@pytest.mark.parametrize("size", [1, 7])
async def test_fault_proxy_may_cut_the_stream_anywhere(size: int) -> None:
    async with proxied_archive() as proxy:
        proxy.to_client.split(size)
        proxy.to_server.split(size)
        assert matches_in(await find_through(proxy)) == 5


async def cut_after_two_matches(proxy: FaultProxy, arm: Callable[[Toxics], None]) -> int:
    # A-ASSOCIATE-AC, then each match is a command PDU and a data set PDU.
    arm(proxy.to_client.after_pdu(1 + 2 * 2))
    return matches_in(await find_through(proxy))


@pytest.mark.parametrize(
    "arm",
    [
        lambda toxics: toxics.rst(),
        lambda toxics: toxics.half_close(),
        lambda toxics: toxics.truncate(9),
        lambda toxics: toxics.inject(pdus.abort()),
        lambda toxics: toxics.replace_pdu(lambda pdu: pdus.abort()),
    ],
    ids=["rst", "half_close", "truncate", "inject", "replace"],
)
async def test_fault_proxy_cuts_where_it_is_told(arm: Callable[[Toxics], None]) -> None:
    async with proxied_archive() as proxy:
        assert await cut_after_two_matches(proxy, arm) <= 2


async def test_fault_proxy_drops_the_nth_pdu_of_a_type() -> None:
    async with proxied_archive() as proxy:
        proxy.to_client.drop_pdu(pdus.P_DATA_TF, nth=2)
        assert matches_in(await find_through(proxy)) == 0  # a command without its data set
        assert len(proxy.to_client.pdus) > 2


@pytest.mark.parametrize(
    ("arm", "least"),
    [
        (lambda toxics: toxics.latency(0.02), lambda passed: 0.02 * len(passed)),
        (lambda toxics: toxics.throttle(20_000), lambda passed: sum(passed) / 20_000),
        (lambda toxics: toxics.drip(0.0002), lambda passed: 0.0002 * sum(passed)),
    ],
    ids=["latency", "throttle", "drip"],
)
async def test_fault_proxy_slows_without_losing_anything(
    arm: Callable[[Toxics], None], least: Callable[[list[int]], float]
) -> None:
    async with proxied_archive() as proxy:
        arm(proxy.to_client)
        started = asyncio.get_running_loop().time()
        assert matches_in(await find_through(proxy)) == 5
        took = asyncio.get_running_loop().time() - started
        assert took > 0.95 * least([len(pdu.encoded) for pdu in proxy.to_client.pdus])
        assert took > 0.05


async def test_what_a_busy_machine_takes_is_nobodys_time() -> None:
    async with asyncio.timeout(0.05):
        time.sleep(0.2)  # noqa: ASYNC251 - as a machine does that has others to serve
        await asyncio.sleep(0)
    assert Deadline.after(0.05).remaining > 0.04


def computes() -> None:
    end = time.thread_time() + 0.3
    while time.thread_time() < end:
        pass


async def test_what_a_thread_or_a_process_of_the_test_works_at_is_nobodys_time() -> None:
    async with asyncio.timeout(0.1):
        await asyncio.to_thread(computes)
    async with asyncio.timeout(0.1):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "sum(range(10_000_000))")
        assert await process.wait() == 0


async def test_who_sleeps_in_a_thread_or_a_process_is_given_up() -> None:
    asleep = threading.Event()
    sleeping = asyncio.create_task(asyncio.to_thread(asleep.wait, 60))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(sleeping), 0.1)
    asleep.set()
    await sleeping
    process = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 0.1)
    process.kill()
    await process.wait()


async def busy() -> None:
    while True:  # noqa: ASYNC110 - what never waits is what is looked at
        await asyncio.sleep(0)


@pytest.mark.parametrize("in_vain", [busy, asyncio.Event().wait])
async def test_what_does_not_come_to_an_end_is_given_up_all_the_same(in_vain: Callable[[], Awaitable[object]]) -> None:
    began = time.perf_counter()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_vain(), 0.05)
    assert time.perf_counter() - began >= 0.05


async def test_fault_proxy_corrupts_one_byte() -> None:
    async with proxied_archive() as proxy:
        proxy.to_client.after_pdu(1).corrupt(0)  # the type of the first P-DATA-TF
        assert matches_in(await find_through(proxy)) == 0


async def test_fault_proxy_freezes_until_thawed() -> None:
    async with proxied_archive() as proxy:
        proxy.to_client.freeze()
        finding = asyncio.ensure_future(find_through(proxy))
        await proxy.to_client.until(lambda lane: bool(lane.pdus))
        assert not finding.done()
        proxy.to_client.thaw()
        assert matches_in(await finding) == 5


async def test_orthanc_holds_what_is_uploaded(tmp_path: Path) -> None:
    with orthanc(tmp_path, "ORTHANC", {"GATEWAY": free_port()}) as archive:
        assert archive.upload(dicom.study(1, series=2)) == 6
        assert archive.statistics()["CountInstances"] == 6
        archive.add_destination("OTHER", free_port())
        found = await run(FINDSCU, *FIND_ALL, "-aec", "ORTHANC", archive.host, archive.port)
        assert matches_in(found.output) == 1


async def test_dcmqrscp_holds_what_is_indexed(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path, "QR", {"GATEWAY": free_port()}, dicom.study(1) + dicom.study(2)) as archive:
        found = await run(FINDSCU, *FIND_ALL, "-aec", "QR", archive.host, archive.port)
        assert matches_in(found.output) == 2


async def test_hand_written_bytes_are_understood_by_pynetdicom() -> None:
    async with scripted_acceptor(echo_script) as node:

        def echo() -> int:
            entity = AE()
            entity.add_requested_context(Verification)
            entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
            association = entity.associate(node.host, node.port)
            assert len(association.accepted_contexts) == 2
            status: int = association.send_c_echo().Status
            association.release()
            return status

        assert await asyncio.to_thread(echo) == 0
