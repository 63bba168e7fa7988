"""What the tests ask an archive with: pynetdicom as SCU, and a Move Destination that remembers."""

import struct
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from regions.archive import Archive
from regions.truth import TrueStudy

FIND, MOVE, GET = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)


SYNTAXES = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203",
)  # fmt: skip


def identifier(level: str, **keys: Any) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def associate(archive: Archive, *contexts: Any, **more: Any) -> Any:
    ae = AE("TESTSCU")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    association = ae.associate("127.0.0.1", archive.port, list(contexts), ae_title=archive.ae.ae_title, **more)
    assert association.is_established
    return association


def find(
    archive: Archive, query: Dataset, model: str = FIND, syntax: str = ExplicitVRLittleEndian
) -> list[tuple[int, Dataset]]:
    association = associate(archive, build_context(model, syntax))
    try:
        responses = [(status.Status, row) for status, row in association.send_c_find(query, model)]
    finally:
        association.release()
    assert responses[-1][0] == 0x0000, responses[-1]
    return [(status, row) for status, row in responses[:-1] if row is not None]


class Inbox:
    """Remembers each C-STORE: its Data Set bytes, transfer syntax and move originator."""

    def __init__(self) -> None:
        self.stores: dict[str, tuple[bytes, str, str, int]] = {}
        self.refused: set[str] = set()

    def __call__(self, event: evt.Event) -> int:
        request = event.request
        if request.AffectedSOPInstanceUID in self.refused:
            return 0xA700
        self.stores[request.AffectedSOPInstanceUID] = (
            request.DataSet.getvalue(),
            event.context.transfer_syntax,
            request.MoveOriginatorApplicationEntityTitle,
            request.MoveOriginatorMessageID,
        )
        return 0x0000


def stored(province: Path, study: TrueStudy, region: str) -> dict[str, bytes]:
    """The Data Set bytes of a study as they lie in a region's files."""
    found = {}
    for one in study.held_by(region):
        content = (province / one.files[region]).read_bytes()
        found[one.sop_instance_uid] = content[144 + struct.unpack_from("<L", content, 140)[0] :]
    return found
