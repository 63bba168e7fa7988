"""What an Invoke Image Display request asks for (IHE RAD-106)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from gateway.dataset.query import Level, Query
from gateway.dataset.uid import is_uid
from gateway.errors import RequestError
from gateway.web.parameters import Pair, search_query

MOST_STUDIES: Final = 20
"""Opened together; a viewer loads the descriptions of all of them at once."""

RETURNED: Final = (
    "IssuerOfPatientID,OtherPatientIDsSequence,IssuerOfAccessionNumberSequence,StudyDescription,PatientBirthDate"
)
KNOWN: Final = frozenset(
    {
        *("requestType", "patientID", "lowerDateTime", "upperDateTime", "mostRecentResults"),
        *("modalitiesInStudy", "studyUID", "accessionNumber"),
    }
)

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\d*(Z|[+-]\d\d:\d\d)?", re.ASCII)
_ESCAPE = re.compile(r"\\([FSTRE])\\")
_ESCAPED: Final = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}
_NOT_ONE: Final = re.compile(r'[*?\\"\x00-\x1f\x7f]')


@dataclass(frozen=True, slots=True)
class Invocation:
    """One request, read.

    Attributes:
        query: the search that answers it.
        uids: Study Instance UIDs that are asked for by name; empty for a patient or an accession number.
        is_certain: what is asked for can mean only one patient.
        most: how many of the newest studies are wanted; None for all.
        is_accession: an accession number is asked for, which several issuers may have given.
    """

    query: Query
    uids: tuple[str, ...] = ()
    is_certain: bool = True
    most: int | None = None
    is_accession: bool = False


def invocation(parameters: Iterable[Pair]) -> Invocation:
    """Read a request; parameters that are not known are ignored.

    Raises:
        RequestError: one is missing, given twice or wrong; the text names it and never repeats its value.
    """
    given: dict[str, str] = {}
    for pair in parameters:
        if pair.name not in KNOWN:
            continue
        if pair.name in given:
            raise RequestError(f"{pair.name}: expected once, given twice")
        given[pair.name] = pair.value.strip()
    kind = given.get("requestType", "")
    if kind == "PATIENT":
        return _of_patient(given)
    if kind == "STUDY":
        return _of_study(given)
    raise RequestError("requestType: expected PATIENT or STUDY")


def _of_study(given: Mapping[str, str]) -> Invocation:
    listed, accession = given.get("studyUID", ""), given.get("accessionNumber", "")
    if bool(listed) == bool(accession):
        raise RequestError("studyUID, accessionNumber: expected one of them beside requestType=STUDY")
    if accession:
        _check_one("accessionNumber", accession)
        return Invocation(_query(AccessionNumber=accession), is_certain=False, is_accession=True)
    uids = tuple(dict.fromkeys(uid.strip() for uid in listed.split(",")))
    if not all(map(is_uid, uids)) or len(uids) > MOST_STUDIES:
        raise RequestError(f"studyUID: expected Study Instance UIDs, {MOST_STUDIES} at the most, separated by commas")
    return Invocation(_query(StudyInstanceUID=",".join(uids)), uids)


def _of_patient(given: Mapping[str, str]) -> Invocation:
    value, issuer = extended_composite_id(given.get("patientID", ""))
    keys = {"PatientID": value}
    if issuer:
        keys["IssuerOfPatientID"] = issuer
    if modalities := given.get("modalitiesInStudy", ""):
        _check_one("modalitiesInStudy", modalities)
        keys["ModalitiesInStudy"] = modalities
    keys |= _period(given.get("lowerDateTime", ""), given.get("upperDateTime", ""))
    return Invocation(_query(**keys), is_certain=bool(issuer), most=_count(given.get("mostRecentResults", "")))


def extended_composite_id(text: str) -> tuple[str, str]:
    """Read an HL7 CX: the identifier and its assigning authority, by OID before the namespace, empty without one.

    Components are separated by ``^``, those of the authority (HD) by ``&`` (HL7 v2.5.1 2.A.14, 2.A.36).

    Raises:
        RequestError: it is none.
    """
    components = text.split("^")
    value = _unescaped(components[0]).strip()
    _check_one("patientID", value)
    authority = components[3].split("&") if len(components) > 3 else []
    namespace, universal, kind = (*(_unescaped(part).strip() for part in authority[:3]), "", "", "")[:3]
    issuer = universal if universal and kind in {"", "ISO"} else namespace
    if universal and not issuer:
        raise RequestError("patientID: expected an assigning authority as a namespace or as an OID of type ISO")
    if issuer:
        _check_one("patientID", issuer)
    return value, issuer


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], text)


def _check_one(name: str, value: str) -> None:
    """Refuse what would match more than the one value that is meant."""
    if not value or _NOT_ONE.search(value):
        raise RequestError(f"{name}: expected one value, without wildcards or backslashes")


def _count(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not int(text):
        raise RequestError("mostRecentResults: expected a number, 1 or more")
    return int(text)


def _period(lower: str, upper: str) -> dict[str, str]:
    """Return the keys of a period: date and time together, and the zone in which they are meant (PS3.18 8.3.4.1.1)."""
    begin, end = _moment("lowerDateTime", lower), _moment("upperDateTime", upper)
    zone = next((x.tzinfo for x in (begin, end) if x and x.tzinfo), None)
    if begin and end and (begin.tzinfo is None) != (end.tzinfo is None):
        raise RequestError("lowerDateTime, upperDateTime: expected both with a time zone, or both without")
    if begin and end and begin > end:
        raise RequestError("lowerDateTime: expected no later than upperDateTime")
    dates, times = zip(*(_parts(x and x.astimezone(zone) if zone else x) for x in (begin, end)), strict=True)
    keys = {"StudyDate": "-".join(dates), "StudyTime": "-".join(times)} if begin or end else {}
    if zone is not None and (first := begin or end) is not None:
        keys["TimezoneOffsetFromUTC"] = f"{first.astimezone(zone):%z}"[:5]
    return keys


def _parts(moment: datetime | None) -> tuple[str, str]:
    return ("", "") if moment is None else (f"{moment:%Y%m%d}", f"{moment:%H%M%S.%f}")


def _moment(name: str, text: str) -> datetime | None:
    if not text:
        return None
    found = _MOMENT.fullmatch(text.replace(" ", "+"))  # "+" of an offset that was not encoded
    midnight = "T24:00:00" in text  # XML Schema's end of a day
    try:
        moment = datetime.fromisoformat(found[0].replace("T24:", "T00:")) if found else None
    except ValueError:
        moment = None
    if moment is None:
        raise RequestError(f"{name}: expected a moment such as 2024-01-31T13:45:00 or 2024-01-31T13:45:00-05:00")
    return moment + timedelta(days=midnight)


def _query(**keys: str) -> Query:
    pairs = [Pair(name, quote(value, safe="")) for name, value in {**keys, "includefield": RETURNED}.items()]
    return search_query(Level.STUDY, pairs)
