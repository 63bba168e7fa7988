"""A large value on its way to the sink, in pieces as it arrives."""

from gateway.dataset.sink import Sink
from gateway.dataset.values import swapped


class Passage:
    """Passes on the bytes of one value or fragment after the other.

    Attributes:
        left: bytes still to come of the present one.
        passed: bytes of all of them so far, which cost no memory and are not counted as header.
    """

    __slots__ = ("_rest", "_sink", "_word", "left", "passed")

    def __init__(self, sink: Sink) -> None:
        self.left = 0
        self.passed = 0
        self._sink = sink
        self._word = 1
        self._rest = b""

    def begin(self, length: int, word: int = 1) -> None:
        """Expect a value of that many bytes, whose words of that size are in the other byte order if above 1."""
        self.left = length
        self._word = word

    def take(self, view: memoryview) -> int:
        """Pass on what belongs to the value; return how many bytes that was."""
        size = min(self.left, len(view))
        self.left -= size
        self.passed += size
        self._sink.piece(view[:size] if self._word == 1 else self._swapped(view[:size]))
        return size

    def _swapped(self, view: memoryview) -> memoryview:
        """Swap whole words; the bytes of a word that the fragment cuts wait for the next."""
        data = self._rest + bytes(view)
        whole = len(data) - len(data) % self._word if self.left else len(data)
        self._rest = data[whole:]
        return memoryview(swapped(data[:whole], self._word))
