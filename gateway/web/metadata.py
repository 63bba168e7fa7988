"""Metadata: each instance's Data Set in the DICOM JSON Model, bulk data left where it is (PS3.18 10.4.1.1.2)."""

from typing import TYPE_CHECKING

from gateway.dataset.json_model import BulkPath, JsonModelBuilder, dumps
from gateway.dataset.query import Row, Selection
from gateway.errors import DatasetError, LimitExceeded
from gateway.web.completeness import Header
from gateway.web.locations import Locations, uid_of
from gateway.web.streaming import Body, reading

if TYPE_CHECKING:
    from gateway.federation.flights import Instance

SERIES_INSTANCE_UID = "0020000E"
PROCESSING_FAILURE = 0x0110
UNPLACED = ""


class Metadata:
    """Writes a JSON array, one element for each instance as soon as it has arrived."""

    def __init__(self, media_type: str, selected: Selection, locations: Locations) -> None:
        self._media_type = media_type
        self._selected = selected
        self._locations = locations
        self._opening = b"["
        self._row = b""

    async def prepare(self, instance: "Instance") -> None:
        """Read the instance to its end; one that cannot be read is marked as such, not left out (R21)."""
        bulk: list[BulkPath] = []

        def noted(path: BulkPath, _vr: str, _length: int | None) -> str:
            bulk.append(path)
            return UNPLACED

        builder = JsonModelBuilder(instance.transfer_syntax_uid, character_set=instance.character_set, bulk_data=noted)
        try:
            async with reading(instance) as fragments:
                async for fragment in fragments:
                    builder.feed(fragment)
            row = builder.finish()
        except (DatasetError, LimitExceeded):
            row = self._unreadable(instance)
        if bulk:
            series = self._selected.series or uid_of(row, SERIES_INSTANCE_UID)
            url = self._locations.resource(self._selected.study, series, instance.sop_instance_uid)
            place(row, f"{url}/bulkdata")
        self._row = dumps(row)

    def _unreadable(self, instance: "Instance") -> Row:
        """Return what is known of an instance whose Data Set is malformed, with a Failure Reason."""
        return {
            "00080016": {"vr": "UI", "Value": [instance.sop_class_uid]},
            "00080018": {"vr": "UI", "Value": [instance.sop_instance_uid]},
            "00081197": {"vr": "US", "Value": [PROCESSING_FAILURE]},
            "0020000D": {"vr": "UI", "Value": [self._selected.study]},
        }

    def headers(self) -> list[Header]:
        """Return Content-Type."""
        return [(b"content-type", self._media_type.encode())]

    async def write(self, body: Body) -> None:
        """Write the prepared element."""
        await body.write(self._opening + self._row)
        self._opening = b","

    def end(self) -> bytes:
        """Return the end of the array."""
        return b"]"


def place(row: Row, url: str) -> None:
    """Complete each BulkDataURI: the keys on the way to it, and behind each Sequence the number of the item from 1."""
    for key, attribute in row.items():
        if attribute.get("BulkDataURI") == UNPLACED:
            attribute["BulkDataURI"] = f"{url}/{key}"
        elif attribute["vr"] == "SQ":
            for number, item in enumerate(attribute.get("Value", ()), 1):
                place(item, f"{url}/{key}/{number}")
