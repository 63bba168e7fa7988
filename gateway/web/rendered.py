"""What a person looks at: pictures, videos, documents and reports (PS3.18 10.4.1.1.3, 10.4.1.1.4, 8.7.4)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.dataset.jobs import render_frames
from gateway.dataset.native_xml import to_native_xml
from gateway.dataset.rendition import GIF, RENDERED_TYPES, Rendering, Viewport
from gateway.dataset.report import HTML, PLAIN, is_report, render_report
from gateway.errors import NotFound
from gateway.web.asked import Asked
from gateway.web.bulk_data import ACTIVE, DOCUMENT, document_part, document_type
from gateway.web.described import described, parsed
from gateway.web.formats import Form, Wishes
from gateway.web.parts import Part, Parts
from gateway.web.ranges import Content
from gateway.web.whole import WholeInstance, whole

if TYPE_CHECKING:
    from gateway.dataset.image import ImageDescription
    from gateway.federation.retrieval import Instance

XML: Final = "text/xml"
PDF: Final = "application/pdf"
VIDEO_TYPES: Final = ("video/mpeg", "video/mp4", "video/H265")
OTHERS: Final = (HTML, PLAIN, XML, "text/rtf", PDF, "model/stl", "model/obj", "model/mtl")
Region: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom edge, as fractions of an image."""

MOST_ANIMATED: Final = 500
"""Frames in one GIF at the most."""


def pictures(*, single: bool, many: bool) -> list[Form]:
    """List the forms of a rendered image, the default first; as parts only for who names them so."""
    alone = [Form(name, single=True) for name in RENDERED_TYPES] if single else []
    parts = [Form(name, named=single) for name in RENDERED_TYPES] if many else []
    return alone + parts


def wants_parts(wishes: Wishes) -> bool:
    """Whether the caller would have each instance of many rendered, rather than one picture for them all.

    Raises:
        Unavailable: it takes nothing that is rendered.
    """
    others = [Form(name, single=True) for name in (*VIDEO_TYPES, *OTHERS)]
    return not wishes.choose(pictures(single=True, many=True) + others).single


class Rendered(Parts):
    """Writes the rendered form of each instance, or of frames of it.

    Args:
        asked: the request.
        rendering: how pictures shall look.
        numbers: frames; none for the instance as such.
        many: whether there may be several parts.
        thumbnail: whether only a picture will do.
        region: what part of a picture is shown, where ``rendering`` does not say.
        alone: whether only a body without parts will do.
    """

    def __init__(
        self,
        asked: Asked,
        rendering: Rendering,
        numbers: Sequence[int] = (),
        *,
        many: bool = False,
        thumbnail: bool = False,
        region: Region | None = None,
        alone: bool = False,
    ) -> None:
        super().__init__(asked)
        self._rendering = rendering
        self._numbers = numbers
        self._many = many
        self._thumbnail = thumbnail
        self._region = region
        self._alone = alone

    async def parts(self, instance: "Instance") -> Sequence[Part]:
        """Return the picture, video, document or report that the instance is."""
        here = await whole(instance)
        if here.index.description is not None and not here.index.is_video:
            return self._pictures(here, here.index.description)
        if self._numbers and not here.index.is_video:
            raise NotFound("the instance has no pixels")
        if not self._thumbnail and not self._many:
            if here.index.is_video:
                return [self._video(here)]
            if here.index.document is not None:
                return [self._document(here)]
            row = parsed(await described(instance))
            if is_report(row):
                return [self._report(here)]
        if self._many:
            return ()
        if self._thumbnail:
            raise NotFound("there is no thumbnail of what is no image: /rendered shows reports, documents and videos")
        raise NotFound("the instance is none of a kind that can be rendered: retrieve it as it is, or its bulk data")

    def _pictures(self, here: WholeInstance, description: "ImageDescription") -> list[Part]:
        index = here.index
        if self._numbers and self._numbers[-1] > index.number_of_frames:
            raise NotFound(f"there is no frame {self._numbers[-1]}: the instance has {index.number_of_frames}")
        several = len(self._numbers) > 1
        single = not several and not self._many
        forms = pictures(single=single, many=not self._alone)
        form = self.asked.wishes.choose(forms, "the image cannot be rendered like that")
        self.single = form.single
        wanted = replace(
            self._rendering,
            media_type=form.media_type,
            character_set=here.instance.character_set,
            viewport=self._viewport(description),
        )
        if form.media_type == GIF and not self._numbers and index.number_of_frames > 1 and not self._thumbnail:
            groups = [tuple(range(1, min(index.number_of_frames, MOST_ANIMATED) + 1))]
        else:
            groups = [(number,) for number in self._numbers or (index.representative,)]
        kind = "thumbnail" if self._thumbnail else "rendered"
        return [self._picture(here, description, wanted, group, kind) for group in groups]

    def _viewport(self, description: "ImageDescription") -> Viewport:
        viewport = self._rendering.viewport
        if self._region is None:
            return viewport
        left, top, right, bottom = self._region
        across, down = description.columns, description.rows
        return replace(
            viewport,
            left=left * across,
            top=top * down,
            region_width=(right - left) * across,
            region_height=(bottom - top) * down,
        )

    def _picture(
        self, here: WholeInstance, description: "ImageDescription", wanted: Rendering, group: Sequence[int], kind: str
    ) -> Part:
        async def made() -> bytes:
            frames = [(number, here.frame(number)) for number in group]
            header = bytes(here.read(0, here.index.before))
            return await self.asked.workers.run(render_frames, header, description, frames, wanted)

        of_frame = f"/frames/{group[0]}" if self._numbers else ""
        return Part(wanted.media_type, self.asked.location(here.instance, f"{of_frame}/{kind}"), made)

    def _video(self, here: WholeInstance) -> Part:
        stored = here.index.transfer_syntax_uid
        name = VIDEO_TYPES[_VIDEO_KIND.get(stored.removeprefix("1.2.840.10008.1.2.4.")[:3], 1)]
        form = self._one_of(Form(name, single=True))
        content = Content(here.read, here.index.spans(1))
        return Part(form.media_type, self.asked.location(here.instance, "/rendered"), content)

    def _document(self, here: WholeInstance) -> Part:
        form = self._one_of(Form(document_type(here), single=True))
        return document_part(self.asked, here, form.media_type, f"/bulkdata/{DOCUMENT}")

    def _report(self, here: WholeInstance) -> Part:
        form = self._one_of(*(Form(name, single=True) for name in (HTML, PLAIN, XML)))
        made = partial(self._written, here, form.media_type)
        location = self.asked.location(here.instance, "/rendered")
        return Part(f"{form.media_type}; charset=utf-8", location, made, ACTIVE)

    async def _written(self, here: WholeInstance, media_type: str) -> bytes:
        instance = here.instance
        if media_type == XML:
            return to_native_xml(parsed(await described(instance)))
        data = bytes(here.read(0, here.index.after))
        run = self.asked.workers.run
        return await run(render_report, data, here.transfer_syntax_uid, media_type, instance.character_set)

    def _one_of(self, *forms: Form) -> Form:
        self.single = True
        return self.asked.wishes.choose(forms, "it cannot be rendered like that")


_VIDEO_KIND: Final = {"100": 0, "101": 0, "107": 2, "108": 2}
