"""``gateway conformance``: the DICOM conformance statement, generated from the code, after PS3.2 Annex N."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated, Any, Final, TypeAlias

import typer

from gateway.cli.options import Json, Output
from gateway.cli.output import print_json, tell
from gateway.cli.statement import facts
from gateway.config import settings

Facts: TypeAlias = dict[str, Any]
Config = Annotated[Path | None, typer.Option(help="Settings, for a statement of this installation.")]


def command(config: Config = None, output: Output = None, as_json: Json = False) -> None:
    """Write the DICOM conformance statement, in Markdown or, for programs, in JSON."""
    chosen = settings.load(config, environ=None if config else {})
    found = facts(chosen)
    if as_json:
        print_json(found)
    elif output is None:
        print(markdown(found), end="")
    else:
        output.write_text(markdown(found), encoding="utf-8")
        tell(f"written to {output}")


def markdown(found: Facts) -> str:
    """Return the statement as a document: its tables in the places that the template has for them."""
    template = (resources.files("gateway.cli") / "conformance.md.in").read_text(encoding="utf-8")
    tables = {name: "\n".join(_table(*made(found))) for name, made in _TABLES.items()}
    words = {
        "contents": "\n".join(_contents(template)),
        "storage_count": str(len(found["storage_sop_classes"])),
        "region_root": found["dicomweb"][0]["also_below"],
        "decoded": _names(found["transfer_syntaxes"]["decoded"]),
        "encoded": _names(found["transfer_syntaxes"]["encoded"]),
        "character_sets": ", ".join(found["character_sets"]),
        "modes": ", ".join(_code(mode) for mode in found["access"]["modes"]),
        "scopes": ", ".join(_code(scope) for scope in found["access"]["scopes"]),
        "algorithms": ", ".join(found["access"]["algorithms"]),
    }
    return Template(template).substitute({**tables, **words})


def _contents(template: str) -> Iterator[str]:
    """List the sections (PS3.2 N.2)."""
    for marks, title in re.findall(r"^(##|###) (.+)$", template, re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        yield f"{'  ' * (len(marks) - 2)}- [{title}](#{anchor})"


Rows: TypeAlias = tuple[Sequence[str], Iterable[Sequence[str]]]


def _services(found: Facts) -> Rows:
    rows = [(x["name"], _code(x["uid"]), _yes(x["scu"]), _yes(x["scp"])) for x in found["network_services"]]
    storage = f"Storage: {len(found['storage_sop_classes'])} SOP Classes, Annex A.A"
    return ("SOP Class", "UID", "SCU", "SCP"), [*rows, (storage, "", "Yes", "Yes")]


def _policies(found: Facts) -> Rows:
    told = found["implementation"]
    return ("Item", "Value"), [
        ("Application Context Name", _code(told["application_context"])),
        ("Implementation Class UID", _code(told["implementation_class_uid"])),
        ("Implementation Version Name", told["implementation_version_name"]),
        ("AE title (configurable)", told["default_ae_title"]),
        ("Port (configurable)", str(told["default_port"])),
        ("Port with TLS (configurable)", str(told["default_tls_port"])),
        ("Maximum PDU length offered (configurable)", f"{told['maximum_pdu_length']} bytes"),
        ("Longest P-DATA-TF PDU borne", f"{told['maximum_pdu_accepted']} bytes"),
        ("Presentation Contexts of an association", f"at most {told['presentation_contexts']}"),
        ("Associations accepted (configurable)", f"{told['associations_accepted']} at once"),
        ("of these from one address (configurable)", str(told["associations_accepted_per_address"])),
        ("Connections not yet associated", f"at most {told['associations_not_yet_established']}"),
        ("Associations initiated (configurable)", f"{told['associations_initiated']} with each region at once"),
        ("Asynchronous Operations Window", "not negotiated: one operation at a time"),
        ("ARTIM timer", f"{told['artim_seconds']:g} s"),
        ("Idle association", f"aborted after {told['idle_seconds']:g} s"),
    ]


def _proposed(found: Facts) -> Rows:
    columns = ("Abstract Syntax", "UID", "Role", "Transfer Syntaxes", "Extended negotiation")
    return columns, [
        (x["sop_class"], _code(x["uid"]), x["role"], _names(x["transfer_syntaxes"]), ", ".join(x["extended"]))
        for x in found["requestor"]
    ]


def _accepted(found: Facts) -> Rows:
    return ("Service", "SOP Classes", "Role", "Extended negotiation"), [
        (x["service"], _names(x["sop_classes"]) or "Storage, Annex A.A", x["role"], ", ".join(x["extended"]))
        for x in found["acceptor"]
    ]


def _resources(found: Facts) -> Rows:
    return ("Resource", "Methods", "Transactions", "Scope"), [
        (_code(x["path"]), ", ".join(x["methods"]), "; ".join(x["transactions"]), ", ".join(x["scopes"]))
        for x in found["dicomweb"]
    ]


def _fhir(found: Facts) -> Rows:
    return ("Resource", "Interactions", "Search parameters", "Remarks"), [
        (
            _code(f"/fhir/{x['type']}"),
            ", ".join(x["interactions"]),
            ", ".join(map(_code, x["search_parameters"])),
            x["documentation"],
        )
        for x in found["fhir"]
    ]


def _peers(found: Facts) -> Rows:
    services = found["access"]["peer_services"].items()
    return ("Service in the peer's profile", "Allows"), [
        (x, ", ".join(y) or "nothing of a patient") for x, y in services
    ]


def _storage(found: Facts) -> Rows:
    return ("SOP Class", "UID"), [(x["name"], _code(x["uid"])) for x in found["storage_sop_classes"]]


def _syntaxes(found: Facts) -> Rows:
    registered = found["transfer_syntaxes"]["registered"]
    return ("Transfer Syntax", "UID"), [(x["name"], _code(x["uid"])) for x in registered]


_TABLES: Final[dict[str, Callable[[Facts], Rows]]] = {
    "network_services": _services,
    "association_policies": _policies,
    "proposed": _proposed,
    "accepted": _accepted,
    "resources": _resources,
    "fhir": _fhir,
    "peer_services": _peers,
    "storage": _storage,
    "transfer_syntaxes": _syntaxes,
}


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _names(of: Sequence[dict[str, str]]) -> str:
    return ", ".join(x["name"] for x in of)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _yes(value: bool) -> str:
    return "Yes" if value else "No"
