"""A study or series as a ZIP archive of PS3.10 files, for people with a command line."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from gateway.dataset.sink import Buffer
from gateway.web.asked import Asked
from gateway.web.completeness import Header
from gateway.web.formats import ZIP, Form
from gateway.web.instances import Files
from gateway.web.retrieval import Representation
from gateway.web.streaming import Body, reading

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class _Pieces:
    """What a ZipFile writes, until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[Buffer] = []

    def write(self, data: Buffer) -> int:
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: all of it is taken."""

    def take(self) -> list[Buffer]:
        pieces, self._pieces = self._pieces, []
        return pieces


class Archive(Representation):
    """Writes files in a folder for each series, named by the order in which they arrive and by nothing else.

    Nothing is compressed, and no file is known to its end before it is written, so each is followed by its size.
    """

    def __init__(self, asked: Asked, container: Form) -> None:
        self._files = Files(asked, container)
        self._pieces = _Pieces()
        # A stream that cannot seek makes it write sizes behind each file.
        self._zip = ZipFile(self._pieces, "w", ZIP_STORED, allowZip64=True)  # type: ignore[call-overload]
        self._series: dict[str, tuple[int, Iterator[int]]] = {}
        self._name = ""

    async def prepare(self, instance: "Instance") -> bool:
        """Decide about Transfer Syntax and name of the instance."""
        await self._files.prepare(instance)
        folder, numbers = self._folder(instance.series_instance_uid or "")
        self._name = f"series-{folder:03}/instance-{next(numbers):05}.dcm"
        return True

    def _folder(self, series: str) -> tuple[int, Iterator[int]]:
        if series not in self._series:
            self._series[series] = len(self._series) + 1, iter(range(1, 1 << 30))
        return self._series[series]

    def headers(self) -> list[Header]:
        """Return Content-Type and a name for the file."""
        return [
            (b"content-type", ZIP.encode()),
            (b"content-disposition", b'attachment; filename="dicom.zip"'),
        ]

    async def write(self, body: Body) -> None:
        """Write the prepared instance as it arrives."""
        info = ZipInfo(self._name, _EPOCH)
        info.external_attr = 0o600 << 16
        with self._zip.open(info, "w", force_zip64=True) as file:
            file.write(self._files.head())
            async with reading(self._files.data_set()) as bursts:
                async for burst in bursts:
                    for piece in burst:
                        file.write(piece)
                    await body.write(*self._pieces.take())
        await body.write(*self._pieces.take())

    def end(self) -> bytes:
        """Return the table of contents."""
        self._zip.close()
        return b"".join(self._pieces.take())
