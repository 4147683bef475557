"""The picture of `longtake status`: readable at 80 columns, and names of others are text, not markup."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from api.http.examples import STATUS_EXAMPLE
from cli.output.live_status import PIPE_WIDTH, StatusScreen
from cli.output.status_table import Outage, Picture
from cli.output.status_text import duration
from client import ApiUnreachable, Forbidden, ServiceStatus

URL = "http://127.0.0.1:8000"
WORKER: dict[str, Any] = STATUS_EXAMPLE["workers"][0]
QUEUE: dict[str, Any] = STATUS_EXAMPLE["queues"][0]
RATE: dict[str, Any] = STATUS_EXAMPLE["rates"][0]
HOSTILE = "[bold red]loud[/] \x1b[2J:smiley: [link=http://evil.test]x[/link]"


def status(**changes: Any) -> ServiceStatus:
    return ServiceStatus.model_validate({**STATUS_EXAMPLE, "paused": [], **changes})


def drawn(shown: ServiceStatus, width: int = 80, outage: Outage | None = None) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    console.print(Picture(shown, URL, outage))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def section(lines: list[str], heading: str) -> list[str]:
    """The lines below a heading, up to the next empty one."""
    (start,) = [at for at, line in enumerate(lines) if line.startswith(heading)]
    return lines[start + 1 : [*lines, ""].index("", start)]


@pytest.mark.parametrize("width", [80, 120])
def test_each_thing_has_a_line(width: int) -> None:
    lines = drawn(status(), width)
    assert max(map(len, lines)) <= width
    assert section(lines, "Workers")[1].split() == [
        *("sprites-0-4711@gpu-1", "busy", "job_k3mq5w7zr2ay4n6c5bqd", "generate", "3", "(2/6)", "0.4", "s")
    ]
    assert section(lines, "Queues")[1].split() == [
        *("sprites", "0", "12", "3", "15", "1", "42", "s", "53", "s", "1", "1", "1")
    ]
    assert section(lines, "Rates")[1].split() == ["sprites", "generate", "1.81", "28.9", "3.61"]
    assert "Jobs: 15 queued, 1 running, 120 succeeded, 1 failed, 4 canceled" in lines
    assert not [line for line in lines if line.startswith("!")]


@pytest.mark.parametrize("state", ["busy", "starting", "ready"])
def test_a_worker_with_a_long_name_has_one_line_with_both_ends_of_it(state: str) -> None:
    name = "streaming-t2v-refine-3-128834@gpu-node-17.cluster.example.internal"
    making = WORKER["making"] if state == "busy" else []
    worker = {**WORKER, "name": name, "state": state, "making": making, "reason": "loading " * 20}
    lines = drawn(status(workers=[worker]))
    (row,) = section(lines, "Workers")[1:]
    shown = row.split()[0]
    first, last = shown.split("\N{HORIZONTAL ELLIPSIS}")
    assert name.startswith(first)
    assert name.endswith(last)
    assert min(len(first), len(last)) >= 5
    assert row.split()[1] == state
    if state == "busy":
        assert row.split()[2:] == ["job_k3mq5w7zr2ay4n6c5bqd", "generate", "3", "(2/6)", "0.4", "s"]
    assert max(map(len, lines)) <= 80


def test_names_of_others_are_no_markup_and_no_control_codes() -> None:
    shown = status(
        workers=[{**WORKER, "name": HOSTILE, "state": "not_ready", "reason": HOSTILE, "making": []}],
        queues=[{**QUEUE, "pool": HOSTILE, "unserved": ["generate"]}],
        rates=[{**RATE, "model": HOSTILE}],
        paused=[{"model": HOSTILE, "worker": None, "since": "2026-01-02T03:00:00Z"}],
    )
    lines = drawn(shown, 400)
    text = "\n".join(lines)
    assert "\x1b" not in text
    literal = HOSTILE.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    assert text.count(literal) == 9  # whole in each place that names it


def test_what_is_paused_is_at_the_top_with_what_resumes_it() -> None:
    since = {"since": "2026-01-02T03:00:00Z"}
    lines = drawn(
        status(
            paused=[
                {"model": None, "worker": None, **since},
                {"model": "sprites", "worker": None, **since},
                {"model": None, "worker": "sprites-0@gpu-1", **since},
            ]
        ),
        160,
    )
    assert lines[1:4] == [
        "! everything is paused since 2026-01-02 03:00 UTC: `longtake resume` lets it go on",
        "! model sprites is paused since 2026-01-02 03:00 UTC: `longtake resume --model sprites` lets it go on",
        "! worker sprites-0@gpu-1 is paused since 2026-01-02 03:00 UTC: `longtake resume --worker sprites-0@gpu-1` "
        "lets it go on",
    ]


def test_a_pause_is_seen_on_a_terminal() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system="standard", markup=False)
    console.print(Picture(status(paused=[{"model": None, "worker": None, "since": "2026-01-02T03:00:00Z"}]), URL))
    assert "\x1b[1;33m! everything is paused" in stream.getvalue()


@pytest.mark.parametrize(
    ("pool", "lane", "fix"),
    [("sprites", "refine", "longtake worker --model sprites"), ("prepare", "prepare", "longtake worker --kind cpu")],
)
def test_work_that_no_worker_can_take_is_at_the_top(pool: str, lane: str, fix: str) -> None:
    line = drawn(status(queues=[{**QUEUE, "pool": pool, "unserved": [lane]}]), 160)[1]
    assert line.startswith(f"! {lane} of ")
    assert line.endswith(f"waits, and no worker can take it: start `{fix}`")


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"paused": True}, "pausing"),
        ({"paused": True, "state": "ready", "making": []}, "paused"),
        ({"paused": True, "state": "starting", "making": []}, "starting"),
        ({"state": "not_ready", "making": []}, "not ready"),
        ({"state": "ready", "kind": "cpu", "model": None}, "busy"),
    ],
)
def test_states_of_workers(changes: dict[str, Any], state: str) -> None:
    row = section(drawn(status(workers=[{**WORKER, **changes}]), 120), "Workers")[1]
    assert row.removeprefix("sprites-0-4711@gpu-1 ").startswith(f"{state} " if "making" not in changes else state)


def test_a_cpu_worker_has_a_line_for_each_piece() -> None:
    pieces = [
        {**WORKER["making"][0], "job_id": f"job_{lane}", "lane": lane, "chunk": None, "step": None}
        for lane in ("prepare", "finalize")
    ]
    rows = section(drawn(status(workers=[{**WORKER, "kind": "cpu", "making": pieces}])), "Workers")[1:]
    assert [row.split()[-4:-2] for row in rows] == [["job_prepare", "prepare"], ["job_finalize", "finalize"]]


def test_an_idle_service_says_so() -> None:
    text = "\n".join(drawn(status(workers=[], queues=[], rates=[], jobs={})))
    for words in ("none is running", "no work and no worker", "nothing was committed", "Jobs: none"):
        assert words in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (172_800, "2 d")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def following(*answers: ServiceStatus | Exception) -> tuple[Callable[[], ServiceStatus], Callable[[float], None]]:
    """What is read one after the other, and a sleep that ends with Ctrl-C after the last one."""
    left = list(answers)

    def read() -> ServiceStatus:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(_seconds: float) -> None:
        if not left:
            raise KeyboardInterrupt

    return read, sleep


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_the_table_stays_while_the_api_is_away_and_says_since_when(terminal: Terminal) -> None:
    away = ApiUnreachable("connection refused")
    read, sleep = following(status(), away, away, status(webhooks_pending=7))
    times = iter(datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC) for second in range(60))
    StatusScreen(URL, terminal, sleep, lambda: next(times)).follow(read, 2.0)
    frames = terminal.getvalue().split("Longtake")
    outages = ["! the API has not answered since 03:04:00 UTC: connection refused" in frame for frame in frames[2:4]]
    assert outages == [True, True]
    assert all("sprites-0-4711@gpu-1" in frame for frame in frames[1:])
    assert "Webhooks to be sent: 7" in frames[4]
    assert "has not answered" not in frames[4]


def test_a_refusal_ends_the_table(terminal: Terminal) -> None:
    read, sleep = following(status(), Forbidden("the key was revoked", status=403))
    with pytest.raises(Forbidden):
        StatusScreen(URL, terminal, sleep).follow(read, 2.0)


def test_without_a_first_answer_there_is_no_table(terminal: Terminal) -> None:
    read, sleep = following(ApiUnreachable("connection refused"))
    with pytest.raises(ApiUnreachable):
        StatusScreen(URL, terminal, sleep).follow(read, 2.0)
    assert terminal.getvalue() == ""


def test_a_pipe_gets_wide_lines_without_control_codes() -> None:
    stream = io.StringIO()
    screen = StatusScreen(URL, stream)
    screen.show(status(workers=[{**WORKER, "name": "n" * 90}]))
    assert not screen.interactive
    assert "\x1b" not in stream.getvalue()
    assert "n" * 90 in stream.getvalue()
    assert max(map(len, stream.getvalue().splitlines())) <= PIPE_WIDTH


def rack() -> list[dict[str, Any]]:
    """42 workers in the order of their names, of which 24 are ready."""
    busy = [{"state": "busy"}] * 12
    waiting = [{"state": "ready", "making": []}] * 24
    paused = [{"state": "ready", "paused": True, "making": []}] * 5
    broken = [{"state": "not_ready", "reason": "the GPU fails", "making": []}]
    changes = [*busy, *waiting, *paused, *broken]
    return [{**WORKER, "name": f"sprites-{at:02}-4711@gpu-{at // 8}", **each} for at, each in enumerate(changes)]


def on_a_terminal(shown: ServiceStatus, height: int = 24, outage: Outage | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=80, height=height, highlight=False, markup=False, emoji=False)
    return [
        "".join(segment.text for segment in line).rstrip()
        for line in console.render_lines(Picture(shown, URL, outage, fitted=True), pad=False)
    ]


@pytest.mark.parametrize("height", [24, 30, 40])
def test_a_rack_fits_the_terminal_with_queues_rates_and_totals(height: int) -> None:
    lines = on_a_terminal(status(workers=rack()), height)
    assert len(lines) == height
    headings = [line.split()[0] for line in lines if line.split() and line.split()[0] in {"Queues", "Rates", "Workers"}]
    assert headings == ["Queues", "Rates", "Workers"]
    assert "Webhooks to be sent: 0" in "\n".join(lines)


def test_the_workers_that_need_somebody_come_first_and_the_others_are_counted() -> None:
    header, *rows, others = section(on_a_terminal(status(workers=rack()), 35), "Workers")
    assert header.split()[0] == "name"
    states = ["paused" if "paused" in row else "not ready" if "not ready" in row else "busy" for row in rows]
    assert states == ["not ready", *["paused"] * 5, *["busy"] * 12]
    assert others == "and 24 more: 24 ready"


def test_workers_that_all_fit_keep_their_order() -> None:
    rows = section(on_a_terminal(status(workers=rack()), 100), "Workers")[1:]
    assert [row.split()[0] for row in rows] == [worker["name"] for worker in rack()]


def test_a_terminal_without_room_for_workers_has_their_number() -> None:
    lines = on_a_terminal(status(workers=rack()), 10)
    assert lines[-1] == "1 not ready, 5 paused, 12 busy, 24 ready"


def test_what_needs_somebody_leaves_room_for_the_rest_of_the_terminal() -> None:
    broken = [{**worker, "state": "not_ready", "reason": "no GPU", "making": []} for worker in rack()]
    lines = on_a_terminal(status(workers=broken))
    needs = [line for line in lines if line.startswith("!")]
    assert len(needs) == 24 // 4 + 1
    assert needs[-1].startswith("! and 36 more: ")
    assert len(lines) == 24
    assert lines[-1].startswith("and ")


def test_the_pieces_of_a_cpu_worker_have_one_line_where_there_is_no_room() -> None:
    piece = {**WORKER["making"][0], "job_id": "job_a", "lane": "prepare", "chunk": None, "step": None}
    lines = on_a_terminal(status(workers=[{**WORKER, "kind": "cpu", "making": [piece] * 32}]))
    (row,) = section(lines, "Workers")[1:]
    assert row.split()[1:] == ["busy", "job_a", "prepare", "+31", "0.4", "s"]


def test_one_picture_has_all_workers() -> None:
    assert len(section(drawn(status(workers=rack())), "Workers")) == 1 + 42
