"""Who can mend each error, and how: what the page that a problem document points at says of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gateway import errors
from gateway.errors import GatewayError


class Who(StrEnum):
    """Those who can mend something."""

    CALLER = "whoever made the request"
    REGION = "the region's administrator"
    OPERATOR = "the gateway's operator"
    STEWARD = "whoever keeps the identity source"
    DEVELOPER = "the gateway's developers"


@dataclass(frozen=True, slots=True)
class Remedy:
    """How an error is mended.

    Attributes:
        who: can do so, the likeliest first.
        steps: what to do, in order.
    """

    who: tuple[Who, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """One kind of error, as it is explained.

    Attributes:
        slug: the last part of a problem's ``type``.
        meaning: one or more sentences.
        http_status: with which it is answered over HTTP.
        dimse_status: likewise over DIMSE; None for what only the web answers.
        retryable: whether asking again may help.
    """

    slug: str
    meaning: str
    http_status: int
    dimse_status: int | None = None
    retryable: bool = False


_CALLER, _REGION, _OPERATOR, _DEVELOPER = Who.CALLER, Who.REGION, Who.OPERATOR, Who.DEVELOPER

_READ_DETAIL: Final = "Read the problem's detail: it names the parameter or header, and what is expected of it."
_ASK_AGAIN: Final = "Ask again after the seconds that Retry-After names."
_WITHOUT: Final = "Without Prefer: handling=strict a search is answered with what the other regions have."
_IS_IT_UP: Final = "See whether the region's archive runs, and whether the network between it and the gateway does."
_ADDRESS: Final = "Compare host, port and tls in the region's profile with what the region listens on."
_REPORT: Final = "Report it with the line of the log: it holds file and line, and nothing of a patient."
_LOG: Final = "Look for this slug in the gateway's log: the line names the region and what it did."
_SHARE: Final = "Ask the region how many associations the gateway may hold, and set max_associations in its profile."

REMEDIES: Final[Mapping[str, Remedy]] = MappingProxyType(
    {
        # --- the request
        "bad-request": Remedy((_CALLER,), (_READ_DETAIL, "Correct it and ask again; the same request fails again.")),
        "too-broad": Remedy(
            (_CALLER,),
            ("Narrow the search: by patient, by StudyDate, or below one study.", "Or ask for studies first."),
        ),
        "cancelled": Remedy((_CALLER,), ("Nothing: the caller itself ended it with C-CANCEL.",)),
        "not-found": Remedy(
            (_CALLER,),
            (
                "Compare the UIDs with those of a search; an instance is found only below its own study and series.",
                "See Federation-Status: a region that is missing there may hold it.",
            ),
        ),
        "gone": Remedy(
            (_CALLER,),
            ("Search for the patient's studies again: its regions have deleted the study, or gave it new UIDs.",),
        ),
        "method-not-allowed": Remedy((_CALLER,), ("Use one of the methods that Allow lists.",)),
        "not-acceptable": Remedy((_CALLER,), ("Name one of the media types in the problem's “available” in Accept.",)),
        "unsupported-media-type": Remedy(
            (_CALLER,), ("Send the body as one of the media types that the detail lists, without Content-Encoding.",)
        ),
        "range-not-satisfiable": Remedy(
            (_CALLER,), ("Ask for bytes below the length that Content-Range names, or without Range for all.",)
        ),
        "request-timeout": Remedy(
            (_CALLER, _OPERATOR),
            (
                "Send the whole request without pauses.",
                "On a slow line send fewer instances at a time; the operator can raise store.body_seconds.",
            ),
        ),
        "uri-too-long": Remedy((_CALLER,), ("Send the parameters of a search as a form by POST to the same URL.",)),
        "request-header-fields-too-large": Remedy(
            (_CALLER,), ("Send fewer or shorter header fields; cookies of other applications are the usual cause.",)
        ),
        "limit-exceeded": Remedy(
            (_CALLER, _OPERATOR),
            (
                "Ask for less, or send it in several requests.",
                "The operator can raise the limit that the detail names; defaults.toml explains each.",
            ),
        ),
        "too-many-requests": Remedy((_CALLER,), (_ASK_AGAIN, "Make fewer requests at once.")),
        "inadmissible": Remedy(
            (_CALLER, _OPERATOR),
            (
                "Read Failure Reason (0008,1197) and the Warning headers of the answer.",
                "Add what is missing from the instance; which attributes must be there is store.required.",
                "Where no region is configured for it, the operator adds a rule to [store].",
            ),
        ),
        "unsolicited-store": Remedy(
            (_REGION, _OPERATOR),
            (
                "A region sent an instance that nobody had asked it for: see whether it forwards to the gateway.",
                'To store through the gateway, the sender needs a peer profile with "store" in services.',
            ),
        ),
        # --- access
        "unauthenticated": Remedy(
            (_CALLER,),
            (
                "Send Authorization: Bearer with an access token that is valid now.",
                "WWW-Authenticate says what was wrong with the one that was sent.",
            ),
        ),
        "consent-block": Remedy(
            (_CALLER,),
            (
                "The patient has directed this. Ask the patient, or the organisation that they gave the directive to.",
                "In an emergency, who has the scope override asks again with Consent-Override: reason=CODE.",
                "That is recorded, and the organisation concerned is told.",
            ),
        ),
        "consent-unavailable": Remedy(
            (_OPERATOR,),
            ("Make the database that consent.database names readable. Until then nothing is released.",),
        ),
        "invalid-resource": Remedy((_CALLER,), ("Correct the elements that the OperationOutcome names.",)),
        "version-conflict": Remedy(
            (_CALLER,),
            ("Read the resource again, apply the change to what it says now, and send its ETag in If-Match.",),
        ),
        "access-denied": Remedy(
            (_CALLER, _OPERATOR),
            (
                "See whether the token has the scope for this transaction.",
                "Whoever administers access decides what your organisation and role may do.",
            ),
        ),
        "access-not-configured": Remedy(
            (_OPERATOR,), ("Configure who may use the gateway: [access] in the settings; until then nobody may.",)
        ),
        # --- the regions
        "region-error": Remedy((_REGION, _OPERATOR), (_LOG, _IS_IT_UP)),
        "refused": Remedy((_REGION, _OPERATOR), (_IS_IT_UP, _ADDRESS)),
        "partial": Remedy(
            (_REGION,),
            (
                "The region is a federation: Federation-Status names which of its own regions are missing.",
                "Ask those who run it; what it has is in the answer.",
            ),
        ),
        "unreachable": Remedy(
            (_OPERATOR, _REGION),
            (_ADDRESS, "See whether the name resolves, and whether a firewall drops what goes there.", _IS_IT_UP),
        ),
        "reset": Remedy(
            (_REGION, _OPERATOR),
            (
                "The region, or a firewall between, cut the connection: see the region's log at that time.",
                "Where the region expects TLS and the profile says tls = false, or the reverse, correct the profile.",
            ),
        ),
        "closed": Remedy(
            (_REGION,), ("The region closed an association without releasing it: see its log at that time.",)
        ),
        "truncated": Remedy(
            (_REGION,), ("The region's connection ended in the middle of a message: see its log at that time.",)
        ),
        "timeout": Remedy(
            (_REGION, _OPERATOR),
            (
                "The region did not answer in time: see whether it is overloaded.",
                "Where it is always slow, the operator can raise search.soft_seconds.",
            ),
        ),
        "aborted": Remedy(
            (_REGION,), ("The region ended the association with A-ABORT: its log at that time says why.",)
        ),
        "rejected": Remedy(
            (_REGION, _OPERATOR),
            (
                "The region's administrator adds the gateway's AE title, host and port to those it lets in.",
                "Compare ae_title in the region's profile, and dimse.ae_title, with what the region expects.",
            ),
        ),
        "busy": Remedy((_CALLER, _OPERATOR), (_ASK_AGAIN, _SHARE)),
        "saturated": Remedy((_CALLER, _OPERATOR), (_ASK_AGAIN, _SHARE)),
        "failed": Remedy(
            (_REGION,),
            ("The region ended the operation with a failure: its status is in the gateway's log.",),
        ),
        "circuit-open": Remedy(
            (_REGION, _OPERATOR),
            (
                "The region failed so often that it is tried only now and then: mend what it failed with before.",
                "It is asked again by itself once a trial succeeds; nobody needs to reset anything.",
            ),
        ),
        "not-storable": Remedy(
            (_REGION,),
            ("The region must accept the instance's SOP Class and Transfer Syntax; or store it elsewhere.",),
        ),
        "no-region-answered": Remedy(
            (_OPERATOR, _CALLER),
            (
                "The problem's “regions” says what became of each: follow the page of that state.",
                "When all fail at once, see the network on the gateway's own side first.",
                _ASK_AGAIN,
            ),
        ),
        "region-missing": Remedy(
            (_CALLER, _OPERATOR),
            (_ASK_AGAIN, _WITHOUT, "The problem's “regions” says which is missing, and its state."),
        ),
        "incomplete": Remedy(
            (_REGION, _CALLER),
            (
                "Ask again: instances that failed are asked for anew, at another holder where there is one.",
                "Where it stays so, the region's log says which instances it could not send.",
            ),
        ),
        "malformed-dataset": Remedy(
            (_REGION,),
            ("A Data Set cannot be read: the region's administrator checks the instance, and has it sent anew.",),
        ),
        # --- the gateway
        "queue-full": Remedy(
            (_OPERATOR, _CALLER),
            (
                "`gateway queue list` shows what waits for which region; mend that region.",
                "Or make room: store.max_bytes, and space on its disk.",
                _ASK_AGAIN,
            ),
        ),
        "workers-busy": Remedy(
            (_CALLER, _OPERATOR), (_ASK_AGAIN, "Where it stays so, raise workers.processes where there are cores.")
        ),
        "work-failed": Remedy(
            (_CALLER, _DEVELOPER),
            (
                "A picture could not be made: retrieve the instance itself instead, with transfer-syntax=*.",
                "Report it with the log's line; an instance that can be shared helps most.",
            ),
        ),
        "spool-full": Remedy(
            (_OPERATOR, _CALLER), ("Make room on the spool's disk, or raise spool.max_bytes.", _ASK_AGAIN)
        ),
        "spool-damaged": Remedy(
            (_OPERATOR,),
            ("Ask again: the instance is retrieved anew.", "Where it happens again, check the spool's disk."),
        ),
        "issuer-unavailable": Remedy(
            (_OPERATOR, _CALLER),
            ("See whether the token issuer answers at the address in the settings, and from here.", _ASK_AGAIN),
        ),
        "not-coercible": Remedy(
            (Who.STEWARD, _OPERATOR),
            (
                "The receiver wants identifiers of its own; the identity source knows none of this patient: add them.",
                "Or take the coercion out of the receiver's profile.",
            ),
        ),
        "viewer-missing": Remedy(
            (_OPERATOR,), ("Bring a copy of the viewer in, and name its folder; the message says how.",)
        ),
        "identity-unavailable": Remedy(
            (Who.STEWARD, _CALLER),
            (
                "See whether the identity source ([identity] in the settings) answers, and its token is valid.",
                _ASK_AGAIN,
                "Without Prefer: handling=strict each region is asked for the number as it is.",
            ),
        ),
        "audit-unavailable": Remedy(
            (_OPERATOR,),
            ("Make the audit log writable: its disk may be full. Until then nothing is released.",),
        ),
        "audit-feed-failed": Remedy(
            (_OPERATOR,),
            (
                "See whether the receiver (audit.syslog_host, audit.fhir_url) runs and takes our certificate or token.",
                "Nothing is lost: the records wait in the audit log, and are sent when it answers.",
            ),
        ),
        "invalid-configuration": Remedy(
            (_OPERATOR,), ("Correct the file and key that the message names; defaults.toml lists all of them.",)
        ),
        "province-failed": Remedy(
            (_OPERATOR,), ("Only in `gateway demo`: the lines above the message say which port or file it was.",)
        ),
        # --- defects
        "gateway-error": Remedy((_DEVELOPER,), (_REPORT,)),
        "protocol-error": Remedy((_REGION, _DEVELOPER), (_LOG, "If the region keeps to PS3.7 and PS3.8: report it.")),
        "remote-protocol-error": Remedy(
            (_REGION,), ("The region sent what DICOM does not allow: the log's line says what. Tell its vendor.",)
        ),
        "local-protocol-error": Remedy((_DEVELOPER,), (_REPORT,)),
        "unexpected": Remedy((_DEVELOPER,), (_REPORT,)),
    }
)

WEB_ONLY: Final = (
    Known("unexpected", "The gateway failed in a way nobody foresaw.", 500),
    Known("uri-too-long", "The URL is longer than is taken.", 414),
    Known("request-header-fields-too-large", "The header of the request is larger than is taken.", 431),
)
"""What the HTTP server answers by itself, outside the tree of errors."""


def known_errors() -> Mapping[str, Known]:
    """Return every kind of error by its slug: the tree's of several with one slug the topmost, and the web's."""
    found = {known.slug: known for known in WEB_ONLY}
    for error in reversed(list(_below(errors.GatewayError))):
        if not error.__module__.startswith("gateway.cli."):  # of a command, that asks a gateway and is none
            found[error.slug] = _known(error)
    return dict(sorted(found.items()))


def _below(error: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield error
    for narrower in error.__subclasses__():
        yield from _below(narrower)


def _known(error: type[GatewayError]) -> Known:
    meaning = (error.__doc__ or "").partition("\n\n")[0].strip()
    return Known(error.slug, meaning, error.http_status, error.dimse_status, error.retryable)
