"""Frames and pixel data: each frame as a part, as it is stored or made anew (PS3.18 10.4.1.1.6, 10.4.1.1.7)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from gateway.dataset.codestreams import DECODABLE, TRANSCODABLE_TO, can_become
from gateway.dataset.frames import FrameIndex
from gateway.dataset.jobs import reencode_frame
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, transfer_syntax
from gateway.errors import NotFound, RequestError
from gateway.web.asked import Asked
from gateway.web.formats import Form, frame_forms
from gateway.web.parts import Part, Parts
from gateway.web.ranges import Content
from gateway.web.whole import WholeInstance, whole

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance

MOST_FRAMES = 10_000


def frame_list(text: str) -> tuple[int, ...]:
    """Read the frame list of a resource path: numbers from 1 on, ascending (PS3.18 10.4.1.1.6).

    Raises:
        RequestError: it is none.
    """
    words = text.split(",")
    if len(words) <= MOST_FRAMES and all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        numbers = tuple(map(int, words))
        if numbers[0] > 0 and list(numbers) == sorted(set(numbers)):
            return numbers
    raise RequestError("the frame list in the path: expected numbers from 1 on, ascending, with commas between them")


class Frames(Parts):
    """Writes frames by number, or all frames of every instance that has some."""

    def __init__(self, asked: Asked, numbers: Sequence[int] = (), *, one_instance: bool = True) -> None:
        super().__init__(asked)
        self._numbers = numbers
        self._one_instance = one_instance

    async def parts(self, instance: "Instance") -> Sequence[Part]:
        """Return one part for each frame, or one for a video."""
        here = await whole(instance)
        if here.index.description is None:
            if self._one_instance:
                raise NotFound("the instance has no pixels")
            return ()
        numbers = self._numbers or range(1, here.index.number_of_frames + 1)
        if numbers[-1] > here.index.number_of_frames:
            raise NotFound(f"there is no frame {numbers[-1]}: the instance has {here.index.number_of_frames}")
        form = pixel_form(self.asked, here.index, single=self._one_instance and self._count(here, numbers) == 1)
        self.single = form.single
        return pixel_parts(self.asked, here, form, numbers)

    @staticmethod
    def _count(here: WholeInstance, numbers: Sequence[int]) -> int:
        return 1 if here.index.is_video else len(numbers)


def pixel_form(asked: Asked, index: FrameIndex, *, single: bool) -> Form:
    """Choose how frames leave.

    Raises:
        Unavailable: not in any form that the caller takes.
    """
    stored, description = index.transfer_syntax_uid, index.description
    targets = [uid for uid in sorted(TRANSCODABLE_TO) if can_become(description, stored, uid)]
    forms = frame_forms(
        stored, asked.wishes.default, targets, decodable=stored in DECODABLE and not index.is_video, single=single
    )
    return asked.wishes.choose(forms, "the frames cannot be had like that")


def pixel_parts(
    asked: Asked, here: WholeInstance, form: Form, numbers: Sequence[int], tail: str = "/frames/{}"
) -> list[Part]:
    """Return the parts for some frames; all of a video are one."""
    instance = here.instance
    if here.index.is_video:
        content = Content(here.read, here.index.spans(1))
        return [Part(form.content_type, asked.location(instance, tail.format(1)), content)]
    return [
        Part(form.content_type, asked.location(instance, tail.format(number)), _frame(asked, here, form, number))
        for number in numbers
    ]


def _frame(asked: Asked, here: WholeInstance, form: Form, number: int) -> Content | Callable[[], Awaitable[bytes]]:
    stored, description = here.index.transfer_syntax_uid, here.index.description
    native = form.transfer_syntax == EXPLICIT_VR_LE and not transfer_syntax(stored).encapsulated
    if form.transfer_syntax == stored or native or description is None:
        spans = here.index.spans(number)  # told now that there is no such frame
        if here.index.is_plain(number):
            return Content(here.read, spans)

        async def read() -> bytes:
            return here.frame(number)

        return read

    async def made() -> bytes:
        return await asked.workers.run(reencode_frame, here.frame(number), description, form.transfer_syntax)

    return made
