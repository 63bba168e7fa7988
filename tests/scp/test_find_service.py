"""C-FIND for a peer: at every level of both models, in its own words, honest about what is missing."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from gateway.dimse.association import Association
from gateway.dimse.find import find
from gateway.errors import DimseFailure
from gateway.events import PeerOperation
from gateway.wire.command import Command, CommandField
from gateway.wire.negotiation import ProposedContext
from tests.dimse.scripts import BOTH
from tests.kit import dicom, pdus
from tests.kit.region import ScriptedRegion
from tests.kit.scripted import Message, ScriptedPeer
from tests.scp.pacs import INSTANCES, SERIES, STUDY, face, identifier, peer, rows, soon

PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
BY_PATIENT = ProposedContext(PATIENT_FIND, BOTH)


async def ask(level: str, *contexts: ProposedContext, model: str = pdus.STUDY_FIND, **keys: Any) -> list[Dataset]:
    async with face() as here, here.associated(*contexts) as association:
        return await rows(association, level, model, **keys)


async def refused(level: str, *contexts: ProposedContext, model: str = pdus.STUDY_FIND, **keys: Any) -> DimseFailure:
    async with face() as here, here.associated(*contexts) as association:
        with pytest.raises(DimseFailure) as caught:
            await rows(association, level, model, **keys)
    return caught.value


# --- levels


async def test_study_level_finds_what_qido_finds() -> None:
    found = await ask("STUDY", StudyInstanceUID="", PatientName="")
    assert {row.StudyInstanceUID for row in found} == {i.StudyInstanceUID for i in INSTANCES}
    assert {str(row.PatientName) for row in found} == {"Tremblay^Zoé1", "Tremblay^Zoé2", "Tremblay^Zoé3"}


async def test_series_and_image_level_below_their_parents() -> None:
    series = await ask("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID="", Modality="")
    assert {row.SeriesInstanceUID for row in series} == {dicom.uid(1, 1), dicom.uid(1, 2)}
    images = await ask("IMAGE", StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID="")
    assert {row.SOPInstanceUID for row in images} == {dicom.uid(1, 1, 1), dicom.uid(1, 1, 2)}


async def test_patient_level_has_each_patient_once() -> None:
    twice = [*dicom.study(1), *dicom.study(2, PatientID="MRN00001", PatientName="Tremblay^Zoé1")]
    async with face(ScriptedRegion("ARCHIVE", twice)) as here, here.associated(BY_PATIENT) as association:
        found = await rows(association, "PATIENT", PATIENT_FIND, PatientID="", PatientName="")
        assert [(row.PatientID, str(row.PatientName)) for row in found] == [("MRN00001", "Tremblay^Zoé1")]
        assert "StudyInstanceUID" not in found[0]


async def test_patient_root_goes_down_from_the_patient() -> None:
    keys = {"PatientID": "MRN00001", "StudyInstanceUID": ""}
    assert [row.StudyInstanceUID for row in await ask("STUDY", BY_PATIENT, model=PATIENT_FIND, **keys)] == [STUDY]
    keys = {"PatientID": "MRN00001", "StudyInstanceUID": STUDY, "SeriesInstanceUID": ""}
    assert len(await ask("SERIES", BY_PATIENT, model=PATIENT_FIND, **keys)) == 2


async def test_a_study_of_another_patient_has_no_series() -> None:
    keys = {"PatientID": "MRN00002", "StudyInstanceUID": STUDY, "SeriesInstanceUID": ""}
    assert await ask("SERIES", BY_PATIENT, model=PATIENT_FIND, **keys) == []


# --- what a response has


async def test_a_response_has_what_was_requested_and_where_to_retrieve_it() -> None:
    [row] = await ask("STUDY", StudyInstanceUID=STUDY, PatientName="", AccessionNumber="")
    requested = {"StudyInstanceUID", "PatientName", "AccessionNumber"}
    assert {x.keyword for x in row} == requested | {"SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle"}
    assert row.RetrieveAETitle == "GATEWAY"


async def test_attributes_of_the_study_are_told_with_its_series() -> None:
    found = await ask("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID="", PatientName="", StudyDate="")
    assert {(str(row.PatientName), row.StudyDate) for row in found} == {("Tremblay^Zoé1", INSTANCES[0].StudyDate)}


async def test_what_nobody_knows_is_empty_and_signalled() -> None:
    async with face(Silent("ARCHIVE", INSTANCES)) as here, here.associated() as association:
        statuses, found = await raw(association, identifier("STUDY", StudyInstanceUID=STUDY, PatientComments=""))
    assert statuses == [0xFF01, 0x0000]
    assert found[0].PatientComments in {None, ""}


async def test_what_is_known_is_plainly_pending() -> None:
    async with face() as here, here.associated() as association:
        statuses, _ = await raw(association, identifier("STUDY", StudyInstanceUID=STUDY, PatientName=""))
    assert statuses == [0xFF00, 0x0000]


@pytest.mark.parametrize(("character_set", "name"), [("ISO_IR 192", "Zoé"), ("ISO_IR 100", "Zoé"), ("ISO_IR 6", "Zo?")])
async def test_text_comes_in_the_peers_character_set(character_set: str, name: str) -> None:
    async with face(peers=[peer(character_set=character_set)]) as here, here.associated() as association:
        [row] = await rows(association, "STUDY", StudyInstanceUID=STUDY, PatientName="")
    assert row.SpecificCharacterSet == character_set
    assert str(row.PatientName) == f"Tremblay^{name}1"


async def test_names_are_matched_in_the_peers_character_set() -> None:
    assert len(await ask("STUDY", PatientName="TREMBLAY^ZOÉ2")) == 1


async def test_keys_in_a_sequence_are_returned_in_it() -> None:
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "CTHEAD", "L", "CT head"
    wanted = Dataset()
    wanted.CodeValue = ""
    instance = dicom.instance(1, ProcedureCodeSequence=Sequence([procedure]))
    async with face(ScriptedRegion("ARCHIVE", [instance])) as here, here.associated() as association:
        [row] = await rows(association, "STUDY", StudyInstanceUID=STUDY, ProcedureCodeSequence=Sequence([wanted]))
    assert [x.keyword for x in row.ProcedureCodeSequence[0]] == ["CodeValue"]
    assert row.ProcedureCodeSequence[0].CodeValue == "CTHEAD"


# --- the hierarchy


@pytest.mark.parametrize(
    ("level", "keys", "told"),
    [
        ("SERIES", {"SeriesInstanceUID": ""}, "StudyInstanceUID"),
        ("SERIES", {"StudyInstanceUID": [STUDY, dicom.uid(2)], "SeriesInstanceUID": ""}, "StudyInstanceUID"),
        ("IMAGE", {"StudyInstanceUID": STUDY, "SOPInstanceUID": ""}, "SeriesInstanceUID"),
        ("SERIES", {"StudyInstanceUID": STUDY, "PatientName": "TREMBLAY*"}, "PatientName"),
        ("PATIENT", {"PatientID": ""}, "QueryRetrieveLevel"),
        ("", {}, "QueryRetrieveLevel"),
    ],
)
async def test_an_identifier_that_does_not_fit_the_model_is_refused_with_the_reason(
    level: str, keys: dict[str, Any], told: str
) -> None:
    error = await refused(level, **keys)
    assert error.status == 0xA900
    assert told in error.comment


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom writes it all the same
@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("StudyDate", "2024-01-01", "StudyDate must be a date YYYYMMDD"),
        ("StudyDate", "20240101-yesterday", "StudyDate"),
        ("StudyTime", "9 am", "StudyTime must be a time HHMMSS"),
    ],
)
async def test_what_is_no_date_or_time_is_refused_and_does_not_look_like_a_patient_without_studies(
    key: str, value: str, told: str
) -> None:
    error = await refused("STUDY", **{key: value, "StudyInstanceUID": ""})
    assert error.status == 0xA900
    assert told in error.comment


async def test_a_study_of_patient_root_needs_its_patient() -> None:
    error = await refused("STUDY", BY_PATIENT, model=PATIENT_FIND, StudyInstanceUID=STUDY)
    assert (error.status, "PatientID" in error.comment) == (0xA900, True)


# --- extended negotiation


def extended(information: bytes) -> ProposedContext:
    return ProposedContext(pdus.STUDY_FIND, BOTH, extended=information)


@pytest.mark.parametrize("wanted", [b"\1\1\1\1", b"\1", b"\0\1\0\0", b"\0\0\1\0"])
async def test_extended_negotiation_is_answered(wanted: bytes) -> None:
    async with face() as here, here.associated(extended(wanted)) as association:
        assert association.context(pdus.STUDY_FIND).extended == wanted


async def test_relational_queries_need_no_parents() -> None:
    found = await ask("SERIES", extended(b"\1\0\0\0"), SeriesInstanceUID="", PatientName="TREMBLAY^ZOÉ1")
    assert {row.SeriesInstanceUID for row in found} == {dicom.uid(1, 1), dicom.uid(1, 2)}


async def test_fuzzy_matching_is_for_those_who_negotiated_it() -> None:
    assert len(await ask("STUDY", extended(b"\0\0\1\0"), PatientName="Zoe1 Tremblay")) == 1
    assert await ask("STUDY", PatientName="Zoe1 Tremblay") == []


# The first day's evening and the last day's morning: within one range of instants, and outside of both ranges.
EVENING = [dicom.instance(1, StudyDate="20240110", StudyTime="200000")]


@pytest.mark.parametrize(("information", "found"), [(b"\0\1\0\0", 1), (b"", 0)])
async def test_date_and_time_are_one_range_for_those_who_negotiated_it(information: bytes, found: int) -> None:
    async with face(Sensible("ARCHIVE", EVENING)) as here, here.associated(extended(information)) as association:
        keys = {"StudyDate": "20240110-20240111", "StudyTime": "180000-190000", "StudyInstanceUID": ""}
        assert len(await rows(association, "STUDY", **keys)) == found


class Silent(ScriptedRegion):
    """A region that does not know Patient Comments."""

    def rows(self, request: Message) -> list[bytes]:
        found = [dicom.decode(row) for row in super().rows(request)]
        for row in found:
            row.pop("PatientComments", None)
        return [dicom.encode(row) for row in found]


class Sensible(ScriptedRegion):
    """A region that gives all it has, whatever the dates and times asked for."""

    def rows(self, request: Message) -> list[bytes]:
        asked = dicom.decode(request.data)
        for keyword in ("StudyDate", "StudyTime"):
            if keyword in asked:
                asked[keyword].value = ""
        return [dicom.encode(row) for row in dicom.matches(self.instances, asked)]


# --- cancelled, incomplete


async def raw(
    association: Association, data: bytes, *, cancel_after: int | None = None
) -> tuple[list[int], list[Dataset]]:
    """Send a C-FIND as it is, C-CANCEL after so many matches; return all statuses and matches."""
    context_id = association.context(pdus.STUDY_FIND).context_id
    request = Command(
        command_field=CommandField.C_FIND_RQ, affected_sop_class_uid=pdus.STUDY_FIND, message_id=7, priority=0
    )
    association.send_message(context_id, request, data)
    cancel = Command(command_field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=7)
    statuses: list[int] = []
    found: list[Dataset] = []
    while not statuses or statuses[-1] in {0xFF00, 0xFF01}:
        if len(found) == cancel_after:
            association.send_message(context_id, cancel)
        message: Any = await association.receive(soon())
        statuses.append(message.command.status)
        if message.data:
            found.append(dicom.decode(message.data))
    return statuses, found


async def never_ends(region: ScriptedRegion, asking: ScriptedPeer, request: Message) -> None:
    """Send all matches, and no final response until C-CANCEL comes."""
    for row in region.rows(request):
        await asking.send(pdus.find_response(request.context_id, request.command, row))
    while (await asking.recv_message()).command["command_field"] != pdus.C_CANCEL_RQ:
        pass
    await asking.send(pdus.find_response(request.context_id, request.command, status=0xFE00))


async def test_c_cancel_ends_it_and_reaches_the_region() -> None:
    region = ScriptedRegion("ARCHIVE", INSTANCES)
    region.answers[pdus.C_FIND_RQ] = never_ends
    async with face(region) as here, here.associated() as association:
        statuses, found = await raw(association, identifier("STUDY", StudyInstanceUID=""), cancel_after=3)
        assert (statuses[-1], len(found)) == (0xFE00, 3)
        async with asyncio.timeout(2.0):
            while not region.saw(pdus.C_CANCEL_RQ):  # noqa: ASYNC110 - a script tells nobody
                await asyncio.sleep(0.01)
        assert association.clean


async def test_matches_come_before_the_last_region_has_answered() -> None:
    slow = ScriptedRegion("SLOW", INSTANCES[:1])
    slow.answers[pdus.C_FIND_RQ] = never_ends
    quick = ScriptedRegion("QUICK", dicom.study(9))
    async with face(slow, quick) as here, here.associated() as association:
        asked = find(association, pdus.STUDY_FIND, identifier("STUDY", StudyInstanceUID=""), soon())
        async with aclosing(asked) as matches:
            first = {str(dicom.decode(await anext(matches)).StudyInstanceUID) for _ in range(2)}
    assert first == {STUDY, dicom.uid(9)}


@pytest.mark.parametrize("missing_regions", ["lenient", "strict"])
async def test_a_missing_region_is_forgiven_or_named(missing_regions: str) -> None:
    down = ScriptedRegion("DOWN", [])
    up = ScriptedRegion("UP", INSTANCES)
    async with face(up, down, missing_regions=missing_regions) as here, here.associated() as association:
        down.answers[pdus.C_FIND_RQ] = fails
        asked = identifier("STUDY", StudyInstanceUID="")
        statuses, found = await raw(association, asked)
        assert len(found) == 3
        assert statuses[-1] == (0x0000 if missing_regions == "lenient" else 0xC001)
        if missing_regions == "strict":
            with pytest.raises(DimseFailure) as caught:
                await rows(association, "STUDY", StudyInstanceUID="")
            assert "down" in caught.value.comment


async def fails(region: ScriptedRegion, asking: ScriptedPeer, request: Message) -> None:
    await asking.send(pdus.find_response(request.context_id, request.command, status=0xC123))


async def test_no_region_at_all_is_a_failure() -> None:
    region = ScriptedRegion("DOWN", [])
    region.answers[pdus.C_FIND_RQ] = fails
    async with face(region) as here, here.associated() as association:
        with pytest.raises(DimseFailure) as caught:
            await rows(association, "STUDY", StudyInstanceUID="")
    assert caught.value.status == 0xA700
    assert "down" in caught.value.comment


async def test_it_is_told_of_without_a_word_about_the_patient() -> None:
    async with face() as here, here.associated() as association:
        await rows(association, "STUDY", StudyInstanceUID="", PatientName="TREMBLAY*")
        [told] = here.of(PeerOperation)
    assert (told.peer, told.service, told.status, told.count) == ("ws", "find", "0000", 3)


async def test_a_peer_that_leaves_costs_the_region_nothing_more() -> None:
    region = ScriptedRegion("ARCHIVE", INSTANCES)
    region.answers[pdus.C_FIND_RQ] = never_ends
    async with face(region) as here:
        async with here.associated() as association:
            context_id = association.context(pdus.STUDY_FIND).context_id
            request = Command(
                command_field=CommandField.C_FIND_RQ, affected_sop_class_uid=pdus.STUDY_FIND, message_id=7, priority=0
            )
            association.send_message(context_id, request, identifier("STUDY", StudyInstanceUID=""))
            for _ in range(3):
                await association.receive(soon())
            association.abort()
        async with asyncio.timeout(2.0):
            while not region.saw(pdus.C_CANCEL_RQ):  # noqa: ASYNC110 - a script tells nobody
                await asyncio.sleep(0.01)
