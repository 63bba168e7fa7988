"""An instance that is here whole: its frames, its document, any value of it."""

from typing import TYPE_CHECKING

from gateway.dataset.frames import FrameIndex, frame_index
from gateway.dataset.spans import Read, inflated
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, transfer_syntax
from gateway.errors import DatasetError

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance

_FRAMES = "frames"


class WholeInstance:
    """One instance, indexed.

    Attributes:
        instance: it.
        transfer_syntax_uid: of what ``read`` gives, which is never deflated.
        read: gives (offset, length) of its Data Set, inflated.
        index: where its frames or its document are.
    """

    def __init__(self, instance: "Instance", uid: str, read: Read, index: FrameIndex) -> None:
        self.instance = instance
        self.transfer_syntax_uid = uid
        self.read = read
        self.index = index

    def frame(self, number: int) -> bytes:
        """Return one frame: its codestream, or its native pixels in little endian."""
        return self.index.frame(self.read, number)


async def whole(instance: "Instance") -> WholeInstance:
    """Wait until an instance is here, and index it unless that was done before.

    Raises:
        RegionError: it breaks off.
        DatasetError: it is no Data Set.
        LimitExceeded: at a limit.
    """
    await instance.whole()
    stored = instance.transfer_syntax_uid
    read: Read = inflated(instance.read, stored)
    uid = EXPLICIT_VR_LE if transfer_syntax(stored).deflated else stored
    kept = instance.note(_FRAMES)
    if kept is not None:
        try:
            return WholeInstance(instance, uid, read, FrameIndex.from_bytes(kept))
        except DatasetError:
            pass  # of an earlier version: made anew
    index = frame_index(read, uid)
    instance.keep(_FRAMES, index.to_bytes())
    return WholeInstance(instance, uid, read, index)
