"""Progress in pieces: plain lines now and then, a bar on a terminal."""

from __future__ import annotations

import io

import pytest

from cli.output.count_meter import count_meter
from tests.unit.cli.output.test_byte_meter import Terminal


def test_plain_lines_come_at_intervals_and_at_the_end() -> None:
    stream, times = io.StringIO(), iter(range(1000))
    with count_meter(stream, "measuring", "frames", 240, now=lambda: next(times) / 5) as advance:
        for _ in range(30):
            advance(8)
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= 3
    assert lines[-1] == "progress  measuring: 240/240 frames"
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with count_meter(stream, "measuring", "frames", 240) as advance:
        advance(120)
    assert "\x1b" in stream.getvalue()
    assert "120/240" in stream.getvalue()
