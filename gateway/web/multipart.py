"""The frame of a multipart/related body (PS3.18 8.6.1.2, RFC 2387)."""

import secrets

CRLF = b"\r\n"


class MultipartRelated:
    """The delimiters and part heads of one body, with a boundary that no content can foresee.

    Attributes:
        content_type: the value of the Content-Type field.
    """

    def __init__(self, part_type: str) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f'multipart/related; type="{part_type}"; boundary={boundary}'
        self._delimiter = f"--{boundary}\r\n".encode()
        self._close = f"\r\n--{boundary}--\r\n".encode()
        self._parts = 0

    def part(self, content_type: str, location: str | None) -> bytes:
        """Return what stands before the content of the next part."""
        # OHIF's loader looks for the literal "Content-Type:", capitals included.
        head = [CRLF if self._parts else b"", self._delimiter, f"Content-Type: {content_type}\r\n".encode()]
        if location is not None:
            head.append(f"Content-Location: {location}\r\n".encode())
        self._parts += 1
        return b"".join((*head, CRLF))

    def close(self) -> bytes:
        """Return what ends the body; a body without it is incomplete."""
        return self._close
