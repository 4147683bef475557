"""Connections whose buffers hold little, so that a server soon notices a client that does not read."""

from __future__ import annotations

import socket

_SMALLEST_SEGMENT = 536
"""Bytes; Linux sizes the sender's buffer by it: some 70 kB instead of megabytes."""
_SMALL_BUFFER = 4096


def slow_connection(port: int) -> socket.socket:
    """A connection to this port of the same machine."""
    connection = socket.socket()
    connection.settimeout(30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SMALLEST_SEGMENT)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
    connection.connect(("127.0.0.1", port))
    return connection
