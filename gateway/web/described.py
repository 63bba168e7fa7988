"""The Data Set of an instance in the DICOM JSON Model, without its bulk data; kept beside it once it is made."""

from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.dataset.json_model import BulkPath, JsonModelBuilder, dumps
from gateway.dataset.query import Row
from gateway.errors import DatasetError, LimitExceeded
from gateway.web.streaming import reading

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance

PROCESSING_FAILURE: Final = 0x0110
_NOTE: Final = "metadata"
_URI: Final = b'"BulkDataURI":"'
"""Inside of a JSON string each quotation mark has a backslash before it, so this is always the key itself."""


async def described(instance: "Instance") -> bytes:
    """Return the Data Set as JSON, each BulkDataURI relative to the instance's ``bulkdata`` resource.

    Pixel Data and long binary values are passed over as they arrive.

    Raises:
        RegionError: the instance breaks off.
        DatasetError: it is no Data Set.
        LimitExceeded: at a limit.
    """
    kept = instance.note(_NOTE)
    if kept is not None:
        return kept
    row = dumps(await _row(instance))
    instance.keep(_NOTE, row)
    return row


async def _row(instance: "Instance") -> Row:
    bulk: list[BulkPath] = []

    def noted(path: BulkPath, _vr: str, _length: int | None) -> str:
        bulk.append(path)
        return relative(path)

    builder = JsonModelBuilder(instance.transfer_syntax_uid, character_set=instance.character_set, bulk_data=noted)
    async with reading(instance.bursts()) as bursts:
        async for burst in bursts:
            for fragment in burst:
                builder.feed(fragment)
    return builder.finish()


def relative(path: BulkPath) -> str:
    """Return where a value is below ``bulkdata``: keys, and behind each Sequence the number of the item from 1."""
    return "/".join(str(step + 1) if isinstance(step, int) else step for step in path)


def placed(row: bytes, url: str) -> bytes:
    """Complete each BulkDataURI to one below an instance's URL."""
    return row.replace(_URI, b"%s%s/bulkdata/" % (_URI, url.encode()))


async def marked(instance: "Instance", study: str) -> bytes:
    """Return the same, or what is known of an instance that cannot be read, with a Failure Reason (R21)."""
    try:
        return await described(instance)
    except (DatasetError, LimitExceeded):
        row: Row = {
            "00080016": {"vr": "UI", "Value": [instance.sop_class_uid]},
            "00080018": {"vr": "UI", "Value": [instance.sop_instance_uid]},
            "00081197": {"vr": "US", "Value": [PROCESSING_FAILURE]},
            "0020000D": {"vr": "UI", "Value": [study]},
        }
        return dumps(row)


def bulk_paths(row: Row) -> list[str]:
    """Return where the values are that a row leaves out, in its order."""
    paths: list[str] = []
    for attribute in row.values():
        if "BulkDataURI" in attribute:
            paths.append(attribute["BulkDataURI"])
        elif attribute["vr"] == "SQ":
            for item in attribute.get("Value", ()):
                paths += bulk_paths(item)
    return paths


def parsed(row: bytes) -> Row:
    """Return the row that JSON holds."""
    found: dict[str, Any] = orjson.loads(row)
    return found
