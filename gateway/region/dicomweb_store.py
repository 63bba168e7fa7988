"""How a region is given an instance by STOW-RS (PS3.18 10.5), streamed, with the outcomes of a C-STORE."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp
import orjson

from gateway.dataset.json_rows import json_row
from gateway.dataset.part10 import file_meta
from gateway.dataset.query import Row
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, transfer_syntax
from gateway.deadline import Deadline
from gateway.errors import (
    DatasetError,
    DimseFailure,
    GatewayError,
    LimitExceeded,
    NotStorable,
    RegionError,
    Rejected,
    Stalled,
)
from gateway.region.dicomweb_answers import failure, media_type
from gateway.region.dicomweb_client import Client
from gateway.region.profile import Profile
from gateway.region.storing import LONGEST, TRANSFER_SYNTAX_NOT_SUPPORTED, Outgoing, reencoded

JSON: Final = "application/dicom+json"
MOST_BYTES: Final = 1 << 20
"""Of an answer."""

SUCCESS: Final = 0x0000
WARNING: Final = 0xB000
CANNOT_UNDERSTAND: Final = 0xC000

REFERENCED, FAILED, OTHER_FAILURES = "00081199", "00081198", "0008119A"
INSTANCE, WARNING_REASON, FAILURE_REASON = "00081155", "00081196", "00081197"

_ANSWERS: Final = frozenset({200, 202, 409})
_BAD: Final = frozenset({400, 413})
_NO_SERVICE: Final = frozenset({404, 405})


class WebStoring:
    """Stores in one region, each instance with a request of its own, so that each has an outcome of its own."""

    def __init__(self, profile: Profile, client: Client) -> None:
        self._profile = profile
        self._client = client

    async def run(self, instance: Outgoing, deadline: Deadline, stall_seconds: float) -> int:
        """Store one instance, and return the status: Success or a Warning.

        Args:
            instance: what is stored.
            deadline: until the region takes its first bytes.
            stall_seconds: for which the region may take nothing, or say nothing once it has it all.

        Raises:
            NotStorable: the region does not take its Transfer Syntax.
            DimseFailure: it refused the instance.
            RegionError: the region failed.
        """
        boundary = secrets.token_hex(16)
        sending = Sending(instance, boundary, stall_seconds, self._client.hasten)
        content = sending.content()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        try:
            async with asyncio.timeout(min(deadline.remaining, LONGEST)) as patience:
                sending.patience = patience
                async with self._client.request(
                    "POST", "/studies", accept=JSON, content_type=kind, content=content, via=instance.via
                ) as response:
                    answer = await self._client.whole(response, MOST_BYTES)
                    return self._outcome(instance, response, answer)
        except TimeoutError:
            raise Stalled(f"region {self._profile.id} took nothing for {stall_seconds:.0f} seconds") from None
        except RegionError:
            if sending.error is not None:  # what is sent cannot be read: that is not the region's fault
                raise sending.error from None
            raise
        finally:
            with suppress(RuntimeError):  # it is being read at this moment, and cancelled
                await content.aclose()

    def _outcome(self, instance: Outgoing, response: aiohttp.ClientResponse, answer: bytes) -> int:
        """Return the status of an instance that is stored (PS3.18 10.5.3); raise why it is not."""
        status, name = response.status, self._profile.id
        if status == 415:
            raise NotStorable(f"region {name} does not take this kind of file", status=TRANSFER_SYNTAX_NOT_SUPPORTED)
        if status in _BAD:
            text = f"region {name} does not take the instance ({status})"
            raise DimseFailure(text, status=CANNOT_UNDERSTAND)
        if status in _NO_SERVICE:
            raise Rejected(f'region {name} has no STOW-RS there ({status}): check "dicomweb"', reason=0)
        if status not in _ANSWERS:
            raise failure(self._profile, status, response.headers, "a store")
        told = _told(response.headers, answer)
        if told is None and status != 409:
            return WARNING if status == 202 else SUCCESS  # with one instance sent, "some are stored" means this one
        told = told or {}
        refused = _item(told, FAILED, instance.sop_instance_uid) or next(iter(_items(told, OTHER_FAILURES)), None)
        kept = _item(told, REFERENCED, instance.sop_instance_uid)
        if refused is None and kept is not None:
            return _number(kept, WARNING_REASON)
        reason = _number(refused or {}, FAILURE_REASON) or CANNOT_UNDERSTAND
        how = f"refused the instance with {reason:04X}" if refused else "does not say that it keeps the instance"
        raise DimseFailure(f"region {name} {how} ({status})", status=reason)


class Sending:
    """One request's content.

    Attributes:
        patience: the time until which the region may wait before it takes the next piece.
        error: why it could not be read to its end.
    """

    def __init__(self, instance: Outgoing, boundary: str, stall_seconds: float, sent: Callable[[], None]) -> None:
        self.patience: asyncio.Timeout | None = None
        self.error: GatewayError | OSError | None = None
        self._instance = instance
        self._boundary = boundary
        self._stall_seconds = stall_seconds
        self._sent = sent

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield a body with the instance as its one part; Implicit VR and Big Endian never leave (PS3.18 8.7.3)."""
        instance = self._instance
        stored = instance.transfer_syntax_uid
        as_it_is = transfer_syntax(stored).encapsulated or stored == EXPLICIT_VR_LE
        target = stored if as_it_is else EXPLICIT_VR_LE
        self._moved()
        # Without its parameter transfer-syntax, which Orthanc does not take here.
        yield f"--{self._boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        yield file_meta(instance.sop_class_uid, instance.sop_instance_uid, target)
        try:
            async for piece in instance.data() if as_it_is else reencoded(instance, EXPLICIT_VR_LE):
                self._moved()
                yield bytes(piece)  # asked for when the last one was taken
        except (GatewayError, OSError) as error:
            self.error = error
            raise
        self._moved()
        yield f"\r\n--{self._boundary}--\r\n".encode()
        self._moved()
        self._sent()

    def _moved(self) -> None:
        """Note that the last piece was taken."""
        if self.patience is not None and not self.patience.expired():
            self.patience.reschedule(asyncio.get_running_loop().time() + self._stall_seconds)


def _told(headers: Mapping[str, str], answer: bytes) -> Row | None:
    """Return the Data Set of an answer, None where it has none that can be read."""
    kind, _ = media_type(headers.get("Content-Type", ""))
    if kind not in {JSON, "application/json"}:
        return None
    try:
        document: Any = orjson.loads(answer)
        return json_row(document[0] if isinstance(document, list) and document else document)
    except (orjson.JSONDecodeError, DatasetError, LimitExceeded):
        return None


def _items(told: Row, sequence: str) -> list[Row]:
    found = told.get(sequence, {})
    return list(found.get("Value") or ()) if found.get("vr") == "SQ" else []


def _item(told: Row, sequence: str, uid: str) -> Row | None:
    """Return what is said of an instance."""
    return next((item for item in _items(told, sequence) if item.get(INSTANCE, {}).get("Value") == [uid]), None)


def _number(item: Row, tag: str) -> int:
    values = item.get(tag, {}).get("Value") or [0]
    return values[0] if isinstance(values[0], int) and 0 <= values[0] <= 0xFFFF else 0
