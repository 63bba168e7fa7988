"""The DICOM audit messages over syslog/TLS: RFC 5424 messages in RFC 5425 octet counting (PS3.15 A.6, A.7)."""

import asyncio
import fcntl
import os
import ssl
import struct
import termios
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from gateway.audit.chain import Entry
from gateway.audit.dicom_message import audit_messages
from gateway.audit.feed import FeedFailed
from gateway.audit.record import Outcome
from gateway.audit.source import AuditSource

SECURITY: Final = 10
"""Facility: security/authorization messages (RFC 5424 6.2.1)."""
NOTICE, WARNING = 5, 4
RESENT_SECONDS: Final = 10.0
"""Syslog acknowledges nothing: what was sent this shortly before a connection broke is sent again."""
_BOM: Final = b"\xef\xbb\xbf"


def frame(entry: Entry, message: str, host: str) -> bytes:
    """Make the octet-counted frame (RFC 5425 4.3) of one message."""
    severity = NOTICE if entry.record.outcome is Outcome.SUCCESS else WARNING
    head = f"<{SECURITY * 8 + severity}>1 {entry.at} {_printable(host)} gateway {os.getpid()} DICOM+RFC3881 - "
    body = head.encode("ascii") + _BOM + message.encode()
    return b"%d %b" % (len(body), body)


def _printable(host: str) -> str:
    """Return a HOSTNAME of PRINTUSASCII (RFC 5424 6)."""
    return "".join(x if "!" <= x <= "~" else "_" for x in host)[:255] or "-"


class SyslogReceiver:
    """An audit record repository that takes syslog over TLS."""

    name = "syslog"

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext, source: AuditSource, *, seconds: float = 10.0
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._source = source
        self._seconds = seconds
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._sent: deque[tuple[float, Entry]] = deque()

    async def send(self, batch: Sequence[Entry]) -> None:
        """Return when the receiver's host has acknowledged all bytes."""
        try:
            async with asyncio.timeout(self._seconds):
                again = [entry for _, entry in self._sent] if self._writer is None else []
                writer = self._writer or await self._connect()
                await self._write(writer, [*again, *batch])
        except TimeoutError:
            await self.aclose()
            raise FeedFailed(f"{self._where} does not answer within {self._seconds:g} s") from None
        except ssl.SSLError as error:
            await self.aclose()
            raise FeedFailed(
                f"{self._where}: TLS failed ({error.reason}): check audit.syslog_ca and the certificates"
            ) from error
        except OSError as error:
            await self.aclose()
            raise FeedFailed(f"{self._where} cannot be reached ({error.strerror or type(error).__name__})") from error
        self._remember(batch)

    async def aclose(self) -> None:
        """Close the connection."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await writer.wait_closed()

    @property
    def _where(self) -> str:
        return f"the syslog receiver {self._host}:{self._port}"

    async def _connect(self) -> asyncio.StreamWriter:
        self._reader, self._writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls, server_hostname=self._host
        )
        return self._writer

    async def _write(self, writer: asyncio.StreamWriter, batch: Sequence[Entry]) -> None:
        for entry in batch:
            for message in audit_messages(entry, self._source):
                writer.write(frame(entry, message, self._source.id))
                await writer.drain()
        while _unacknowledged(writer):  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)  # lets a close that has arrived be seen
        if self._reader is None or self._reader.at_eof():
            raise ConnectionResetError(0, "it closed the connection")

    def _remember(self, batch: Sequence[Entry]) -> None:
        now = time.monotonic()
        self._sent.extend((now, entry) for entry in batch)
        while self._sent and self._sent[0][0] < now - RESENT_SECONDS:
            self._sent.popleft()


def _unacknowledged(writer: asyncio.StreamWriter) -> bool:
    """Whether bytes are still on their way: in our buffers, or in the kernel's until the peer's TCP has them."""
    if writer.transport.get_write_buffer_size():
        return True
    socket = writer.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        raise ConnectionResetError(0, "the connection is gone")
    return bool(struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])
