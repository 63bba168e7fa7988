"""A PACS workstation that searches and retrieves by DIMSE (pynetdicom)."""

from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_role, evt

from tests.kit import pdus

STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"


class Pacs:
    """A PACS of an organisation, which asks and is sent to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: set[str] = set()
        self.instances: set[str] = set()

    def _stored(self, event: Any) -> int:
        self.received.add(str(event.dataset.StudyInstanceUID))
        self.instances.add(str(event.dataset.SOPInstanceUID))
        return 0

    def ask(
        self, gateway: int, kind: str, study: str = "", *, destination: str = "WS", **keys: str
    ) -> tuple[list[Dataset], Dataset]:
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
            for keyword, value in keys.items():
                setattr(identifier, keyword, value)
            if kind == "find":
                answers = list(association.send_c_find(identifier, STUDY_FIND))
            elif kind == "move":
                answers = list(association.send_c_move(identifier, destination, STUDY_MOVE))
            else:
                answers = list(association.send_c_get(identifier, STUDY_GET))
        finally:
            association.release()
            server.shutdown()
        return [found for _, found in answers[:-1] if found is not None], answers[-1][0]
