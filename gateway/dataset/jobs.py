"""What is run in worker processes: codecs are imported there, never in the process that serves.

Arguments and results are plain values of bytes. The imports stand inside the functions because a process that
hands over a function has to import it too, and numpy and the codecs would cost it a second and 40 MiB.
"""

from collections.abc import Sequence

from gateway.dataset.image import ImageDescription
from gateway.dataset.rendition import Rendering


def get_ready() -> None:
    """Import what the other jobs use: a second that a process spends before it is given one."""
    from gateway.dataset import encoding, recode, rendering, report  # noqa: F401, PLC0415


def reencode_frame(codestream: bytes, description: ImageDescription, target_uid: str) -> bytes:
    """Run ``encoding.reencode``."""
    from gateway.dataset.encoding import reencode  # noqa: PLC0415

    return reencode(codestream, description, target_uid)


def transcode_instance(data: bytes, source_uid: str, target_uid: str) -> bytes:
    """Run ``recode.transcode`` on an instance that is small enough to be held."""
    from gateway.dataset.recode import transcode  # noqa: PLC0415

    return b"".join(transcode(data, source_uid, target_uid))


def recode_ends(
    before: bytes, after: bytes, description: ImageDescription, number_of_frames: int, target_uid: str
) -> tuple[bytes, bytes]:
    """Return what stands in front of and behind the frames of an instance that is too large to be held.

    Between them stands ``fragments.fragment`` of each frame for an encapsulated target, else each frame as it is.
    """
    from gateway.dataset.encoding import encoded  # noqa: PLC0415
    from gateway.dataset.recode import Recoding  # noqa: PLC0415

    plan = Recoding(description, encoded(description, target_uid), number_of_frames)
    return plan.head(before), plan.tail(after)


def render_frames(
    header: bytes, description: ImageDescription, frames: Sequence[tuple[int, bytes]], rendering: Rendering
) -> bytes:
    """Run ``rendering.render``."""
    from gateway.dataset.rendering import render  # noqa: PLC0415

    return render(header, description, frames, rendering)
