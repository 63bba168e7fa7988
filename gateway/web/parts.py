"""Resources that are parts of instances: as one body, of which a range can be had, or as parts of one."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.web.asked import Asked
from gateway.web.completeness import Header
from gateway.web.multipart import MultipartRelated
from gateway.web.ranges import Content, byte_range
from gateway.web.retrieval import Representation
from gateway.web.streaming import Body, ahead

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an instance.

    Attributes:
        content_type: with the Transfer Syntax where it has one.
        location: its URL, if it has one.
        content: its bytes, or what makes them.
        headers: further fields for when it is the whole body.
    """

    content_type: str
    location: str | None
    content: Content | Callable[[], Awaitable[bytes]]
    headers: Sequence[Header] = field(default=())

    async def made(self) -> Content:
        """Return its bytes, once they are made."""
        return self.content if isinstance(self.content, Content) else Content.of(await self.content())


class Parts(Representation):
    """Writes the parts that ``parts`` finds in each instance.

    Attributes:
        asked: the request.
        single: whether the one part is the whole body; set before the first instance is prepared, or by ``parts``.
    """

    def __init__(self, asked: Asked, *, single: bool = False) -> None:
        self.asked = asked
        self.single = single
        self._parts: Sequence[Part] = ()
        self._frame: MultipartRelated | None = None
        self._whole = Content.of(b"")
        self._range: tuple[int, int] | None = None
        self._etag = ""

    async def parts(self, instance: "Instance") -> Sequence[Part]:
        """Return what is to be written of an instance.

        Raises:
            GatewayError: it is not to be had, or not like that.
        """
        raise NotImplementedError

    async def prepare(self, instance: "Instance") -> bool:
        """Find the parts; one that is the whole body is made now, so that a failure is a status."""
        self._parts = await self.parts(instance)
        if not self._parts:
            return False
        if self.single:
            await self._prepare_whole(instance)
        elif self._frame is None:
            self._frame = MultipartRelated(self._parts[0].content_type.partition(";")[0])
        return True

    async def _prepare_whole(self, instance: "Instance") -> None:
        part = self._parts[0]
        self._whole = await part.made()
        facts = f"{instance.region} {instance.sop_instance_uid} {part.location} {part.content_type} {self._whole.size}"
        self._etag = f'"{blake2b(facts.encode(), digest_size=16).hexdigest()}"'
        fields = self.asked.request.headers
        # A range is of these very bytes; a picture made anew may differ.
        if "range" in fields and isinstance(part.content, Content) and self._unchanged(fields.get("if-range", "")):
            self._range = byte_range(fields["range"], self._whole.size)
        if self._range is not None:
            self.status = HTTPStatus.PARTIAL_CONTENT

    def _unchanged(self, condition: str) -> bool:
        return condition in {"", self._etag}

    def headers(self) -> list[Header]:
        """Return Content-Type, and what else describes a single part."""
        if self._frame is not None:
            return [(b"content-type", self._frame.content_type.encode())]
        part, size = self._parts[0], self._whole.size
        start, stop = self._range or (0, size)
        told: list[Header] = [
            (b"content-type", part.content_type.encode()),
            (b"content-length", str(stop - start).encode()),
            *part.headers,
        ]
        if part.location:
            told.append((b"content-location", part.location.encode()))
        if isinstance(part.content, Content):
            told += [(b"accept-ranges", b"bytes"), (b"etag", self._etag.encode())]
        if self._range is not None:
            told.append((b"content-range", f"bytes {start}-{stop - 1}/{size}".encode()))
        return told

    async def write(self, body: Body) -> None:
        """Write the prepared parts; those that have to be made are made a few ahead."""
        if self._frame is None:
            for piece in self._whole.pieces(*(self._range or (0, None))):
                await body.write(piece)
            return
        async with ahead([part.made for part in self._parts]) as made:
            waiting = deque(self._parts)
            async for content in made:
                part = waiting.popleft()
                head: bytes | None = self._frame.part(part.content_type, part.location)
                for piece in content.pieces():
                    await (body.write(piece) if head is None else body.write(head, piece))
                    head = None
                if head is not None:
                    await body.write(head)

    def end(self) -> bytes:
        """Return the closing boundary of a multipart body."""
        return self._frame.close() if self._frame else b""
