"""A closed-loop HTTP/1.1 load generator that costs next to no CPU: one epoll loop, one request at a time each.

Run as ``python -m tests.bench.load PORT ACCEPT CONNECTIONS SECONDS PATH ...``; it prints requests per second. The
paths are asked for in turn, with the Authorization field of the environment variable AUTHORIZATION if there is one.
"""

import itertools
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator

HEADER_END = b"\r\n\r\n"


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int, requests: Iterator[bytes]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = requests
        self._received = b""

    def ask(self) -> None:
        self._received = b""
        self.socket.sendall(next(self._requests))

    def answered(self) -> bool:
        """Read what is there and return whether the response is complete; anything but 200 raises."""
        piece = self.socket.recv(262_144)
        if not piece:
            raise ConnectionError("the server closed the connection")
        self._received += piece
        if not is_complete(self._received):
            return False
        if not self._received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(self._received[:400].decode(errors="replace"))
        return True


def is_complete(response: bytes) -> bool:
    end = response.find(HEADER_END)
    if end < 0:
        return False
    head = response[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        return response.endswith(b"0\r\n\r\n")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0])
    return len(response) >= end + len(HEADER_END) + length


def measure(port: int, accept: str, connections: int, seconds: float, paths: list[str]) -> float:
    """Return the responses per second that the server gives over this many connections."""
    authorization = os.environ.get("AUTHORIZATION", "")
    who = f"Authorization: {authorization}\r\n" if authorization else ""
    host = f"Host: 127.0.0.1:{port}\r\nAccept: {accept}\r\n{who}\r\n"
    requests = itertools.cycle([f"GET {path} HTTP/1.1\r\n{host}".encode() for path in paths])
    count = 0
    with selectors.DefaultSelector() as selector:
        clients = [Client(port, requests) for _ in range(connections)]
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.ask()
        start = time.perf_counter()
        end = start + seconds
        while (now := time.perf_counter()) < end:
            for key, _ in selector.select(30):
                if key.data.answered():
                    count += 1
                    key.data.ask()
        for client in clients:
            client.socket.close()
    return count / (now - start)


if __name__ == "__main__":
    print(measure(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]))
