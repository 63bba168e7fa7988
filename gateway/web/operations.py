"""What each handler of the web does, as data: of it the OpenAPI and the capabilities are made."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from gateway import errors
from gateway.dataset.codestreams import MEDIA_TYPES, OCTET_STREAM
from gateway.dataset.query import Level
from gateway.dataset.rendition import RENDERED_TYPES
from gateway.errors import GatewayError
from gateway.web.form import FORM
from gateway.web.negotiation import DICOM_XML, JSON_TYPES, MULTIPART, NDJSON
from gateway.web.parameter_descriptions import (
    JsonObject,
    common_parameters,
    fields,
    rendered_parameters,
    search_parameters,
    uri_parameters,
    viewport_parameter,
)
from gateway.web.rendered import OTHERS, VIDEO_TYPES
from gateway.web.retrieve import INSTANCE_FORMS, METADATA_FORMS, STUDY_FORMS, Retrieve
from gateway.web.search import Search
from gateway.web.store import Store
from gateway.web.stored import ANSWER_TYPES
from gateway.web.upload import STORED

_ACCESS: Final[tuple[type[GatewayError], ...]] = (
    *(errors.Unauthenticated, errors.AccessDenied, errors.AccessClosed, errors.TooManyRequests),
)
_FEDERATED: Final = (
    *(*_ACCESS, errors.RequestError, errors.NotFound, errors.NotAcceptable, errors.LimitExceeded),
    *(errors.NoRegionAnswered, errors.RegionMissing, errors.Saturated, errors.AuditUnavailable),
)
_SEARCH: Final = (
    *_FEDERATED,
    *(errors.TooBroad, errors.IdentityUnavailable, errors.UnsupportedMediaType, errors.RequestTimeout),
)
_RETRIEVE: Final = (
    *_FEDERATED,
    errors.Gone,
    *(errors.RegionError, errors.IncompleteRetrieve, errors.DatasetError, errors.Unreachable, errors.Stalled),
    *(errors.RangeNotSatisfiable, errors.SpoolFull, errors.WorkersBusy, errors.WorkFailed, errors.SpoolDamaged),
)
_STORE: Final = (
    *(*_ACCESS, errors.RequestError, errors.NotAcceptable, errors.Inadmissible, errors.LimitExceeded),
    *(errors.UnsupportedMediaType, errors.RequestTimeout, errors.QueueFull, errors.AuditUnavailable),
)

FEDERATION_STATUS, WARNING = "Federation-Status", "Warning"


@dataclass(frozen=True, slots=True)
class Operation:
    """What one handler does.

    Attributes:
        name: of the transaction, as an identifier begins.
        tag: the group that it is read in.
        section: of PS3.18, or another source.
        types: media types of its answer, the default first.
        schema: name of the schema of an answer in JSON.
        parameters: makes its OpenAPI Parameter Objects, those of the path left out.
        errors: what else it may answer.
        statuses: other statuses of success, and what each means.
        fields: header fields of a success.
        body: media types that it takes; empty for none.
    """

    name: str
    tag: str
    section: str
    types: tuple[str, ...]
    schema: str = "DataSets"
    parameters: Callable[[], list[JsonObject]] = list
    errors: tuple[type[GatewayError], ...] = ()
    statuses: Mapping[int, str] = field(default_factory=dict)
    fields: tuple[str, ...] = (FEDERATION_STATUS, WARNING)
    body: tuple[str, ...] = ()


def _searching(name: str, level: Level, *within: Level) -> Operation:
    types = (*JSON_TYPES, f'{MULTIPART}; type="{DICOM_XML}"', NDJSON)
    return Operation(
        name,
        "Search",
        "PS3.18 10.6",
        types,
        parameters=lambda: [*search_parameters(level, within=within), *common_parameters(types)],
        errors=_SEARCH,
        body=(FORM,),
    )


_PARTIAL: Final = MappingProxyType(
    {
        206: "What there is: Federation-Status says which region is missing. Or the part that Range asks for, "
        "with Content-Range."
    }
)
_REVALIDATED: Final = MappingProxyType({**_PARTIAL, 304: "What the caller has, as If-None-Match says, still holds."})
_STORED: Final = MappingProxyType(
    {
        202: "Some instances were stored, or wait in the queue; Failed SOP Sequence (0008,1198) has the others.",
        409: "None was stored: Failed SOP Sequence (0008,1198) says why; a problem where nothing came to be stored.",
    }
)


def _retrieving(
    name: str,
    types: Iterable[str],
    *more: Callable[[], list[JsonObject]],
    section: str = "PS3.18 10.4",
    statuses: Mapping[int, str] = _PARTIAL,
) -> Operation:
    known = tuple(dict.fromkeys(types))

    def parameters() -> list[JsonObject]:
        own = [parameter for part in more for parameter in part()]
        return [*own, *common_parameters(known), *fields("Prefer", "Range")]

    return Operation(
        name,
        "Retrieve",
        section,
        known,
        parameters=parameters,
        errors=_RETRIEVE,
        statuses=statuses,
        fields=(FEDERATION_STATUS, WARNING, "Content-Location", "ETag"),
    )


def _parts(*types: str) -> list[str]:
    return [f'{MULTIPART}; type="{media_type}"' for media_type in types]


_FRAMES: Final = (*_parts(OCTET_STREAM, *MEDIA_TYPES.values()), OCTET_STREAM, *MEDIA_TYPES.values())
_LOOKED_AT: Final = (*RENDERED_TYPES, *VIDEO_TYPES, *OTHERS, *_parts(*RENDERED_TYPES))


def _uri() -> Operation:
    types = (*RENDERED_TYPES, *VIDEO_TYPES, *OTHERS, "application/dicom")
    return Operation(
        "retrieveByWadoUri",
        "Retrieve",
        "PS3.18 9",
        types,
        parameters=lambda: [*uri_parameters(), *fields("Prefer", "Range")],
        errors=_RETRIEVE,
        statuses=_PARTIAL,
    )


OPERATIONS: Final[Mapping[Callable[..., Any], Operation]] = MappingProxyType(
    {
        Search.studies: _searching("searchForStudies", Level.STUDY),
        Search.series: _searching("searchForSeries", Level.SERIES, Level.STUDY),
        Search.instances: _searching("searchForInstances", Level.IMAGE, Level.STUDY, Level.SERIES),
        Retrieve.instances: _retrieving("retrieve", map(str, (*STUDY_FORMS, *INSTANCE_FORMS))),
        Retrieve.metadata: _retrieving(
            "retrieveMetadata", map(str, METADATA_FORMS), lambda: fields("If-None-Match"), statuses=_REVALIDATED
        ),
        Retrieve.bulk_data: _retrieving("retrieveBulkData", (*_FRAMES, "*/*")),
        Retrieve.value: _retrieving("retrieveBulkDataValue", (*_FRAMES, "*/*")),
        Retrieve.pixel_data: _retrieving("retrievePixelData", _FRAMES),
        Retrieve.frames: _retrieving("retrieveFrames", _FRAMES),
        Retrieve.rendered: _retrieving("retrieveRendered", _LOOKED_AT, rendered_parameters),
        Retrieve.thumbnail: _retrieving("retrieveThumbnail", RENDERED_TYPES, viewport_parameter),
        Retrieve.uri: _uri(),
        Store.instances: Operation(
            "storeInstances",
            "Store",
            "PS3.18 10.5",
            ANSWER_TYPES,
            schema="StoreResponse",
            parameters=lambda: common_parameters(ANSWER_TYPES),
            errors=_STORE,
            statuses=_STORED,
            fields=(WARNING,),
            body=(*_parts(*STORED), *STORED),
        ),
    }
)
"""What the handlers of DICOMweb do; any other is described by its own docstring."""


def refused_everywhere() -> dict[int, str]:
    """Return what the HTTP server itself may answer to any request."""
    return {
        HTTPStatus.REQUEST_URI_TOO_LONG: "The URL is longer than is taken: search by POST.",
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The header is larger than is taken.",
        HTTPStatus.INTERNAL_SERVER_ERROR: "A defect of the gateway; its operator's log says where.",
    }


def operation_of(handler: Callable[..., Any]) -> Operation | None:
    """Return what a handler does; None for one that is no transaction of DICOMweb."""
    found: Callable[..., Any] = getattr(handler, "__func__", handler)
    return OPERATIONS.get(found)
