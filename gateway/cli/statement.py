"""The facts of the DICOM conformance statement, read from the code that makes them true (PS3.2 Annex N)."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

from starlette.routing import BaseRoute, Route

from gateway.access.decision import Decisions, Mode
from gateway.access.principal import Transaction
from gateway.config.access import Algorithm
from gateway.config.settings import Settings
from gateway.dataset.charset import is_known
from gateway.dataset.codestreams import DECODABLE, TRANSCODABLE_TO
from gateway.dataset.transfer_syntax import TRANSFER_SYNTAXES, transfer_syntax
from gateway.dimse.sop_classes import COMMON_STORAGE, STORAGE, name_of
from gateway.region.contexts import QUERY_CONTEXTS, get_contexts
from gateway.region.profile import Profile
from gateway.scp.face import SOP_CLASSES
from gateway.scp.identifier import GRANTED
from gateway.scp.principal import ALLOWED
from gateway.scp.reporter import REPORT
from gateway.web.fhir import AUDIT, CONSENT
from gateway.web.openapi import described
from gateway.web.operations import operation_of
from gateway.web.policy import Guarded
from gateway.web.retrieve import Retrieve
from gateway.web.routes import region_root, routes
from gateway.web.search import Search
from gateway.web.store import Store
from gateway.wire.limits import Limits
from gateway.wire.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.wire.pdu import APPLICATION_CONTEXT

ROOT: Final = "/dicom-web"
EXTENSIONS: Final = ("relational queries", "combined date-time matching", "fuzzy matching", "timezone adjustment")

CHARACTER_SETS: Final = tuple(
    term
    for term in (
        *("ISO_IR 6", "ISO_IR 13", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126", "ISO_IR 127"),
        *("ISO_IR 138", "ISO_IR 144", "ISO_IR 148", "ISO_IR 166", "ISO_IR 203", "ISO_IR 192", "GB18030", "GBK"),
        *("ISO 2022 IR 6", "ISO 2022 IR 13", "ISO 2022 IR 58", "ISO 2022 IR 87", "ISO 2022 IR 100"),
        *("ISO 2022 IR 101", "ISO 2022 IR 109", "ISO 2022 IR 110", "ISO 2022 IR 126", "ISO 2022 IR 127"),
        *("ISO 2022 IR 138", "ISO 2022 IR 144", "ISO 2022 IR 148", "ISO 2022 IR 149", "ISO 2022 IR 159"),
        *("ISO 2022 IR 166", "ISO 2022 IR 203"),
    )
    if is_known(term)
)
"""The Defined Terms of PS3.3 C.12.1.1.2 that are read and written."""


def facts(settings: Settings) -> dict[str, Any]:
    """Return everything that the statement says, for programs."""
    return {
        "implementation": _implementation(settings),
        "network_services": _services(),
        "storage_sop_classes": _uids(STORAGE),
        "requestor": _requestor(),
        "acceptor": _acceptor(),
        "dicomweb": _resources(),
        "fhir": _fhir(),
        "access": _access(),
        "transfer_syntaxes": {
            "registered": _syntaxes(TRANSFER_SYNTAXES),
            "decoded": _syntaxes(sorted(DECODABLE)),
            "encoded": _syntaxes(sorted(TRANSCODABLE_TO)),
        },
        "character_sets": CHARACTER_SETS,
    }


def _implementation(settings: Settings) -> dict[str, Any]:
    limits = Limits()
    dimse = settings.dimse
    return {
        "application_context": APPLICATION_CONTEXT,
        "implementation_class_uid": IMPLEMENTATION_CLASS_UID,
        "implementation_version_name": IMPLEMENTATION_VERSION_NAME,
        "default_ae_title": dimse.ae_title,
        "default_port": dimse.port,
        "default_tls_port": dimse.tls_port,
        "maximum_pdu_length": dimse.maximum_pdu_length,
        "maximum_pdu_accepted": limits.max_pdu_accepted,
        "presentation_contexts": limits.max_presentation_contexts,
        "associations_accepted": dimse.max_associations,
        "associations_accepted_per_address": dimse.max_associations_per_peer,
        "associations_not_yet_established": limits.max_unassociated,
        "associations_initiated": Profile.model_fields["max_associations"].default,
        "artim_seconds": limits.artim_seconds,
        "idle_seconds": limits.idle_seconds,
    }


def _services() -> list[dict[str, Any]]:
    """Return each SOP Class but Storage's, and the roles in which it is supported."""
    provided = {uid for name, uids in SOP_CLASSES.items() if name != "store" for uid in uids}
    used = {context.abstract_syntax for context in QUERY_CONTEXTS} | {get_contexts(())[0].abstract_syntax}
    uids = sorted(provided | used)
    return [{"uid": uid, "name": name_of(uid), "scu": uid in used, "scp": uid in provided} for uid in uids]


