"""What an instance says of itself, collected while its Data Set passes by."""

from collections.abc import Collection, Mapping
from typing import Final

from gateway.dataset.charset import SPECIFIC_CHARACTER_SET, character_set
from gateway.dataset.reader import Reader
from gateway.dataset.sink import Buffer, DatasetLimits, TopLevel
from gateway.dataset.values import PADDING

_LONGEST: Final = 4096
_LIMITS: Final = DatasetLimits()


class _Collector(TopLevel):
    """Keeps some elements."""

    __slots__ = ("_keys", "found")

    def __init__(self, keys: Collection[str]) -> None:
        super().__init__(large_from=_LONGEST)
        self.found: dict[str, bytes] = {}
        self._keys = frozenset(keys)

    def top_value(self, key: str, data: bytes) -> None:
        if key in self._keys:
            self.found[key] = data


class Identification:
    """Reads a whole Data Set in fragments, so that it is known to be one, and keeps what was asked for (PS3.5 7).

    Args:
        transfer_syntax_uid: how it is encoded.
        keys: the elements to keep; one longer than 4 KiB counts as absent.

    Raises:
        DatasetError: from ``feed`` and ``finish``, when the bytes are no Data Set.
        LimitExceeded: from both, at a limit.
    """

    __slots__ = ("_collector", "_reader")

    def __init__(self, transfer_syntax_uid: str, keys: Collection[str]) -> None:
        self._collector = _Collector({*keys, SPECIFIC_CHARACTER_SET})
        self._reader = Reader(transfer_syntax_uid, self._collector, _LIMITS)

    def feed(self, fragment: Buffer) -> None:
        """Read the next fragment."""
        self._reader.feed(fragment)

    def finish(self) -> Mapping[str, str]:
        """Return each element that was found, as text without padding."""
        self._reader.finish()
        found = self._collector.found
        terms = found.get(SPECIFIC_CHARACTER_SET, b"").decode("ascii", "replace").strip(PADDING)
        charset = character_set(terms, "ISO_IR 100")
        return {key: charset.decode(data).strip(PADDING) for key, data in found.items()}
