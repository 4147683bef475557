"""`longtake up` restarts each of its processes that is killed and reports it; jobs continue and end.

One `up` for all kills, as it would run for weeks. The engine is the fake one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.helpers.command_line import Running, running
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset

PARTS = {
    "Redis": "-server ",
    "The S3 server": "serve s3",
    "The API": "api.server",
    "The CPU worker": "--kind cpu",
    "The generation worker": "--kind both",
}
"""What each part is called, and a piece of its command line that no other has."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("up")
    write_fake_preset(folder / "presets", "slow", steps=10, step_seconds=0.1)
    command = ["up", "--port", "0", "--model", "slow", "--data", "data"]
    quick = {"LONGTAKE_LEASE_TTL_SECONDS": "3", "LONGTAKE_JANITOR_INTERVAL_SECONDS": "0.5"}
    with running(command, folder / "presets", folder, **quick) as up:
        up.wait_for_line("ready:")
        yield up


@pytest.fixture
def client(up: Running) -> Iterator[httpx.Client]:
    url = up.wait_for_line("ready:").split()[1]
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


def submit(client: httpx.Client) -> str | None:
    """The new job's id; None where the service does not take it at the moment."""
    try:
        answer = client.post("/jobs", json={"prompt": "a red square", "num_frames": 48})
    except httpx.TransportError:
        return None
    return str(answer.json()["id"]) if answer.status_code == 202 else None


def status(client: httpx.Client, job_id: str) -> str | None:
    try:
        answer = client.get(f"/jobs/{job_id}")
    except httpx.TransportError:
        return None
    return str(answer.json()["status"]) if answer.is_success else None


def parts_with(up: Running, piece: str) -> list[psutil.Process]:
    return [part for part in psutil.Process(up.process.pid).children() if piece in " ".join(part.cmdline())]


def part_of(up: Running, piece: str) -> psutil.Process:
    (found,) = parts_with(up, piece)
    return found


def serving_keys(up: Running) -> tuple[list[str], list[str]]:
    """Redis with its port, and the S3 server with its arguments and keys: what the others' settings name."""
    s3 = part_of(up, PARTS["The S3 server"])
    return part_of(up, PARTS["Redis"]).cmdline(), [*s3.cmdline(), s3.environ()["RCLONE_AUTH_KEY"]]


@pytest.mark.parametrize("name", PARTS)
def test_a_killed_part_is_started_again_and_jobs_continue_and_end(name: str, up: Running, client: httpx.Client) -> None:
    told, before = up.output.count(f"{name} was started again"), serving_keys(up)
    job_id = eventually(lambda: submit(client), "a job to be taken")
    eventually(lambda: status(client, job_id) == "running", "the job to be in work")

    part_of(up, PARTS[name]).kill()

    eventually(lambda: up.output.count(f"{name} was started again") == told + 1, f"{name} to be started again")
    eventually(lambda: status(client, job_id) == "succeeded", "the job in work to go on and end", seconds=120)
    next_id = eventually(lambda: submit(client), "a new job to be taken")
    eventually(lambda: status(client, next_id) == "succeeded", "the new job to end", seconds=120)
    assert re.search(rf"(?m)^{name} ended \(signal 9\), starting it again in 1 s$", up.output)
    assert serving_keys(up) == before
    assert "Traceback" not in up.output


def pauses(up: Running, name: str) -> list[int]:
    """Seconds said after each end of a part so far."""
    return [
        int(seconds) for seconds in re.findall(rf"(?m)^{name} ended \(.*\), starting it again in (\d+) s$", up.output)
    ]


def test_a_part_that_keeps_dying_is_started_again_after_longer_pauses(up: Running) -> None:
    name = "The CPU worker"
    for _ in range(2):
        before = pauses(up, name)
        eventually(lambda: parts_with(up, PARTS[name]) or None, f"{name} to run")
        part_of(up, PARTS[name]).kill()
        eventually(lambda before=before: len(pauses(up, name)) > len(before), "its end to be said")

    assert pauses(up, name)[-1] == 2 * pauses(up, name)[-2]


def test_ctrl_c_stops_everything_in_order_after_many_restarts(up: Running) -> None:
    up.interrupt()

    assert up.wait(60) == 0
    assert up.left_behind() == []
    assert up.output.splitlines()[-1].startswith("stopped: every process has ended")