def _requestor() -> list[dict[str, Any]]:
    """Return what is proposed: to a region for searches, C-MOVE and C-GET, to a peer that asked what is safe."""
    get = get_contexts(sorted(COMMON_STORAGE)[:1])
    retrieve, *storage = get
    contexts = [
        {
            "sop_class": name_of(context.abstract_syntax),
            "uid": context.abstract_syntax,
            "transfer_syntaxes": _syntaxes(context.transfer_syntaxes),
            "role": "SCU",
            "extended": _extensions(context.extended),
        }
        for context in (*QUERY_CONTEXTS, retrieve)
    ]
    syntaxes = dict.fromkeys(uid for context in storage for uid in context.transfer_syntaxes)
    contexts.append(
        {
            "sop_class": name_of(REPORT.abstract_syntax),
            "uid": REPORT.abstract_syntax,
            "transfer_syntaxes": _syntaxes(REPORT.transfer_syntaxes),
            "role": "SCP, to a peer (N-EVENT-REPORT)",
            "extended": [],
        }
    )
    contexts.append(
        {
            "sop_class": "each Storage SOP Class of the study that is retrieved",
            "uid": "",
            "transfer_syntaxes": _syntaxes(syntaxes),
            "role": "SCP (C-GET)",
            "extended": [],
        }
    )
    return contexts


def _acceptor() -> list[dict[str, Any]]:
    """Return what a peer may be granted, by the service in its profile."""
    return [
        {
            "service": service,
            "sop_classes": _uids(uids) if service != "store" else [],
            "role": "SCP" if service != "get" else "SCP, and SCU of Storage on the same association",
            "extended": _extensions(GRANTED) if service == "find" else [],
        }
        for service, uids in SOP_CLASSES.items()
    ]


def _resources() -> list[dict[str, Any]]:
    """Return the resources of the route table, with the transactions that answer each and the scopes they need."""
    # Handlers by their names: none is called.
    handlers = Search.__new__(Search), Retrieve.__new__(Retrieve), Store.__new__(Store)
    table = routes(ROOT, *handlers, decisions=Decisions("closed"))
    scopes = _scopes(table)
    found: dict[str, dict[str, Any]] = {}
    for one in described(table):
        entry = found.setdefault(one.path, {"path": one.path, "methods": set(), "transactions": [], "scopes": set()})
        entry["methods"].add(one.method)
        for operation, handler in ((operation_of(handler), handler) for handler in one.handlers):
            if operation is None:
                continue
            told = f"{operation.tag}: {operation.name} ({operation.section})"
            entry["transactions"] += [told] if told not in entry["transactions"] else []
            entry["scopes"] |= scopes.get(_function(handler), {operation.tag.lower()})
    below = region_root("{region}", ROOT)
    return [
        {**entry, "methods": sorted(entry["methods"]), "scopes": sorted(entry["scopes"]), "also_below": below}
        for _, entry in sorted(found.items())
    ]


def _scopes(table: Sequence[BaseRoute]) -> dict[Any, set[str]]:
    """Return the scopes of handlers: the one of its route, and of WADO-URI both, between which contentType decides."""
    guarded = [route.endpoint for route in table if isinstance(route, Route) and isinstance(route.endpoint, Guarded)]
    fixed = {_function(x.handler): {str(x.policy)} for x in guarded if isinstance(x.policy, Transaction)}
    return {Retrieve.uri: {str(Transaction.RETRIEVE), str(Transaction.RENDERED)}, **fixed}


def _function(handler: Any) -> Any:
    return getattr(handler, "__func__", handler)


def _access() -> dict[str, Any]:
    """Return who may do what: modes, scopes of tokens, and what the services of a peer's profile allow."""
    return {
        "modes": list(get_args(Mode)),
        "scopes": [str(transaction) for transaction in Transaction],
        "algorithms": list(get_args(Algorithm)),
        "peer_services": {service: sorted(map(str, transactions)) for service, transactions in ALLOWED.items()},
    }


def _fhir() -> list[dict[str, Any]]:
    """Return the FHIR resources, as the CapabilityStatement has them."""
    return [
        {
            "type": one["type"],
            "interactions": [interaction["code"] for interaction in one["interaction"]],
            "search_parameters": [parameter["name"] for parameter in one["searchParam"]],
            "documentation": one.get("documentation", ""),
        }
        for one in (CONSENT, *AUDIT)
    ]


def _extensions(granted: bytes) -> list[str]:
    return [name for name, bit in zip(EXTENSIONS, granted, strict=False) if bit]


def _uids(uids: Iterable[str]) -> list[dict[str, str]]:
    return [{"uid": uid, "name": name_of(uid)} for uid in sorted(uids, key=lambda uid: (name_of(uid), uid))]


def _syntaxes(uids: Iterable[str]) -> list[dict[str, str]]:
    return [{"uid": uid, "name": transfer_syntax(uid).name} for uid in uids]
