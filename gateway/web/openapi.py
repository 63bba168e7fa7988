"""The OpenAPI 3.1 description of every route, made of the routes themselves and of the tables that they read by."""

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import Any, Final

from starlette.routing import BaseRoute, Mount, Route

from gateway.errors import GatewayError
from gateway.web.openapi_components import COMPONENTS, HEADER_NAMES
from gateway.web.operations import Operation, operation_of, refused_everywhere
from gateway.web.parameter_descriptions import JsonObject, path_parameter
from gateway.web.policy import Guarded, Public
from gateway.web.problem import MEDIA_TYPE
from gateway.web.routes import REGIONS

VERSION: Final = "3.1.1"
MEDIA_TYPES: Final = ("application/json", "application/vnd.oai.openapi+json")
OTHER: Final = "Gateway"
"""The group of what is no transaction of DICOMweb."""

_TOLD_OTHERWISE: Final[Mapping[str, str]] = {"/fhir/": "application/fhir+json", "/IHEInvokeImageDisplay": "text/html"}
"""How problems are told where they are not for programs of DICOMweb: as an OperationOutcome, or as a page."""

_DESCRIBED: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")

TAGS: Final[Mapping[str, str]] = {
    "Search": "Which studies, series and instances there are (QIDO-RS, PS3.18 10.6).",
    "Retrieve": "Instances, metadata, frames, bulk data and pictures (WADO-RS, PS3.18 10.4; WADO-URI, PS3.18 9).",
    "Store": "Taking instances in (STOW-RS, PS3.18 10.5).",
    OTHER: "The gateway itself.",
}


@dataclass(frozen=True, slots=True)
class Described:
    """One method of one path.

    Attributes:
        path: with its parameters in braces.
        method: in capitals.
        handlers: what answers.
        is_public: whether it answers anybody.
    """

    path: str
    method: str
    handlers: tuple[Callable[..., Any], ...]
    is_public: bool = False


class Undescribed(LookupError):
    """A handler that neither the table of operations nor a docstring describes."""


def described(routes: Iterable[BaseRoute], regions: Sequence[str] = (), prefix: str = "") -> Iterator[Described]:
    """Yield every method of every path, once; the paths of one region stand for those of all."""
    told: set[tuple[str, str]] = set()
    for path, route in _flat(routes, prefix):
        template = _of_any_region(_PARAMETER.sub(r"{\1}", path), regions)
        for method in _DESCRIBED:
            if method in (route.methods or {"GET"}) and (template, method) not in told:
                told.add((template, method))
                endpoint = route.endpoint
                yield Described(template, method, _handlers(endpoint, method), isinstance(endpoint, Public))


