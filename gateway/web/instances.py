"""Instances as PS3.10 files, in a multipart body, alone or in an archive (PS3.18 10.4.4, 8.7.3)."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.dataset.codestreams import DECODABLE, NATIVE, TRANSCODABLE_TO, can_become
from gateway.dataset.fragments import fragment
from gateway.dataset.jobs import recode_ends, reencode_frame, transcode_instance
from gateway.dataset.part10 import file_meta
from gateway.dataset.sink import Buffer
from gateway.dataset.transcode import Reencoder
from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    JPEG_BASELINE,
    transfer_syntax,
)
from gateway.errors import NotAcceptable
from gateway.web.asked import Asked
from gateway.web.completeness import Header
from gateway.web.formats import Form, instance_forms
from gateway.web.multipart import MultipartRelated
from gateway.web.negotiation import DICOM, Unavailable
from gateway.web.retrieval import Representation
from gateway.web.streaming import Body, ahead, reading
from gateway.web.whole import WholeInstance, whole

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance

SMALL: Final = 32 << 20
"""Bytes of pixels up to which an instance is transcoded in one go; larger ones frame by frame."""

WORD_BITS: Final = 16
"""Of the words of VR OW; longer pixels in big endian change their byte order as a whole."""

_WHOLE_ONLY: Final = frozenset({JPEG_BASELINE, DEFLATED_EXPLICIT_VR_LE})


class Files:
    """Makes a PS3.10 file of one instance after the other, its Data Set as the region sent it where Accept allows.

    Args:
        asked: the request.
        container: the media type and kind of body that are settled.
    """

    def __init__(self, asked: Asked, container: Form) -> None:
        self._asked = asked
        self._container = container
        self._instance: Instance
        self._here: WholeInstance | None = None
        self._streamed: dict[str, str] = {}  # outgoing by stored, of those that leave while they arrive
        self.outgoing = EXPLICIT_VR_LE

    async def prepare(self, instance: "Instance") -> None:
        """Decide in which Transfer Syntax the instance leaves.

        Raises:
            Unavailable: in none that the caller takes.
        """
        self._instance, self._here = instance, None
        stored = instance.transfer_syntax_uid
        if stored in self._streamed:
            self.outgoing = self._streamed[stored]
            return
        decodable = stored in DECODABLE
        try:
            self.outgoing = self._chosen(stored, TRANSCODABLE_TO if decodable else frozenset(), decodable=decodable)
        except Unavailable:
            if not decodable:
                raise
            self.outgoing = ""  # its pixels tell what can be had instead
        if self._is_streamed(stored):
            self._streamed[stored] = self.outgoing
            return
        self._here = await whole(instance)
        description = self._here.index.description
        if stored == EXPLICIT_VR_BE and self.outgoing == EXPLICIT_VR_LE:
            if description is None or description.bits_allocated <= WORD_BITS:
                self._here = None
            return
        if description is None:
            self.outgoing = self._chosen_without_pixels(stored)
            return
        can = {uid for uid in TRANSCODABLE_TO if can_become(description, stored, uid)}
        self.outgoing = self._chosen(stored, can, decodable=EXPLICIT_VR_LE in can)

    def _chosen_without_pixels(self, stored: str) -> str:
        """Choose where nothing is compressed: encapsulated Transfer Syntaxes differ by their label (PS3.5 A.4).

        A report between images has such a label only for who takes nothing plainer.
        """
        try:
            return self._chosen(stored, TRANSCODABLE_TO & NATIVE, decodable=True)
        except Unavailable:
            return self._chosen(stored, TRANSCODABLE_TO, decodable=True)

    def _chosen(self, stored: str, targets: set[str] | frozenset[str], *, decodable: bool) -> str:
        forms = instance_forms(
            stored, self._container, self._asked.wishes.default, sorted(targets), decodable=decodable
        )
        name = transfer_syntax(stored).name
        why = f"the instance is held in {name} and cannot be had as asked for, but as it is with transfer-syntax=*"
        return self._asked.wishes.choose(forms, why).transfer_syntax

    def _is_streamed(self, stored: str) -> bool:
        """Whether it can leave while it arrives: as it is, or re-encoded without knowing its pixels."""
        native = not transfer_syntax(stored).encapsulated and stored != EXPLICIT_VR_BE
        return self.outgoing == stored or (self.outgoing == EXPLICIT_VR_LE and native)

    def head(self) -> bytes:
        """Return what stands before the Data Set of the prepared instance."""
        return file_meta(self._instance.sop_class_uid, self._instance.sop_instance_uid, self.outgoing)

    def data_set(self) -> AsyncIterator[Sequence[Buffer]]:
        """Yield its Data Set in pieces."""
        stored = self._instance.transfer_syntax_uid
        if self.outgoing == stored:
            return self._instance.bursts()
        if self._here is not None and self._here.index.description is not None:
            return self._transcoded(self._here)
        if self._here is not None and self.outgoing == DEFLATED_EXPLICIT_VR_LE:
            return self._deflated(self._here)
        if stored == EXPLICIT_VR_LE or transfer_syntax(stored).encapsulated:
            return self._instance.bursts()
        return self._reencoded()

    async def _reencoded(self) -> AsyncIterator[list[Buffer]]:
        """Re-encode as Explicit VR Little Endian (PS3.18 8.7.3) while it arrives."""
        encoder = Reencoder(self._instance.transfer_syntax_uid)
        async with reading(self._instance.bursts()) as bursts:
            async for burst in bursts:
                yield [piece for part in burst for piece in encoder.feed(part)]
        yield [*encoder.finish()]

    async def _deflated(self, here: WholeInstance) -> AsyncIterator[list[Buffer]]:
        """Deflate what has no pixels; an encapsulated Transfer Syntax is then Explicit VR Little Endian."""
        stored = here.instance.transfer_syntax_uid
        plain = EXPLICIT_VR_LE if transfer_syntax(stored).encapsulated else stored
        data = here.instance.read(0, here.instance.size or 0)
        yield [await self._asked.workers.run(transcode_instance, data, plain, self.outgoing)]

    async def _transcoded(self, here: WholeInstance) -> AsyncIterator[list[Buffer]]:
        index, run = here.index, self._asked.workers.run
        description, target = index.description, self.outgoing
        size = here.instance.size or 0
        if description is None:
            raise NotAcceptable("the instance has no pixels to transcode")
        if target in _WHOLE_ONLY or max(size, description.frame_bytes * index.number_of_frames) <= SMALL:
            data = here.instance.read(0, size)
            yield [await run(transcode_instance, data, here.instance.transfer_syntax_uid, target)]
            return
        before = here.read(0, index.before)
        after = here.read(index.after, max(0, size - index.after))
        head, tail = await run(recode_ends, bytes(before), bytes(after), description, index.number_of_frames, target)
        yield [head]
        framed = fragment if transfer_syntax(target).encapsulated else bytes
        jobs = [partial(self._frame, here, number, framed) for number in range(1, index.number_of_frames + 1)]
        async with ahead(jobs) as frames:
            async for frame in frames:
                yield [frame]
        yield [tail]

    async def _frame(self, here: WholeInstance, number: int, framed: Callable[[bytes], bytes]) -> bytes:
        description = here.index.description
        if description is None:
            raise NotAcceptable("the instance has no pixels to transcode")
        made = await self._asked.workers.run(reencode_frame, here.frame(number), description, self.outgoing)
        return framed(made)


class Instances(Representation):
    """Writes each instance as a PS3.10 file."""

    def __init__(self, asked: Asked, container: Form) -> None:
        self._asked = asked
        self._files = Files(asked, container)
        self._frame = None if container.single else MultipartRelated(DICOM)
        self._instance: Instance

    async def prepare(self, instance: "Instance") -> bool:
        """Decide in which Transfer Syntax the instance leaves."""
        await self._files.prepare(instance)
        self._instance = instance
        return True

    @property
    def _part_type(self) -> str:
        return f"{DICOM}; transfer-syntax={self._files.outgoing}"

    def headers(self) -> list[Header]:
        """Return Content-Type, and Content-Location of a single part."""
        if self._frame is not None:
            return [(b"content-type", self._frame.content_type.encode())]
        location = self._asked.location(self._instance)
        named = [(b"content-location", location.encode())] if location else []
        return [(b"content-type", self._part_type.encode()), *named]

    async def write(self, body: Body) -> None:
        """Write the prepared instance, fragment by fragment as it arrives."""
        head = [self._files.head()]
        if self._frame:
            head = [self._frame.part(self._part_type, self._asked.location(self._instance)), *head]
        async with reading(self._files.data_set()) as bursts:
            async for burst in bursts:
                await body.write(*head, *burst)
                head = []
        if head:
            await body.write(*head)

    def end(self) -> bytes:
        """Return the closing boundary of a multipart body."""
        return self._frame.close() if self._frame else b""
