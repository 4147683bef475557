"""A TCP server that gives every connection the same canned answer, or none."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

LOOPBACK = "127.0.0.1"
RESET = b"reset"
"""Instead of an answer: the connection is reset."""


def http_answer(status: int, body: str = "", *, length: int | None = None) -> bytes:
    """An HTTP answer; `length` announces another length than the body has."""
    announced = len(body) if length is None else length
    return f"HTTP/1.1 {status} Canned\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n{body}".encode()


def s3_error(status: int, code: str, message: str = "words") -> bytes:
    """A refusal as S3 servers give it."""
    return http_answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>")


@contextmanager
def answering(answer: bytes | None, *, hang_up: bool = True) -> Generator[int]:
    """A server that says `answer` to whatever comes and hangs up, or keeps the connection; None: it stays silent. Its
    port."""
    stop, held = threading.Event(), list[socket.socket]()
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(0.1)
        serving = threading.Thread(target=_serve, args=(listener, answer, hang_up, stop, held))
        serving.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            stop.set()
            serving.join()
            for connection in held:
                connection.close()


@contextmanager
def unreachable_port(address: str = LOOPBACK, port: int = 0) -> Generator[int]:
    """A port to which nobody gets connected: its queue is full, so the kernel drops whatever comes, as a black hole on
    the way would."""
    with socket.create_server((address, port), backlog=0) as listener:
        port = int(listener.getsockname()[1])
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((address, port))
            yield port
        finally:
            for filler in fillers:
                filler.close()


def _serve(
    listener: socket.socket,
    answer: bytes | None,
    hang_up: bool,
    stop: threading.Event,
    held: list[socket.socket],
) -> None:
    while not stop.is_set():
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            held.append(connection)
            if answer is not None:
                with suppress(OSError):
                    _give(connection, answer, hang_up)


def _give(connection: socket.socket, answer: bytes, hang_up: bool) -> None:
    connection.settimeout(30)
    received = connection.recv(65536)
    if b"Expect: 100-continue" in received:  # boto sends a body only when it is told to go on
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        received = connection.recv(65536)
    if answer == RESET:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        connection.sendall(answer)
        if not hang_up:
            return
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
    connection.close()
