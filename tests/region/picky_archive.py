"""An archive over a scripted peer that insists on the hierarchy, and has the faults a test gives it."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from regions.matching import keys_of, matches
from tests.kit import dicom, pdus
from tests.kit.scripted import Message, ScriptedPeer, read_proposed

PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
SERVED = (pdus.VERIFICATION, pdus.STUDY_FIND, pdus.STUDY_MOVE)
A700, A900 = 0xA700, 0xA900
CHAIN = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


@dataclass
class PickyArchive:
    """Answers C-FIND as PS3.4 C.4.1 has it, except where told otherwise.

    Attributes:
        grants: its Service-class-application-information; none by default.
        serves: the abstract syntaxes it accepts.
        is_relational: whether it can do relational queries, whatever it grants.
        cap: rows after which it ends an answer; `cap_status` is the status it then ends with.
        ignores: keywords that it takes for universal.
        omits: keywords that it leaves out of its rows.
        blank: keywords that it leaves empty.
        asked: the Identifiers it met.
        refuses: a status that it ends every C-FIND with at once; 0 for none.
        stops_at: the ordinal of the C-FIND, from 1, after whose first row it waits for C-CANCEL.
    """

    instances: Sequence[Dataset]
    grants: bytes = b""
    serves: Sequence[str] = SERVED
    is_relational: bool = False
    cap: int = 0
    cap_status: int = 0
    ignores: Sequence[str] = ()
    omits: Sequence[str] = ()
    blank: Sequence[str] = ()
    refuses: int = 0
    stops_at: int = 0
    asked: list[Dataset] = field(default_factory=list)

    @property
    def levels(self) -> list[str]:
        return [str(identifier.QueryRetrieveLevel) for identifier in self.asked]

    async def script(self, peer: ScriptedPeer) -> None:
        request = await peer.recv(pdus.A_ASSOCIATE_RQ)
        contexts = read_proposed(request)
        peer.contexts = {number: name for number, name, _ in contexts}
        granted = [_extended(name, self.grants) for name in (pdus.STUDY_FIND, PATIENT_FIND) if self.grants]
        answers = [(number, pdus.EXPLICIT_LE, 0 if name in self.serves else 3) for number, name, _ in contexts]
        await peer.send(pdus.associate_ac(answers, user=pdus.user_information(131_072, *granted)))
        while (message := await peer.next_request()) is not None:
            await self._answer(peer, message)
        await peer.send(pdus.RELEASE_RP)
        await peer.hold()

    async def _answer(self, peer: ScriptedPeer, request: Message) -> None:
        async def end(status: int) -> None:
            await peer.send(pdus.find_response(request.context_id, request.command, status=status))

        if request.command["command_field"] != pdus.C_FIND_RQ:
            await peer.send(pdus.message(request.context_id, pdus.response(request.command)))
            return
        identifier = dicom.decode(request.data)
        self.asked.append(identifier)
        is_patient_root = peer.contexts[request.context_id] == PATIENT_FIND
        if not self._fits_the_hierarchy(identifier, is_patient_root=is_patient_root):
            await end(A900)
            return
        if self.refuses:
            await end(self.refuses)
            return
        for count, row in enumerate(self._rows(identifier)):
            if self.cap and count == self.cap:
                await end(self.cap_status)
                return
            await peer.send(pdus.find_response(request.context_id, request.command, dicom.encode(row)))
            if self.stops_at == len(self.asked):
                cancel = await peer.recv_message()
                assert cancel.command["command_field"] == pdus.C_CANCEL_RQ
                await end(0xFE00)
                return
        await end(0)

    def _fits_the_hierarchy(self, identifier: Dataset, *, is_patient_root: bool) -> bool:
        chain = CHAIN[not is_patient_root :]
        if str(identifier.QueryRetrieveLevel) not in chain:
            return False
        above = chain[: chain.index(str(identifier.QueryRetrieveLevel))]
        named = [identifier.get(UNIQUE[level]) for level in above]
        return self.is_relational or all(uid and isinstance(uid, str) and "*" not in uid for uid in named)

    def _rows(self, identifier: Dataset) -> Iterator[Dataset]:
        level = str(identifier.QueryRetrieveLevel)
        keys = [k for k in keys_of(identifier) if k.keyword not in {"QueryRetrieveLevel", *self.ignores}]
        entities: dict[tuple[Any, ...], list[Dataset]] = {}
        for each in self.instances:
            chain = tuple(str(each[UNIQUE[x]].value) for x in CHAIN[: CHAIN.index(level) + 1])
            entities.setdefault(chain, []).append(each)
        for members in entities.values():
            held = _held(level, members)
            if all(matches(key, held) for key in keys):
                yield self._row(held, identifier)

    def _row(self, held: Dataset, identifier: Dataset) -> Dataset:
        row = Dataset()
        for element in identifier:
            if element.keyword in self.omits:
                continue
            found = None if element.keyword in self.blank else held.get(element.tag)
            row[element.tag] = found if found is not None else type(element)(element.tag, element.VR, None)
        row.QueryRetrieveLevel = identifier.QueryRetrieveLevel
        row.SpecificCharacterSet = "ISO_IR 100"
        return row


def _held(level: str, members: Sequence[Dataset]) -> Dataset:
    held = Dataset()
    held.update(members[0])
    if level == "STUDY":
        held.ModalitiesInStudy = sorted({member.Modality for member in members})
        held.NumberOfStudyRelatedInstances = str(len(members))
    return held


def _extended(sop_class: str, information: bytes) -> bytes:
    return pdus.item(0x56, struct.pack(">H", len(sop_class)) + sop_class.encode() + information)


def values(identifier: Dataset, keyword: str) -> str:
    """Return a key as it was asked."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return str(identifier[tag].value or "") if tag in identifier else ""
