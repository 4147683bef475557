"""Ports that this machine has to give."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from cli.processes import machine
from cli.processes.machine import LOOPBACK, bind_error, free_port
from core.service.domain.errors import SetupError

CHOOSE = """
from cli.processes import machine
machine.OWN_PORTS = range({start}, {stop})
print(machine.free_port(), flush=True)
input()
"""


def is_free(port: int) -> bool:
    """Neither used nor given."""
    with socket.socket(type=socket.SOCK_DGRAM) as mark, suppress(OSError):
        mark.bind((LOOPBACK, port))
        return bind_error(LOOPBACK, port) is None
    return False


@pytest.fixture
def two_ports(monkeypatch: pytest.MonkeyPatch) -> range:
    """All that this machine has."""
    ports = next(ports for start in machine.OWN_PORTS if all(map(is_free, ports := range(start, start + 2))))
    monkeypatch.setattr(machine, "OWN_PORTS", ports)
    return ports


def test_a_port_is_given_once_and_stays_free_for_its_server(two_ports: range) -> None:
    assert {free_port(), free_port()} == {*two_ports}
    assert [bind_error(LOOPBACK, port) for port in two_ports] == [None, None]
    with pytest.raises(SetupError, match=r"No port from \d+ to \d+ of 127.0.0.1 is free"):
        free_port()


def test_two_processes_are_never_given_the_same_port(two_ports: range) -> None:
    program = [sys.executable, "-c", CHOOSE.format(start=two_ports.start, stop=two_ports.stop)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        given = int(other.stdout.readline())
        assert {free_port()} == {*two_ports} - {given}
        other.communicate("\n")
    with socket.socket(type=socket.SOCK_DGRAM) as freed:
        freed.bind((LOOPBACK, given))
