"""Ports that URLs of clients may have, as a setting: `80,443,8000-8999`, or `all`."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Port of a URL without a port, by scheme."""
DEFAULT_URL_PORTS = "80,443,8000-8999"
ALL_PORTS = "all"
MAX_PORT = 65535


@dataclass(frozen=True)
class UrlPorts:
    """Ranges of ports, both ends inclusive."""

    ranges: tuple[tuple[int, int], ...]

    @staticmethod
    def read(text: str) -> UrlPorts:
        """Parse the setting. Raises ValueError with a message for the operator."""
        if text.strip() == ALL_PORTS:
            return UrlPorts(((1, MAX_PORT),))
        return UrlPorts(tuple(_range(part.strip()) for part in text.split(",")))

    def __contains__(self, port: int) -> bool:
        return any(first <= port <= last for first, last in self.ranges)


def port_list(text: str) -> str:
    """Validator of settings: `text` unchanged if UrlPorts can parse it. Raises ValueError."""
    UrlPorts.read(text)
    return text


def _range(part: str) -> tuple[int, int]:
    first, dash, last = part.partition("-")
    try:
        ends = int(first), int(last if dash else first)
    except ValueError:
        ends = (0, 0)
    if not 1 <= ends[0] <= ends[1] <= MAX_PORT:
        raise ValueError(f"{part[:20]!r} is not a port or a range of ports; write {DEFAULT_URL_PORTS}, or {ALL_PORTS}")
    return ends
