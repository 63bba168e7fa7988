"""Launch in context: Invoke Image Display (IHE RAD-106) opens the viewer on the right studies, or asks which."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.dataset.query import Row
from gateway.deadline import Deadline
from gateway.errors import NoRegionAnswered, RequestError
from gateway.federation.identity import ISSUER, OTHER_PATIENT_IDS, PATIENT_ID, text
from gateway.web.caller import caller
from gateway.web.choice import (
    ABSENT,
    Choice,
    choice_page,
    nothing_found_page,
    refused_page,
    viewer_url,
)
from gateway.web.html import Language, language
from gateway.web.invocation import MOST_STUDIES, Invocation, invocation
from gateway.web.parameters import pairs
from gateway.web.policy import permit_of

if TYPE_CHECKING:
    from gateway.federation.findings import SearchResult
    from gateway.federation.search import FederatedSearch

PATH: Final = "/IHEInvokeImageDisplay"

ISSUER_OF_ACCESSION_NUMBER: Final = "00080051"
LOCAL_NAMESPACE: Final = "00400031"
UNIVERSAL_ENTITY_ID: Final = "00400032"
RETRIEVE_AE_TITLE: Final = "00080054"
STUDY_INSTANCE_UID: Final = "0020000D"


@dataclass(frozen=True, slots=True)
class Launch:
    """Answers Invoke Image Display requests from the federation.

    Attributes:
        seconds: hard limit of the search.
    """

    federation: "FederatedSearch"
    seconds: float

    async def show(self, request: Request) -> Response:
        """Redirect to the viewer, or show a page that says why not."""
        lang = language(request)
        try:
            asked = invocation(pairs(request.scope["query_string"]))
            deadline = Deadline.after(self.seconds)
            permit = permit_of(request.scope)
            found = await self.federation.search(asked.query, deadline, caller=caller(request.scope), permit=permit)
        except RequestError as error:
            return refused_page(lang, str(error))
        except NoRegionAnswered:
            return nothing_found_page(lang, (ABSENT,))
        return _answer(lang, asked, found)


def _answer(lang: Language, asked: Invocation, found: "SearchResult") -> Response:
    silent = tuple(state.region for state in found.completeness.missing)
    rows = list(found.rows)
    if not rows:
        return nothing_found_page(lang, silent)
    groups = _patients(rows)
    lacking = set(asked.uids) - set(map(_uid, rows))
    several = len(groups) > 1 if not asked.uids else False
    if asked.is_accession:
        several = several or len(set(map(_accession_issuer, rows))) > 1
    unsure = bool(silent) and not asked.is_certain
    chosen = rows if several else rows[: asked.most]
    if several or unsure or lacking or len(chosen) > MOST_STUDIES or found.remaining:
        return choice_page(lang, Choice(groups, several, silent, len(lacking)))
    return Response(
        status_code=HTTPStatus.FOUND,
        headers={
            "Location": viewer_url(map(_uid, chosen)),
            "Cache-Control": "no-store",
        },
    )


def _patients(rows: Sequence[Row]) -> list[list[Row]]:
    """Part studies by patient: rows that share an identifier, be it among the other ones, are of one patient."""
    groups: list[tuple[set[tuple[str, str]], list[Row]]] = []
    for row in rows:
        known, joined = _identifiers(row), [row]
        apart = []
        for identifiers, members in groups:
            if identifiers & known:
                known |= identifiers
                joined = [*members, *joined]
            else:
                apart.append((identifiers, members))
        groups = [*apart, (known, joined)]
    order = {id(row): rank for rank, row in enumerate(rows)}
    parted = [sorted(members, key=lambda row: order[id(row)]) for _, members in groups]
    return sorted(parted, key=lambda members: order[id(members[0])])


def _identifiers(row: Row) -> set[tuple[str, str]]:
    """Return the identifiers of a row's patient; a number whose issuer is not said is its region's."""
    issuer = text(row, ISSUER) or f"@{text(row, RETRIEVE_AE_TITLE)}"
    own = text(row, PATIENT_ID)
    found = {(issuer, own)} if own else {("", _uid(row))}
    for item in filter(None, row.get(OTHER_PATIENT_IDS, {}).get("Value") or ()):
        if value := text(item, PATIENT_ID):
            found.add((text(item, ISSUER) or issuer, value))
    return found


def _accession_issuer(row: Row) -> str:
    """Return who issued a row's accession number: as it says, else the region that holds it (trap 15)."""
    for item in filter(None, row.get(ISSUER_OF_ACCESSION_NUMBER, {}).get("Value") or ()):
        if issuer := text(item, UNIVERSAL_ENTITY_ID) or text(item, LOCAL_NAMESPACE):
            return issuer
    return f"@{text(row, RETRIEVE_AE_TITLE)}"


def _uid(row: Row) -> str:
    return text(row, STUDY_INSTANCE_UID)
