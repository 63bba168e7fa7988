"""The OpenAPI description as a page to read, and to copy command lines from."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from shlex import quote
from typing import Any, Final
from urllib.parse import quote as percent_encoded

from gateway.web.guides import shell
from gateway.web.negotiation import MULTIPART
from gateway.web.openapi import resolved
from gateway.web.parameter_descriptions import JsonObject
from gateway.web.routes import REGIONS

SAMPLED: Final = ("PatientID", "limit", "viewport", "window")
"""Optional parameters that the command lines show; of a search's keys the first, if its rows have it."""

_LINK = re.compile(r"\[([\w-]+)\]\((/docs/errors/[\w-]+)\)")


def overview(document: JsonObject) -> str:
    """List the resources with the methods they have, as HTML."""
    rows = "".join(
        f'<tr><td>{_badges(methods)}</td><td><a href="/docs/api#{_anchor(methods)}"><code>{_breakable(path)}</code></a>'
        f"</td><td>{escape(_first(methods)['summary'])}</td></tr>"
        for path, methods in _own(document)
    )
    return f'<div class="wide" tabindex="0" role="group"><table class="resources"><tbody>{rows}</tbody></table></div>'


def groups(document: JsonObject) -> list[tuple[str, str]]:
    """Return anchor and name of each group of operations."""
    used = {operation["tags"][0] for _, methods in _own(document) for operation in methods.values()}
    return [(tag["name"].lower(), tag["name"]) for tag in document["tags"] if tag["name"] in used]


def reference(document: JsonObject, base: str) -> str:
    """Describe every operation, as HTML; command lines go to a base URL."""
    written = []
    for tag in document["tags"]:
        operations = [
            _operation(document, path, method, operation, base)
            for path, methods in _own(document)
            for method, operation in methods.items()
            if operation["tags"][0] == tag["name"]
        ]
        if operations:
            head = f'<h2 id="{tag["name"].lower()}">{escape(tag["name"])}</h2><p>{escape(tag["description"])}</p>'
            written.append(f"<section>{head}{''.join(operations)}</section>")
    return "\n".join(written)


def _own(document: JsonObject) -> list[tuple[str, JsonObject]]:
    """Return the paths but for those of one region alone, which are the same again."""
    return [(path, methods) for path, methods in document["paths"].items() if not path.startswith(REGIONS)]


def _first(methods: JsonObject) -> JsonObject:
    found: JsonObject = next(iter(methods.values()))
    return found


def _anchor(methods: JsonObject) -> str:
    return escape(_first(methods)["operationId"])


def _badges(methods: Iterable[str]) -> str:
    return " ".join(f'<span class="method {method}">{method.upper()}</span>' for method in methods)


def _operation(document: JsonObject, path: str, method: str, operation: JsonObject, base: str) -> str:
    parameters = [resolved(document, x) for x in operation.get("parameters", [])]
    responses = {status: resolved(document, x) for status, x in operation["responses"].items()}
    source = operation.get("externalDocs", {}).get("description", "")
    parts = (
        f'<p class="source">{escape(source)}</p>' if source else "",
        _try_it(path, method, operation, parameters, responses, base),
        _parameters(parameters),
        _body(operation.get("requestBody")),
        _answers(responses),
    )
    return (
        f'<details class="operation"><summary>{_badges([method])} '
        f"<code>{_breakable(path)}</code> <span>{escape(operation['summary'])}</span></summary>"
        f'<div class="inside" id="{escape(operation["operationId"])}">{"".join(parts)}</div></details>'
    )


def _breakable(path: str) -> str:
    """Let a long path be broken behind its slashes."""
    return escape(path).replace("/", "/<wbr>")


# --- parameters


def _parameters(parameters: Sequence[JsonObject]) -> str:
    keys = [x for x in parameters if x["description"].startswith("Matching key")]
    others = [x for x in parameters if x not in keys]
    written = f"<h3>Parameters</h3>{_table(others)}" if others else ""
    if keys:
        written += f"<details><summary>Matching keys <small>{len(keys)}</small></summary>{_table(keys)}</details>"
    return written


def _table(parameters: Iterable[JsonObject]) -> str:
    rows = "".join(
        f"<tr><th scope=row><code>{escape(x['name'])}</code>{'' if x.get('required') is None else _need(x)}</th>"
        f"<td>{x['in']}</td><td>{escape(x['description'])}{_allowed(x['schema'])}{_example(x)}</td></tr>"
        for x in parameters
    )
    return f'<div class="wide" tabindex="0" role="group"><table><tbody>{rows}</tbody></table></div>'


