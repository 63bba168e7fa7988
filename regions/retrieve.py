"""C-MOVE and C-GET of an archive (PS3.4 C.4.2, C.4.3): the C-STORE sub-operations and their count."""

import array
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext, build_context

from regions.elements import decode, encode
from regions.index import Entry

UNCOMPRESSED: Final = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
_MOST_CONTEXTS: Final = 128
_MEDIUM: Final = 0
_GROUP_LENGTH_END: Final = 144
"""Where File Meta Information Group Length ends: 128 bytes, "DICM", and an element of 12 bytes."""
LOGGER: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """The counters of the sub-operations (PS3.7 9.1.4.1.7)."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)

    def count(self, sop_instance_uid: str, status: int | None) -> None:
        """Enter one C-STORE's status; None when there was no answer."""
        self.remaining -= 1
        if status == 0x0000:
            self.completed += 1
        elif status is not None and status >> 12 == 0xB:
            self.warning += 1
        else:
            self.failed += 1
            self.failed_uids.append(sop_instance_uid)

    @property
    def status(self) -> int:
        """Of the final response: complete, with failures, or nothing but failures."""
        if not self.failed and not self.warning:
            return 0x0000
        return 0xB000 if self.completed or self.warning else 0xA702


def contexts_for(entries: Iterable[Entry]) -> list[PresentationContext]:
    """One Presentation Context per SOP Class and stored Transfer Syntax, and one to convert to."""
    pairs = {(entry.sop_class_uid, entry.transfer_syntax_uid): None for entry in entries}
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
    plain = {sop_class: None for sop_class, syntax in pairs if syntax in UNCOMPRESSED}
    contexts += [build_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for sop_class in plain]
    return contexts[:_MOST_CONTEXTS]


class Courier:
    """Sends instances on an association, as they are stored if the peer takes that."""

    def __init__(self, association: Any, folder: Path, *, move_originator: tuple[str, int] | None = None) -> None:
        """Take an association.

        Args:
            association: with Storage contexts in which we are SCU.
            folder: the archive's.
            move_originator: calling AE title and Message ID of the C-MOVE that this is for.
        """
        self.association, self.folder = association, folder
        self.move_originator = move_originator
        self.contexts = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
            for context in association.accepted_contexts
            if context.as_scu
        }

    @contextmanager
    def on_its_way(self) -> Iterator[None]:
        """Keep the association's reactor still for the whole journey.

        ``send_c_store`` stops and restarts it for each instance; restarted late, it takes a fast peer's C-STORE-RSP
        for a request and drops it. On an association that serves the C-GET at hand, we are the reactor.
        """
        association = self.association
        if association.is_acceptor:
            yield
            return
        checkpoint = association._reactor_checkpoint  # noqa: SLF001 - as send_c_store has it
        checkpoint.clear()
        while not checkpoint._cond._waiters:  # noqa: SLF001 - its own word for being paused is given too early
            time.sleep(0.001)
        try:
            yield
        finally:
            checkpoint.set()

    def send(self, entry: Entry, message_id: int) -> int | None:
        """Send one instance; the status of its C-STORE, or None if it could not be sent or was not answered."""
        request = C_STORE()
        request.MessageID = message_id
        request.AffectedSOPClassUID = entry.sop_class_uid
        request.AffectedSOPInstanceUID = entry.sop_instance_uid
        request.Priority = _MEDIUM
        if self.move_originator is not None:
            request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID = self.move_originator
        try:
            context_id, data = self._encoded(entry)
        except (OSError, LookupError, ValueError) as error:
            LOGGER.warning("%s cannot be sent: %s", entry.sop_instance_uid, error)
            return None
        request.DataSet = BytesIO(data)
        self.association.dimse.send_msg(request, context_id)
        _, response = self.association.dimse.get_msg(block=True)
        return None if response is None or response.Status is None else int(response.Status)

    def _encoded(self, entry: Entry) -> tuple[int, bytes]:
        """The context to use and the Data Set: the bytes as stored, or converted if the peer takes only that.

        Raises:
            LookupError: no context takes the instance.
        """
        path = self.folder / entry.path
        stored = self.contexts.get((entry.sop_class_uid, entry.transfer_syntax_uid))
        if stored is not None:
            return stored, data_set(path)
        if entry.transfer_syntax_uid in UNCOMPRESSED:
            for syntax in UNCOMPRESSED:
                context_id = self.contexts.get((entry.sop_class_uid, syntax))
                if context_id is not None:
                    return context_id, encode(converted(path), syntax)
        raise LookupError(f"the peer takes no {entry.transfer_syntax_uid}")


def data_set(path: Path) -> bytes:
    """The Data Set of a Part 10 file, without its File Meta Information (PS3.10 7.1)."""
    content = path.read_bytes()
    return content[_GROUP_LENGTH_END + int.from_bytes(content[_GROUP_LENGTH_END - 4 : _GROUP_LENGTH_END], "little") :]


def converted(path: Path) -> Dataset:
    """Read a file whose pixels are not compressed, as Explicit VR Little Endian, which is sent in any native syntax."""
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian and dataset.get("BitsAllocated") == 16:
        words = array.array("H", dataset.PixelData)
        words.byteswap()
        dataset.PixelData = words.tobytes()
    return decode(encode(dataset, ExplicitVRLittleEndian), ExplicitVRLittleEndian)
