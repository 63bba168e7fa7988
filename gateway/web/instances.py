"""Instances as PS3.10 files, in a multipart body or alone (PS3.18 10.4.4, 8.7.3)."""

from typing import TYPE_CHECKING

from gateway.dataset.part10 import file_meta
from gateway.dataset.query import Selection
from gateway.dataset.transcode import Reencoder
from gateway.web.completeness import Header
from gateway.web.keys import is_uid
from gateway.web.locations import Locations
from gateway.web.multipart import MultipartRelated
from gateway.web.negotiation import DICOM, InstanceFormat
from gateway.web.streaming import Body, reading

if TYPE_CHECKING:
    from gateway.federation.flights import Instance


class Instances:
    """Writes each instance as a PS3.10 file, its Data Set as the region sent it where the format allows."""

    def __init__(self, chosen: InstanceFormat, selected: Selection, locations: Locations) -> None:
        self._chosen = chosen
        self._selected = selected
        self._locations = locations
        self._frame = None if chosen.single else MultipartRelated(DICOM)
        self._instance: Instance
        self._outgoing: str

    async def prepare(self, instance: "Instance") -> None:
        """Decide in which Transfer Syntax the instance leaves."""
        self._outgoing = self._chosen.outgoing(instance.transfer_syntax_uid)
        self._instance = instance

    @property
    def _part_type(self) -> str:
        return f"{DICOM}; transfer-syntax={self._outgoing}"

    def _location(self) -> str | None:
        """Return the URL of the prepared instance, None when its series is not known."""
        series = self._selected.series or self._instance.series_instance_uid
        uid = self._instance.sop_instance_uid
        if series is None or not is_uid(uid) or not is_uid(series):
            return None
        return self._locations.resource(self._selected.study, series, uid)

    def headers(self) -> list[Header]:
        """Return Content-Type, and Content-Location of a single part."""
        if self._frame is not None:
            return [(b"content-type", self._frame.content_type.encode())]
        location = self._location()
        named = [(b"content-location", location.encode())] if location else []
        return [(b"content-type", self._part_type.encode()), *named]

    async def write(self, body: Body) -> None:
        """Write the prepared instance, fragment by fragment as it arrives."""
        instance = self._instance
        head = self._frame.part(self._part_type, self._location()) if self._frame else b""
        head += file_meta(instance.sop_class_uid, instance.sop_instance_uid, self._outgoing)
        if self._outgoing != instance.transfer_syntax_uid:
            await body.write(head)
            await self._write_reencoded(body)
            return
        async with reading(instance.bursts()) as bursts:
            first = await anext(bursts, ())
            await body.write(head, *first)
            async for burst in bursts:
                await body.write(*burst)

    async def _write_reencoded(self, body: Body) -> None:
        """Write the prepared instance as Explicit VR Little Endian (PS3.18 8.7.3)."""
        encoder = Reencoder(self._instance.transfer_syntax_uid)
        async with reading(self._instance) as fragments:
            async for fragment in fragments:
                await body.write(*encoder.feed(fragment))
        await body.write(*encoder.finish())

    def end(self) -> bytes:
        """Return the closing boundary of a multipart body."""
        return self._frame.close() if self._frame else b""
