"""WADO-URI: one instance, named and described by query parameters (PS3.18 chapter 9)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request

from gateway.dataset.query import Selection
from gateway.dataset.rendition import RENDERED_TYPES, Rendering, Viewport
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from gateway.dataset.uid import is_uid
from gateway.errors import RequestError
from gateway.web.formats import Default, Form, Wishes
from gateway.web.negotiation import ANY, DICOM, NEVER_ON_THE_WEB, MediaRange, Unavailable, accepted, media_ranges
from gateway.web.parameters import pairs
from gateway.web.rendered import OTHERS, VIDEO_TYPES, Region
from gateway.web.rendered_parameters import LARGEST_VIEWPORT, annotation, count, number, only, quality, voi

UIDS: Final = {"studyUID": "study", "seriesUID": "series", "objectUID": "instance"}
PICTURE: Final = (
    *("annotation", "rows", "columns", "region", "windowCenter", "windowWidth", "imageQuality"),
    "frameNumber",
)
NAMES: Final = (*UIDS, *PICTURE, "requestType", "contentType", "charset", "transferSyntax", "anonymize")


@dataclass(frozen=True, slots=True)
class UriRequest:
    """What a WADO-URI request asks for.

    Attributes:
        selected: the instance.
        wishes: forms the caller takes.
        as_dicom: whether it is the instance itself, not its rendered form.
        rendering: how a picture shall look.
        frames: number of the frame in it, if one is asked for.
        region: what part of the picture: left, top, right and bottom edge, as fractions of it.
    """

    selected: Selection
    wishes: Wishes
    as_dicom: bool
    rendering: Rendering
    frames: tuple[int, ...]
    region: Region | None


def uri_request(request: Request, default: Default) -> UriRequest:
    """Read a WADO-URI request (PS3.18 9.1.2).

    Raises:
        RequestError: a parameter is missing or malformed; the text names it.
        NotAcceptable: no form that it allows can be made.
    """
    parameters = pairs(request.scope["query_string"])
    given = only(parameters, NAMES)
    if given.get("requestType") != "WADO":
        raise RequestError("requestType: expected WADO")
    selected = _selected(given)
    if given.get("anonymize", "no") != "no":
        raise RequestError("anonymize: instances are not anonymized here; expected no, or no such parameter")
    ranges = _ranges(request, given)
    wishes = Wishes(ranges, default)
    as_dicom = wishes.choose(_forms(), "none of the media types that are asked for can be made").media_type == DICOM
    if as_dicom and (misplaced := [name for name in PICTURE if name in given]):
        raise RequestError(f"{misplaced[0]}: not with contentType=application/dicom, which is not rendered")
    if as_dicom:
        wishes = Wishes(_with_syntax(given.get("transferSyntax", "")), default)
    rendering = _rendering(given)
    region = _region(given["region"]) if "region" in given else None
    frame = (count("frameNumber", given["frameNumber"], 999_999),) if "frameNumber" in given else ()
    return UriRequest(selected, wishes, as_dicom, rendering, frame, region)


def _forms() -> list[Form]:
    rendered = [Form(name, single=True) for name in (*RENDERED_TYPES, *VIDEO_TYPES, *OTHERS)]
    return [*rendered, Form(DICOM, single=True)]


def _selected(given: Mapping[str, str]) -> Selection:
    for name in UIDS:
        if not is_uid(given.get(name, "")):
            raise RequestError(f"{name}: expected a UID: digits and dots, at most 64 (PS3.5 9.1)")
    return Selection(given["studyUID"], given["seriesUID"], (given["objectUID"],))


def _ranges(request: Request, given: Mapping[str, str]) -> list[MediaRange]:
    """Return what the caller takes: of contentType what the Accept field allows too (PS3.18 9.1.2.2.1)."""
    field = list(accepted(request, ()))
    if "contentType" not in given:
        return field
    wanted = media_ranges(given["contentType"])
    if not wanted:
        raise RequestError("contentType: expected media types such as image/jpeg, with commas between them")
    if any({"transfer-syntax", "charset"} & set(member.parameters) for member in wanted):
        raise RequestError("contentType: expected no transfer-syntax and no charset: they are parameters of their own")
    allowed = [member for member in wanted if any(r.q and r.specificity(member.type) for r in field)]
    if not allowed:
        raise Unavailable("the Accept field does not allow what contentType asks for", [x.type for x in wanted])
    return allowed


def _with_syntax(uid: str) -> list[MediaRange]:
    if not uid:
        return [MediaRange(DICOM, {})]
    if uid != ANY and not is_uid(uid):
        raise RequestError("transferSyntax: expected the UID of a Transfer Syntax")
    if uid in NEVER_ON_THE_WEB:
        raise Unavailable("this Transfer Syntax is not used on the web (PS3.18 8.7.3)", [EXPLICIT_VR_LE])
    return [MediaRange(DICOM, {"transfer-syntax": uid})]


def _rendering(given: Mapping[str, str]) -> Rendering:
    chosen = Rendering(viewport=_viewport(given))
    if "annotation" in given:
        chosen = replace(chosen, annotation=annotation("annotation", given["annotation"]))
    if "imageQuality" in given:
        chosen = replace(chosen, quality=quality("imageQuality", given["imageQuality"]))
    center, width = given.get("windowCenter"), given.get("windowWidth")
    if (center is None) != (width is None):
        raise RequestError(f"{'windowWidth' if width is None else 'windowCenter'}: expected beside the other")
    if center is not None and width is not None:
        chosen = replace(chosen, window=voi("windowCenter and windowWidth", center, width))
    return chosen


def _viewport(given: Mapping[str, str]) -> Viewport:
    """Read rows and columns, which are maxima."""
    columns, rows = (
        count(name, given[name], LARGEST_VIEWPORT) if name in given else None for name in ("columns", "rows")
    )
    return Viewport(columns, rows)


def _region(value: str) -> Region:
    parts = [number("region", part) for part in value.split(",")]
    if len(parts) != 4 or not all(0 <= part <= 1 for part in parts):
        raise RequestError("region: expected xmin,ymin,xmax,ymax, each from 0 to 1")
    left, top, right, bottom = parts
    if left >= right or top >= bottom:
        raise RequestError("region: expected xmin below xmax and ymin below ymax")
    return left, top, right, bottom
