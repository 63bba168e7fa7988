"""Bulk data: the values that metadata names by BulkDataURI, one by one or all of an instance (PS3.18 10.4.1.1.5)."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gateway.dataset.bulk_data import bulk_value
from gateway.dataset.image import PIXELS
from gateway.dataset.values import BINARY_VRS
from gateway.errors import NotFound
from gateway.web.asked import Asked
from gateway.web.completeness import Header
from gateway.web.described import bulk_paths, described, parsed
from gateway.web.formats import value_forms
from gateway.web.frames import pixel_form, pixel_parts
from gateway.web.parts import Part, Parts
from gateway.web.ranges import Content
from gateway.web.whole import WholeInstance, whole

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance

DOCUMENT: Final = "00420011"
ACTIVE: Final[tuple[Header, ...]] = ((b"content-security-policy", b"sandbox"),)
"""A document may hold scripts: a browser that shows it gives it no rights of ours."""

_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9][a-z0-9.+-]{0,80}", re.ASCII)
_EXTENSIONS: Final = {
    "application/pdf": "pdf",
    "text/xml": "xml",
    "application/xml": "xml",
    "text/plain": "txt",
    "text/html": "html",
    "text/rtf": "rtf",
    "application/rtf": "rtf",
    "model/stl": "stl",
    "model/obj": "obj",
    "model/mtl": "mtl",
    "image/jpeg": "jpg",
    "image/png": "png",
}


class Value(Parts):
    """Writes the value that one BulkDataURI names."""

    def __init__(self, asked: Asked, path: str) -> None:
        super().__init__(asked)
        self._path = path

    async def parts(self, instance: "Instance") -> Sequence[Part]:
        """Return the value as one part, or one for each frame of Pixel Data."""
        here = await whole(instance)
        found = value_parts(self.asked, here, self._path, single=True)
        if not found:
            raise NotFound("the instance has no bulk data there")
        parts, self.single = found
        return parts


class BulkData(Parts):
    """Writes all bulk data of each instance."""

    async def parts(self, instance: "Instance") -> Sequence[Part]:
        """Return the values that metadata leaves out, in its order."""
        paths = bulk_paths(parsed(await described(instance)))
        if not paths:
            return ()
        here = await whole(instance)
        found = [value_parts(self.asked, here, path, single=False) for path in paths]
        return [part for parts, _ in filter(None, found) for part in parts]


def value_parts(asked: Asked, here: WholeInstance, path: str, *, single: bool) -> tuple[Sequence[Part], bool] | None:
    """Return a value as parts, and whether the one of them is the whole body; None where there is no such value.

    Raises:
        Unavailable: not in any form that the caller takes.
        DatasetError: the Data Set is damaged.
    """
    path = path.upper()
    tail = f"/bulkdata/{path}"
    if path in PIXELS and here.index.description is not None and here.index.description.element == path:
        numbers = range(1, here.index.number_of_frames + 1)
        one = here.index.is_video or len(numbers) == 1
        form = pixel_form(asked, here.index, single=single and one)
        return pixel_parts(asked, here, form, numbers, tail if one else f"{tail}/frames/{{}}"), form.single
    found = bulk_value(here.read, here.transfer_syntax_uid, path.split("/"))
    if found is None or found.vr not in BINARY_VRS:
        return None
    if path == DOCUMENT and here.index.document is not None:
        return _document(asked, here, tail, single=single)
    forms = [form for form in value_forms() if single or not form.single]
    form = asked.wishes.choose(forms, "the value cannot be had like that")
    content = Content(here.read, found.parts) if found.word == 1 else Content.of(found.read(here.read))
    return [Part(form.media_type, asked.location(here.instance, tail), content)], form.single


def _document(asked: Asked, here: WholeInstance, tail: str, *, single: bool) -> tuple[Sequence[Part], bool]:
    forms = [form for form in value_forms(document_type(here)) if single or not form.single]
    form = asked.wishes.choose(forms, "the document cannot be had like that")
    return [document_part(asked, here, form.media_type, tail)], form.single


def document_part(asked: Asked, here: WholeInstance, media_type: str, tail: str) -> Part:
    """Return an encapsulated document, without its padding, as what it is; nothing in it may act in our name."""
    spans = [here.index.document] if here.index.document is not None else []
    name = f"document.{_EXTENSIONS.get(media_type, 'bin')}"
    # What a browser would run or lay out with our origin is offered for saving; a PDF is shown.
    shown = "inline" if media_type in {"application/pdf", "text/plain"} else "attachment"
    disposition: Header = (b"content-disposition", f'{shown}; filename="{name}"'.encode())
    content = Content(here.read, spans)
    # Browsers do not show a PDF in a sandbox; their viewers run none of its scripts in our origin.
    active = () if media_type == "application/pdf" else ACTIVE
    return Part(media_type, asked.location(here.instance, tail), content, (disposition, *active))


def document_type(here: WholeInstance) -> str:
    """Return MIME Type of Encapsulated Document where it is one (PS3.3 C.24.2)."""
    said = here.index.document_type.lower()
    return said if _TYPE.fullmatch(said) else "application/octet-stream"
