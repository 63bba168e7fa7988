"""What each parameter of the web is, for those who read of it: OpenAPI Parameter Objects made of the code's own tables.

The examples are of the synthetic province, so that they can be tried as they stand.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from gateway.dataset.dictionary import keyword_of, vr_of
from gateway.dataset.query import Level, TagPath
from gateway.dataset.rendition import ANNOTATIONS, ICC_PROFILES
from gateway.dataset.required import REQUIRED
from gateway.web.keys import expectation
from gateway.web.negotiation import DICOM
from gateway.web.parameters import CONTROLS, ELSEWHERE
from gateway.web.rendered_parameters import LARGEST_VIEWPORT, READERS
from gateway.web.wado_uri import NAMES, UIDS

JsonObject: TypeAlias = dict[str, Any]

STUDY: Final = "2.25.78829033682861389904395179873317805603"
SERIES: Final = "2.25.252635584804103257989285489634518759060"
INSTANCE: Final = "2.25.242466908232980434579816516237748860346"
HEALTH_CARD_NUMBER: Final = "0041596842"

_UID: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
_TEXT: Final = {"type": "string"}
_BOOLEAN: Final = {"type": "string", "enum": ["true", "false"]}
_PIXELS: Final = {"type": "integer", "minimum": 1, "maximum": LARGEST_VIEWPORT}
_FRAME: Final = {"type": "integer", "minimum": 1, "maximum": 999_999}
_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": 999_999_999}

# name -> schema, example, description
_Table: TypeAlias = Mapping[str, tuple[Mapping[str, Any], Any, str]]

_PATH: Final[_Table] = {
    "study": (_UID, STUDY, "Study Instance UID."),
    "series": (_UID, SERIES, "Series Instance UID."),
    "instance": (_UID, INSTANCE, "SOP Instance UID."),
    "frames": (
        {"type": "string", "pattern": "^[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*$"},
        "1",
        "Frame numbers from 1, ascending, with commas between them.",
    ),
    "path": (_TEXT, "7FE00010", "What a BulkDataURI of the metadata names: tags and item numbers, or frames."),
}

_CONTROLS: Final[_Table] = {
    "limit": (_COUNT, 10, "Most rows in the answer."),
    "offset": (_COUNT, 0, "Rows to pass over: the pages behind the first."),
    "fuzzymatching": (_BOOLEAN, "true", "Words of a name in any order, and where each only begins so."),
    "includefield": (_TEXT, "StudyDescription", "Further attributes by keyword or tag, with commas; or all."),
    "emptyvaluematching": (_BOOLEAN, "false", 'Two quotation marks as a value find what has none: PatientID="".'),
    "multiplevaluematching": (_BOOLEAN, "false", "A key may have several values, with backslashes between them."),
}

_CHARSET: Final = {"type": "string", "enum": ["utf-8"]}, "utf-8", "Character sets the caller takes: UTF-8 among them."

_RENDERED: Final[_Table] = {
    "viewport": (
        _TEXT,
        "512,512",
        f"Width and height at the most, up to {LARGEST_VIEWPORT}; for a part also its left, top, width and height.",
    ),
    "window": (_TEXT, "40,400,linear", "Center, width and function: linear, linear-exact or sigmoid."),
    "quality": ({"type": "integer", "minimum": 1, "maximum": 100}, 90, "Of JPEG and JPEG 2000."),
    "annotation": (
        _TEXT,
        "technique",
        f"What is burnt in: {' or '.join(sorted(ANNOTATIONS))}, or both with a comma between them.",
    ),
    "iccprofile": ({"type": "string", "enum": sorted(ICC_PROFILES)}, "srgb", "Colour profile of a colour image."),
}

_URI: Final[_Table] = {
    "requestType": ({"type": "string", "enum": ["WADO"]}, "WADO", "Always WADO."),
    "studyUID": _PATH["study"],
    "seriesUID": _PATH["series"],
    "objectUID": _PATH["instance"],
    "contentType": (_TEXT, "image/jpeg", "Media types, with commas; without any, image/jpeg."),
    "charset": _CHARSET,
    "transferSyntax": (_TEXT, None, f"With contentType={DICOM}: a Transfer Syntax UID, or * for the stored one."),
    "anonymize": ({"type": "string", "enum": ["no"]}, "no", "Nothing is anonymized here."),
    "annotation": _RENDERED["annotation"],
    "rows": (_PIXELS, 512, "Rows at the most."),
    "columns": (_PIXELS, 512, "Columns at the most."),
    "region": (_TEXT, "0.0,0.0,1.0,1.0", "Left, top, right and bottom edge of the part shown, each from 0 to 1."),
    "windowCenter": (_TEXT, "40", "Beside windowWidth."),
    "windowWidth": (_TEXT, "400", "Beside windowCenter; at least 1."),
    "imageQuality": _RENDERED["quality"],
    "frameNumber": (_FRAME, 1, "Which frame, from 1."),
}

_FIELDS: Final[_Table] = {
    "Prefer": (
        _TEXT,
        "handling=lenient",
        "handling=strict: 503 where a region is missing; wait=N: seconds that the caller will wait (RFC 7240).",
    ),
    "Range": (_TEXT, None, "A part of a body that is one part (RFC 9110 14)."),
    "If-None-Match": (_TEXT, None, "The ETag of an answer that the caller has: 304 where it still holds."),
}

EXAMPLE_KEYS: Final[Mapping[str, str]] = {
    "PatientID": HEALTH_CARD_NUMBER,
    "PatientName": "gagné*",
    "StudyDate": "20240101-20241231",
    "ModalitiesInStudy": "CT,MR",
    "Modality": "CT",
    "StudyInstanceUID": STUDY,
    "SeriesInstanceUID": SERIES,
    "SOPInstanceUID": INSTANCE,
}
"""Values of keys that find something."""


def path_parameter(name: str, among: Sequence[str] = ()) -> JsonObject:
    """Describe a parameter of a path; ``among`` are the only values it has.

    Raises:
        KeyError: nobody has described it.
    """
    schema, example, text = (
        ({"type": "string", "enum": list(among)}, among[0], "One region alone.") if among else _PATH[name]
    )
    return _parameter("path", name, schema, example, text)


def search_parameters(level: Level, *, within: Iterable[Level] = ()) -> list[JsonObject]:
    """Describe the parameters of a Search resource: matching keys of its level, and of others, then the controls.

    Args:
        level: what the rows are.
        within: levels above whose attributes its rows have too.
    """
    paths = dict.fromkeys(path for one in (*within, level) for path in REQUIRED[one])
    return [
        *map(_key, paths),
        _any_attribute(),
        *_described(_CONTROLS, CONTROLS),
        *fields("Prefer"),
    ]


def common_parameters(types: Iterable[str]) -> list[JsonObject]:
    """Describe what every DICOMweb resource takes in its query component.

    Args:
        types: media types that the resource is answered as.
    """
    schema = {"type": "string", "enum": [name for name in dict.fromkeys(types) if "*" not in name]}
    text = "A media type, before and within those of the Accept field; no wildcards."
    return _described({"accept": (schema, None, text), "charset": _CHARSET}, sorted(ELSEWHERE))


def rendered_parameters() -> list[JsonObject]:
    """Describe the parameters of a rendered resource."""
    return _described(_RENDERED, READERS)


def viewport_parameter() -> list[JsonObject]:
    """Describe the only parameter of a thumbnail."""
    return _described(_RENDERED, ["viewport"])


def uri_parameters() -> list[JsonObject]:
    """Describe the parameters of WADO-URI."""
    required = {*UIDS, "requestType"}
    return [{**x, "required": x["name"] in required} for x in _described(_URI, NAMES)]


def fields(*names: str) -> list[JsonObject]:
    """Describe header fields of a request."""
    return [_parameter("header", name, *_FIELDS[name]) for name in names]


def _described(table: _Table, names: Iterable[str]) -> list[JsonObject]:
    return [_parameter("query", name, *table[name]) for name in names]


def _parameter(where: str, name: str, schema: Mapping[str, Any], example: object, text: str) -> JsonObject:
    described: JsonObject = {"name": name, "in": where, "description": text, "schema": dict(schema)}
    if where == "path":
        described["required"] = True
    if example is not None:
        described["example"] = example
    return described


def _key(path: TagPath) -> JsonObject:
    """Describe a matching key by its keywords and by what its VR allows."""
    name = ".".join(map(keyword_of, path))
    vr = vr_of(path[-1])
    text = f"Matching key, VR {vr}: {expectation(vr)}."
    return _parameter("query", name, _TEXT, EXAMPLE_KEYS.get(name), text)


def _any_attribute() -> JsonObject:
    """Describe that every attribute of the Data Dictionary is a parameter."""
    return {
        "name": "attributes",
        "in": "query",
        "description": "Any other attribute as a matching key, by keyword or tag, of a sequence with dots: "
        "OtherPatientIDsSequence.PatientID=82286669. A private one needs its Private Creator beside it.",
        "style": "form",
        "explode": True,
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        "example": {"StudyDescription": "*thorax*"},
    }
