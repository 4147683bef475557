"""What this machine offers to servers: ports of the loopback interface, and folders with enough disk space."""

from __future__ import annotations

import random
import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from core.service.domain.errors import SetupError

LOOPBACK = "127.0.0.1"
MIN_FREE_BYTES = 64 * 2**20
"""With less free disk nothing is started: a full disk in the middle of a job is worse."""
OWN_PORTS = range(20_000, 32_768)
"""Below what Linux (32768), macOS and IANA (49152) give to outgoing connections."""


def free_port() -> int:
    """A TCP port of the loopback interface that is free now, and given to no other caller while this process lives.

    It is outside the range that the kernel gives to outgoing connections: one of those could take it before its server
    starts, or while it restarts. Raises SetupError.
    """
    for port in random.sample(OWN_PORTS, len(OWN_PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind((LOOPBACK, port))
            _keep(port)
            return port
    raise SetupError(f"No port from {OWN_PORTS[0]} to {OWN_PORTS[-1]} of {LOOPBACK} is free.")


def _keep(port: int) -> None:
    """Mark a port as given, also to other processes: the UDP port of its number stays bound until this one ends. The
    TCP port itself must stay free for its server. Raises OSError if it is marked already."""
    with socket.socket(type=socket.SOCK_DGRAM) as mark:
        mark.bind((LOOPBACK, port))
        mark.detach()


def bind_error(host: str, port: int) -> str | None:
    """Why no server can listen on host:port; None if one can."""
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT from the run before is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def accepts_connections(port: int) -> bool:
    """Whether a server listens on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def prepare_folder(path: Path, min_free_bytes: int = MIN_FREE_BYTES) -> Path:
    """Make `path` a writable folder; its absolute path. Raises SetupError if that fails or the disk is full."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{secrets.token_hex(4)}"
        probe.write_bytes(b"longtake")
        probe.unlink()
        free_bytes = shutil.disk_usage(path).free
    except OSError as error:
        raise SetupError(f"The folder {path} cannot be written: {error.strerror}.") from error
    if free_bytes < min_free_bytes:
        raise SetupError(
            f"The disk of {path} is full: {free_bytes / 2**20:.0f} MB free, {min_free_bytes / 2**20:.0f} needed."
        )
    return path.resolve()
