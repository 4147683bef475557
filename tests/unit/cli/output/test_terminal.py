"""Output: plain lines if the stream is no terminal, whole URLs always."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import pytest

from cli.output.summary import summarize
from cli.output.terminal import Screen
from core.service.domain.schema import JobStatus
from tests.helpers.shown_jobs import MakeJob, shown_chunks


def clock(step_seconds: float) -> Callable[[], float]:
    """A clock that moves on by `step_seconds` with each look."""
    times = iter(range(1_000_000))
    return lambda: next(times) * step_seconds


def test_plain_output_has_no_control_codes_and_whole_urls(make_job: MakeJob) -> None:
    stream = io.StringIO()
    screen = Screen(stream, now=clock(1.0))
    ended = make_job(JobStatus.SUCCEEDED, 3)
    screen.show_job([make_job(step=1, steps=9), make_job(num_chunks=1), ended], partial(shown_chunks, ended))
    screen.show_summary(summarize(ended, shown_chunks(ended)))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert [chunk.url for chunk in shown_chunks(ended) if chunk.url not in text] == []


def test_plain_progress_comes_at_intervals_not_at_every_step(make_job: MakeJob) -> None:
    stream = io.StringIO()
    Screen(stream, now=clock(0.1)).show_job((make_job(step=n, steps=50) for n in range(1, 51)), lambda _: ())
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("progress")]
    assert 2 <= len(lines) <= 5


def test_the_summary_names_the_phases_and_their_shares(make_job: MakeJob) -> None:
    stream = io.StringIO()
    ended = make_job(JobStatus.SUCCEEDED, 3)
    Screen(stream).show_summary(summarize(ended, shown_chunks(ended)))
    rows = {line.split()[0]: line.split()[1:] for line in stream.getvalue().splitlines()}
    assert rows["denoise"] == ["9.00", "69.2%"]
    assert {"decode", "encode", "upload", "queue", "other"} <= set(rows)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_bar_moves_with_the_steps(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    later = make_job(num_chunks=2, step=5, steps=9)
    Screen(stream).show_job([make_job(step=1, steps=9), later], partial(shown_chunks, later))
    assert "\x1b" in stream.getvalue()
    assert "step 5/9  chunks 2/3  4.0 s playable" in stream.getvalue()
    assert shown_chunks(later)[1].url in stream.getvalue()
