"""What a FHIR request says: its parameters, and the resource in its body (FHIR R4 http.html)."""

from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request

from gateway.errors import RequestError, UnsupportedMediaType
from gateway.web.form import form

FHIR_JSON: Final = "application/fhir+json"
JSON_TYPES: Final = frozenset({FHIR_JSON, "application/json", "text/json", "json"})
MOST_BYTES: Final = 256 * 1024


async def parameters(request: Request) -> dict[str, list[str]]:
    """Read the parameters of the URL, and of the form where there is one, which keeps the patient out of URLs."""
    text = request.scope["query_string"].decode("ascii", "replace")
    if request.method == "POST":
        text += "&" + (await form(request)).decode("utf-8", "replace")
    found: dict[str, list[str]] = {}
    for key, value in parse_qsl(text):
        found.setdefault(key, []).append(value)
    return found


async def resource(request: Request, kind: str) -> dict[str, Any]:
    """Read the resource that is sent.

    Raises:
        UnsupportedMediaType: it is not sent as JSON.
        RequestError: it is too large, or none of its kind.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in JSON_TYPES:
        raise UnsupportedMediaType(f"a {kind} is sent as {FHIR_JSON}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise RequestError(f"a {kind} is at most {MOST_BYTES} bytes")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or document.get("resourceType") != kind:
        raise RequestError(f"the body is no FHIR {kind} in JSON")
    return document
