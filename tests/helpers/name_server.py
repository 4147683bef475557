"""A DNS server on a loopback address, and how a process is made to ask it: names with a label `pit` are
never answered, those below `good.example` are public, below `here.example` this machine, all others do not exist.

Needs root on Linux: port 53, and a mount namespace in which /etc/resolv.conf is another file.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PIT, PUBLIC, HERE = "pit", "good.example", "here.example"
PUBLIC_ADDRESS, LOOPBACK = "8.8.8.8", "127.0.0.1"
SERVER_ADDRESS = f"127.53.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"
"""One of this process alone: the port must be 53, and test processes run side by side."""
_OPTIONS = "timeout:30 attempts:5"
"""The most that resolv.conf(5) allows: a look-up without an answer hangs for minutes, far longer than tests wait."""
_TYPE_A, _NO_ERROR, _NO_SUCH_NAME = 1, 0x8180, 0x8183


def reason_to_skip() -> str | None:
    """Why this machine cannot run such a server; None where it can."""
    if os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "a name server on port 53 needs root"
    if shutil.which("unshare") is None:
        return "there is no unshare"
    # The command is fixed, and found on PATH by intention.
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)  # noqa: S607
    return None if tried.returncode == 0 else "this machine allows no mount namespaces"


def launcher(folder: Path) -> Sequence[str]:
    """What to write before a command, so that it asks the server of `serving_names` for names."""
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {SERVER_ADDRESS}\noptions {_OPTIONS}\n")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(file)]


@contextmanager
def serving_names() -> Generator[list[str]]:
    """Runs the server. The names that it was asked for."""
    asked, stop = list[str](), threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((SERVER_ADDRESS, 53))
        server.settimeout(0.1)
        serving = threading.Thread(target=_serve, args=(server, asked, stop))
        serving.start()
        try:
            yield asked
        finally:
            stop.set()
            serving.join()


def _serve(server: socket.socket, asked: list[str], stop: threading.Event) -> None:
    while not stop.is_set():
        with suppress(TimeoutError):
            query, client = server.recvfrom(4096)
            name, end = _name(query)
            asked.append(name)
            if PIT not in name.split("."):
                server.sendto(_answer(query, name, end), client)


def _name(query: bytes) -> tuple[str, int]:
    """The name that is asked for (RFC 1035, 4.1.2), and where it ends."""
    labels, at = list[str](), 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii"))
        at += 1 + query[at]
    return ".".join(labels).lower(), at + 1


def _answer(query: bytes, name: str, end: int) -> bytes:
    addresses = {PUBLIC: PUBLIC_ADDRESS, HERE: LOOPBACK}
    address = next((address for suffix, address in addresses.items() if name.endswith(suffix)), None)
    question = query[12 : end + 4]
    is_a = struct.unpack(">H", query[end : end + 2])[0] == _TYPE_A
    has_one = address is not None and is_a
    flags = _NO_SUCH_NAME if address is None else _NO_ERROR
    head = query[:2] + struct.pack(">HHHHH", flags, 1, int(has_one), 0, 0)
    if not has_one:
        return head + question
    # A pointer to the name in the question, type A, class IN, 0 seconds to live.
    return head + question + struct.pack(">HHHIH", 0xC00C, _TYPE_A, 1, 0, 4) + socket.inet_aton(str(address))
