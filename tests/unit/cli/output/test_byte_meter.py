"""Progress in bytes: plain lines now and then, a bar on a terminal."""

from __future__ import annotations

import io

import pytest

from cli.output.byte_meter import byte_meter


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_plain_lines_come_at_intervals_and_at_the_end() -> None:
    stream, times = io.StringIO(), iter(range(1000))
    with byte_meter(stream, now=lambda: next(times) / 5) as report:
        for done in range(1, 51):
            report("uploading clip.mp4", done * 1_000_000, 50_000_000)
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= 4
    assert lines[-1] == "progress  uploading clip.mp4: 50.0 MB of 50.0 MB"
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with byte_meter(stream) as report:
        report("uploading clip.mp4", 5_000_000, 50_000_000)
    assert "\x1b" in stream.getvalue()
    assert "uploading clip.mp4" in stream.getvalue()
