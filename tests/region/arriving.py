"""C-STOREs on their way, fed by hand where an association would feed them."""

from typing import Any

from gateway.dimse.incoming import IncomingStore, StoreRequest
from gateway.errors import GatewayError
from tests.kit import dicom

EXPLICIT_LE = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FRAGMENT = 1000


class Arriving(IncomingStore):
    """An instance of the kit that NEODIN sends to GATEWAY for our message 7; nothing of it is here yet."""

    def __init__(
        self, study: int = 1, series: int = 1, number: int = 1, *, data: bytes | None = None, **command: Any
    ) -> None:
        fields: dict[str, Any] = {
            "calling_ae_title": "NEODIN",
            "called_ae_title": "GATEWAY",
            "address": "127.0.0.1",
            "sop_class_uid": CT,
            "sop_instance_uid": dicom.uid(study, series, number),
            "transfer_syntax_uid": EXPLICIT_LE,
            "message_id": 1,
            "move_originator_ae_title": "GATEWAY",
            "move_originator_message_id": 7,
            **command,
        }
        super().__init__(StoreRequest(**fields), 1, self._note, 2 << 20)
        self.data = dicom.encode(dicom.instance(study, series, number)) if data is None else data
        self.most_held = 0
        self._sent = 0

    def _note(self, size: int) -> None:
        """Stand for the association's account of what is unread."""

    def arrive(self, size: int | None = None) -> "Arriving":
        """Bring so many more bytes, all the rest by default, in fragments."""
        end = len(self.data) if size is None else min(len(self.data), self._sent + size)
        while self._sent < end:
            fragment = self.data[self._sent : min(end, self._sent + FRAGMENT)]
            self._sent += len(fragment)
            self.put(fragment, is_last=self._sent == len(self.data))
            self.most_held = max(self.most_held, self.buffered)
        return self

    def break_off(self, error: GatewayError) -> None:
        """End the association."""
        self.fail(error)