def _flat(routes: Iterable[BaseRoute], prefix: str) -> Iterator[tuple[str, Route]]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _flat(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            yield prefix + route.path, route


def _of_any_region(path: str, regions: Sequence[str]) -> str:
    for name in regions:
        if path.startswith(f"{REGIONS}/{name}/"):
            return f"{REGIONS}/{{region}}{path.removeprefix(f'{REGIONS}/{name}')}"
    return path


def _handlers(endpoint: Callable[..., Any], method: str) -> tuple[Callable[..., Any], ...]:
    if isinstance(endpoint, Guarded):
        return tuple(endpoint.left_to.get(method, (endpoint.handler,)))
    return (endpoint.described_by if isinstance(endpoint, Public) else endpoint,)


def openapi(
    routes: Iterable[BaseRoute], *, version: str, server: str = "", regions: Sequence[str] = (), title: str = ""
) -> JsonObject:
    """Describe the routes.

    Args:
        routes: all of them.
        version: of the gateway.
        server: under which the paths are; empty for where the description was found.
        regions: names of those that have routes of their own.
        title: of the description.

    Raises:
        Undescribed: nothing is said of what a route does.
    """
    paths: dict[str, JsonObject] = defaultdict(dict)
    shared, names = _Shared(), set[str]()
    for one in described(routes, regions):
        made = paths[one.path][one.method.lower()] = _operation(one, regions, shared)
        made["operationId"] = _unique(made["operationId"], names)
    return {
        "openapi": VERSION,
        "info": {
            "title": title or "Provincial DICOMweb gateway",
            "version": version,
            "summary": "Many regional archives as one DICOMweb origin server (PS3.18).",
            "description": "Every answer says in Federation-Status which regions are in it. Every error is a problem "
            "document (RFC 9457) whose type is a page here that says who mends it, and how.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server or "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": dict(paths),
        "components": {**COMPONENTS, **shared.components},
    }


def resolved(document: JsonObject, thing: JsonObject) -> JsonObject:
    """Follow a Reference Object of a description; return anything else as it is."""
    if "$ref" not in thing:
        return thing
    _, kind, name = thing["$ref"].removeprefix("#/").split("/")
    found: JsonObject = document["components"][kind][name]
    return found


class _Shared:
    """What several operations have in common, described once."""

    def __init__(self) -> None:
        self.components: dict[str, JsonObject] = defaultdict(dict)

    def reference(self, kind: str, name: str, thing: JsonObject) -> JsonObject:
        """Return a Reference Object to a thing, under its name or, where that is another's, one like it."""
        there = self.components[kind]
        name = next(x for n in count(1) if there.get(x := name if n == 1 else f"{name}-{n}", thing) == thing)
        there[name] = thing
        return {"$ref": f"#/components/{kind}/{name}"}


def _unique(name: str, names: set[str]) -> str:
    found = next(x for n in count(1) if (x := name if n == 1 else f"{name}{n}") not in names)
    names.add(found)
    return found


def _operation(one: Described, regions: Sequence[str], shared: _Shared) -> JsonObject:
    """Make an Operation Object of all that answers one method of one path."""
    known = [found for handler in one.handlers if (found := operation_of(handler)) is not None]
    names = _PARAMETER.findall(one.path)
    own = [path_parameter(name, regions if name == "region" else ()) for name in names] if known else _named(names)
    made: JsonObject = {
        "operationId": _identifier(one, known),
        "tags": [known[0].tag if known else OTHER],
        "summary": " ".join(map(_summary, one.handlers)),
        "responses": {
            status: shared.reference("responses", f"{known[0].name if known else OTHER}-{status}", response)
            for status, response in (_responses(known) if known else _plain_responses(one.path)).items()
        },
    }
    if one.is_public:
        made["security"] = []
    if known:
        made["externalDocs"] = {"description": ", ".join(dict.fromkeys(x.section for x in known)), "url": "/docs/api"}
    if parameters := _distinct([*own, *(parameter for x in known for parameter in _taken(x, one.method))]):
        made["parameters"] = [shared.reference("parameters", x["name"], x) for x in parameters]
    if one.method == "POST" and (types := [name for x in known for name in x.body]):
        made["requestBody"] = {"required": True, "content": {name: _body(name) for name in dict.fromkeys(types)}}
    return made


def _named(names: Iterable[str]) -> list[JsonObject]:
    """Describe the parameters of a path by their names alone."""
    described = {"in": "path", "required": True, "schema": {"type": "string"}}
    return [{"name": name, "description": f"Which {name}.", **described} for name in names]


def _taken(operation: Operation, method: str) -> list[JsonObject]:
    """Return the parameters; those of a search by POST may also stand in its body, where they are described."""
    return operation.parameters() if method == "GET" or operation.tag != "Search" else []


def _distinct(parameters: Iterable[JsonObject]) -> list[JsonObject]:
    return list({(x["in"], x["name"]): x for x in parameters}.values())


def _identifier(one: Described, known: Sequence[Operation]) -> str:
    """Name an operation by its transaction and what of the path sets it apart."""
    if not known:
        return "-".join([one.method.lower(), *re.findall(r"\w+", one.path)])
    levels = [name for name in _PARAMETER.findall(one.path) if name not in {"region", "path"}]
    within = "" if known[0].tag == "Retrieve" else "In"
    level = f"{within}{levels[-1].capitalize()}" if levels else ""
    level = "" if known[0].name.endswith(level) else level
    form = "ByForm" if one.method == "POST" and known[0].tag == "Search" else ""
    return f"{known[0].name}{level}{form}{'OfRegion' if one.path.startswith(REGIONS) else ''}"


def _summary(handler: Callable[..., Any]) -> str:
    text = inspect.getdoc(handler) or ""
    if not text:
        raise Undescribed(f"{handler!r} answers requests and has no docstring: say what it does")
    return text.partition("\n")[0]


# --- what is answered


def _responses(known: Sequence[Operation]) -> JsonObject:
    """Describe every status that one of the operations may answer with."""
    made: dict[str, JsonObject] = {}
    for operation in known:
        made |= _successes(operation)
    for status, text in _failures([error for x in known for error in x.errors]).items():
        # A status of success that an error shares is described with both.
        both = made.get(str(status), {"description": "", "content": {}})
        made[str(status)] = {
            "description": f"{both['description']} {text}".strip(),
            "headers": _headers(*HEADER_NAMES.get(status, ()), "Federation-Status"),
            "content": {**both.get("content", {}), MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return {status: made[status] for status in sorted(made)}


def _successes(operation: Operation) -> JsonObject:
    content = {name: _content(name, operation.schema) for name in operation.types}
    described: JsonObject = {
        "200": {"description": "All of it.", "headers": _headers(*operation.fields), "content": content}
    }
    for status, text in operation.statuses.items():
        bodiless = status == HTTPStatus.NOT_MODIFIED
        fields = (*operation.fields, *HEADER_NAMES.get(status, ()))
        described[str(status)] = {"description": text, "headers": _headers(*fields)}
        if not bodiless:
            described[str(status)]["content"] = content
    return described


def _failures(errors: Iterable[type[GatewayError]]) -> dict[int, str]:
    """Say of each status of failure which errors have it."""
    told: dict[int, dict[str, None]] = defaultdict(dict)
    for error in errors:
        summary = (error.__doc__ or "").partition("\n")[0]
        told[error.http_status][f"[{error.slug}](/docs/errors/{error.slug}): {summary}"] = None
    for status, text in refused_everywhere().items():
        told[status].setdefault(text)
    return {status: " ".join(told[status]) for status in sorted(told)}


def _plain_responses(path: str) -> JsonObject:
    """Describe what answers that are no transaction of DICOMweb have in common."""
    problems: JsonObject = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    problems |= {media_type: {} for start, media_type in _TOLD_OTHERWISE.items() if path.startswith(start)}
    return {
        "200": {"description": "What was asked for.", "content": {"*/*": {}}},
        "default": {"description": "A problem.", "content": problems},
    }


def _headers(*names: str) -> JsonObject:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in dict.fromkeys(names)}


def _content(media_type: str, schema: str) -> JsonObject:
    """Describe a body: JSON by its schema, anything else as bytes."""
    if media_type in {"application/dicom+json", "application/json"}:
        return {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"schema": {"type": "string", "contentMediaType": media_type.partition(";")[0]}}


def _body(media_type: str) -> JsonObject:
    """Describe a body that is taken."""
    if media_type == "application/x-www-form-urlencoded":
        form = {"type": "object", "additionalProperties": {"type": "string"}}
        return {"schema": form, "example": {"PatientName": "gagné*", "limit": "5"}}
    if media_type == "application/dicom+json":
        return {"schema": {"$ref": "#/components/schemas/DataSets"}}
    return {"schema": {"type": "string", "contentMediaType": media_type.partition(";")[0]}}
