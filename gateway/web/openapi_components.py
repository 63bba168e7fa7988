"""The parts of the OpenAPI that its operations share: schemas, header fields, how a caller says who it is."""

from collections.abc import Mapping
from typing import Any, Final

_VRS: Final = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW"),
    *("PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV"),
)

HEADER_NAMES: Final[Mapping[int, tuple[str, ...]]] = {
    206: ("Content-Range",),
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    416: ("Content-Range",),
    429: ("Retry-After",),
    502: ("Retry-After",),
    503: ("Retry-After",),
    504: ("Retry-After",),
    507: ("Retry-After",),
}
"""Header fields that a status brings with it."""

_ATTRIBUTE: Final = {
    "type": "object",
    "description": "One attribute (PS3.18 F.2.2).",
    "required": ["vr"],
    "properties": {
        "vr": {"type": "string", "enum": list(_VRS)},
        "Value": {"type": "array"},
        "BulkDataURI": {"type": "string", "format": "uri-reference"},
        "InlineBinary": {"type": "string", "contentEncoding": "base64"},
    },
}

_PROBLEM: Final = {
    "type": "object",
    "description": "What went wrong, and what to do (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "examples": ["/docs/errors/bad-request"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "available": {"type": "array", "items": {"type": "string"}, "description": "What could be had instead."},
        "regions": {"type": "array", "items": {"$ref": "#/components/schemas/RegionState"}},
    },
}

COMPONENTS: Final[dict[str, Any]] = {
    "securitySchemes": {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token of the province's identity provider (RFC 6750).",
        }
    },
    "schemas": {
        "Attribute": _ATTRIBUTE,
        "DataSet": {
            "type": "object",
            "description": "A Data Set in the DICOM JSON Model (PS3.18 F.2); its keys are tags.",
            "propertyNames": {"pattern": "^[0-9A-F]{8}$"},
            "additionalProperties": {"$ref": "#/components/schemas/Attribute"},
            "examples": [{"00100020": {"vr": "LO", "Value": ["0041596842"]}}],
        },
        "DataSets": {"type": "array", "items": {"$ref": "#/components/schemas/DataSet"}},
        "StoreResponse": {
            "description": "Store Instances Response Module (PS3.18 I.2).",
            "$ref": "#/components/schemas/DataSet",
        },
        "RegionState": {
            "type": "object",
            "required": ["region", "state"],
            "properties": {"region": {"type": "string"}, "state": {"type": "string"}},
        },
        "Problem": _PROBLEM,
    },
    "headers": {
        "Federation-Status": {
            "description": "What became of each region: a list of names, each with its state and how much it had.",
            "schema": {"type": "string"},
            "example": "hdirs;state=complete;matches=12, neodin;state=timeout",
        },
        "Warning": {
            "description": "299 with a text: a region that is missing, rows that remain, a parameter that was ignored.",
            "schema": {"type": "string"},
            "example": "299 /dicom-web: There are 2 additional results that can be requested",
        },
        "Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "string"}},
        "Content-Location": {"description": "URL of what the body is.", "schema": {"type": "string"}},
        "Content-Range": {"description": "Which bytes of how many.", "schema": {"type": "string"}},
        "ETag": {"description": "Tag of an answer that is known whole.", "schema": {"type": "string"}},
        "Allow": {"description": "Methods that the resource has.", "schema": {"type": "string"}},
        "WWW-Authenticate": {"description": "How to say who one is.", "schema": {"type": "string"}},
    },
}