def _need(parameter: JsonObject) -> str:
    return " <small>required</small>" if parameter["required"] else ""


def _allowed(schema: Mapping[str, Any]) -> str:
    """Say which values a schema allows, where there are few, or from which to which."""
    if "enum" in schema:
        return f" <small>{' · '.join(escape(value) for value in schema['enum'])}</small>"
    if "minimum" in schema and schema.get("maximum", 0) < 1_000_000:
        return f" <small>{schema['minimum']} to {schema['maximum']}</small>"
    return ""


def _example(parameter: JsonObject) -> str:
    example = parameter.get("example")
    if example is None:
        return ""
    shown = "&".join(f"{k}={v}" for k, v in example.items()) if isinstance(example, dict) else str(example)
    return f"<br><small>such as <code>{escape(shown)}</code></small>"


def _body(body: JsonObject | None) -> str:
    if body is None:
        return ""
    types = "".join(f"<li><code>{escape(name)}</code></li>" for name in body["content"])
    return f"<h3>Body</h3><ul>{types}</ul>"


# --- answers


def _answers(responses: Mapping[str, JsonObject]) -> str:
    rows = "".join(
        f'<tr><th scope=row><span class="status s{status[0]}">{status}</span></th>'
        f"<td>{_linked(response['description'])}{_fields(response)}</td></tr>"
        for status, response in responses.items()
    )
    types = [name for name in responses.get("200", {}).get("content", {}) if name != "*/*"]
    listed = "".join(f"<li><code>{escape(name)}</code></li>" for name in types)
    forms = f"<details><summary>Media types <small>{len(types)}</small></summary><ul>{listed}</ul></details>"
    table = f'<div class="wide" tabindex="0" role="group"><table><tbody>{rows}</tbody></table></div>'
    return f"<h3>Answers</h3>{forms if types else ''}{table}"


def _linked(text: str) -> str:
    """Make links of the slugs of errors."""
    return _LINK.sub(r'<a href="\2"><code>\1</code></a>', escape(text))


def _fields(response: JsonObject) -> str:
    names = ", ".join(f"<code>{escape(name)}</code>" for name in response.get("headers", {}))
    return f"<br><small>{names}</small>" if names else ""


# --- to try it


def _try_it(
    path: str,
    method: str,
    operation: JsonObject,
    parameters: Sequence[JsonObject],
    responses: Mapping[str, JsonObject],
    base: str,
) -> str:
    line = command(path, method, parameters, _accept(responses), operation.get("requestBody"), base)
    return f"<h3>Try it</h3><pre><code>{shell(f'$ {line}')}</code></pre>"


def command(
    path: str, method: str, parameters: Sequence[JsonObject], accept: str, body: JsonObject | None, base: str
) -> str:
    """Return a command line that asks for a resource with the examples of its parameters."""
    examples = {(x["in"], x["name"]): str(x["example"]) for x in parameters if "example" in x}
    for (where, name), example in examples.items():
        if where == "path":
            path = path.replace(f"{{{name}}}", percent_encoded(example, safe=",/"))
    shown = [x["name"] for x in parameters if x["in"] == "query" and (x.get("required") or x["name"] in SAMPLED)]
    words = "&".join(
        f"{name}={percent_encoded(examples['query', name], safe=',*')}"
        for name in shown
        if ("query", name) in examples and not (body and method == "post")
    )
    target = quote(f"{base}{path}{'?' if words else ''}{words}")
    options = [f"-H {quote(f'Accept: {accept}')} -o answer"] if accept else ["-i"]
    return " ".join(["curl", *_sent(body), *options, target])


def _sent(body: JsonObject | None) -> list[str]:
    types = list(body["content"]) if body else []
    if "application/dicom" in types:
        return ["-H 'Content-Type: application/dicom'", "--data-binary @FILE.dcm"]
    return ["-d 'PatientID=0041596842' -d limit=10"] if types else []


def _accept(responses: Mapping[str, JsonObject]) -> str:
    """Return what is to be asked for where the answer is none to look at in a terminal."""
    first = next(iter(responses.get("200", {}).get("content", {})), "*/*")
    if "json" in first or first == "*/*":
        return ""
    return f"{first}; transfer-syntax=*" if first.startswith(MULTIPART) else str(first)
