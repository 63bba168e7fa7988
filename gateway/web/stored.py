"""What a Store transaction answers: the Store Instances Response Module (PS3.18 10.5.3, Annex I)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response

from gateway.dataset.native_xml import to_native_xml
from gateway.dataset.query import Attribute, Row
from gateway.federation.completeness import COMPLETE, Completeness, RegionState
from gateway.web.completeness import field_value, warning
from gateway.web.locations import Locations
from gateway.web.negotiation import DICOM_XML, JSON_TYPES, MediaRange, Unavailable
from gateway.web.problem import RETRY_AFTER_SECONDS

if TYPE_CHECKING:
    from gateway.federation.store import StoreResult

ANSWER_TYPES: Final = (*JSON_TYPES, DICOM_XML)
MOST_TEXTS: Final = 10
QUEUED: Final = "queued"

REFERENCED, FAILED, OTHER = "00081199", "00081198", "0008119A"
CLASS, INSTANCE, RETRIEVE_URL, WARNING_REASON, FAILURE_REASON = (
    *("00081150", "00081155", "00081190", "00081196", "00081197"),
)


def answer_type(ranges: Iterable[MediaRange]) -> str:
    """Choose the media type of the answer, the DICOM JSON Model if the caller does not mind (PS3.18 10.5.4).

    Raises:
        Unavailable: none of them is acceptable.
    """
    ranges = list(ranges)

    def weight(media_type: str) -> float:
        fits = [(x.specificity(media_type), x.q) for x in ranges if x.specificity(media_type)]
        return max(fits, default=(0, 0.0))[1]

    best = max(ANSWER_TYPES, key=weight)
    if not weight(best):
        raise Unavailable("none of the media types in Accept can be made", ANSWER_TYPES)
    return best


def answer(results: Sequence["StoreResult"], locations: Locations, media_type: str) -> Response:
    """Tell what became of each instance."""
    row = response_module(results, locations)
    body = to_native_xml(row) if media_type == DICOM_XML else orjson.dumps(row)
    status = store_status(results)
    response = Response(body, status, media_type=media_type)
    states = _states(results)
    if states.states:
        response.raw_headers.append((b"federation-status", field_value(states.header())))
    response.raw_headers += [warning(locations.base, text) for text in _texts(results)]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def store_status(results: Sequence["StoreResult"]) -> HTTPStatus:
    """Return the status that fits all of it (PS3.18 Table 10.5.3-1)."""
    if all(result.stored and result.warning is None for result in results):
        return HTTPStatus.OK
    if any(result.stored for result in results):
        return HTTPStatus.ACCEPTED
    return HTTPStatus.SERVICE_UNAVAILABLE if all(result.full for result in results) else HTTPStatus.CONFLICT


def response_module(results: Sequence["StoreResult"], locations: Locations) -> Row:
    """Make the module; a Sequence without items is left out."""
    studies = {result.study_instance_uid for result in results if result.stored}
    row: Row = {RETRIEVE_URL: _value("UR", locations.resource(*studies) if len(studies) == 1 else None)}
    failed = [result for result in results if not result.stored]
    items = {
        FAILED: [_failure(x) for x in failed if x.sop_instance_uid],
        REFERENCED: [_reference(x, locations) for x in results if x.stored],
        OTHER: [{FAILURE_REASON: _value("US", x.status)} for x in failed if not x.sop_instance_uid],
    }
    return row | {tag: {"vr": "SQ", "Value": items[tag]} for tag in sorted(items) if items[tag]}


def _reference(result: "StoreResult", locations: Locations) -> Row:
    uids = result.study_instance_uid, result.series_instance_uid, result.sop_instance_uid
    # What only waits in the queue cannot be retrieved yet.
    url = locations.resource(*uids) if result.delivered else None
    item = {
        CLASS: _value("UI", result.sop_class_uid),
        INSTANCE: _value("UI", result.sop_instance_uid),
        RETRIEVE_URL: _value("UR", url),
    }
    return item if result.warning is None else {**item, WARNING_REASON: _value("US", result.warning)}


def _failure(result: "StoreResult") -> Row:
    return {
        CLASS: _value("UI", result.sop_class_uid or None),
        INSTANCE: _value("UI", result.sop_instance_uid),
        FAILURE_REASON: _value("US", result.status),
    }


def _value(vr: str, value: Any) -> Attribute:
    return {"vr": vr} if value is None else {"vr": vr, "Value": [value]}


def _states(results: Sequence["StoreResult"]) -> Completeness:
    delivered = Counter(region for result in results for region in result.delivered)
    states = dict.fromkeys(delivered, COMPLETE)
    states |= {region: QUEUED for result in results for region in result.queued}
    states |= {region: slug for result in results for region, slug in result.missing}
    return Completeness("instances", tuple(RegionState(x, state, delivered[x]) for x, state in sorted(states.items())))


def _texts(results: Sequence["StoreResult"]) -> list[str]:
    """Say in words why instances were refused or are not where they belong yet."""
    told = Counter((result.stored, result.detail) for result in results if result.detail)
    texts = [
        f"{count} {'instance' if count == 1 else 'instances'} {'stored' if stored else 'not stored'}: {detail}"
        for (stored, detail), count in told.most_common(MOST_TEXTS)
    ]
    return texts + [f"and {len(told) - MOST_TEXTS} further reasons"] * (len(told) > MOST_TEXTS)
