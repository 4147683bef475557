"""`longtake status` and a pause, on real processes: the chunk in work is committed, nothing new begins, all shown."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from core.service.domain.schema import JobStatus
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.service import Service, running_service

STEPS, STEP_SECONDS = 20, 0.25
PASSES_SECONDS = 3.0
"""Several passes of the janitor, each of which wakes the worker for the job that waits."""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    presets = tmp_path / "presets"
    write_fake_preset(presets, "slow", steps=STEPS, step_seconds=STEP_SECONDS)
    with running_service(tmp_path, presets, default_model="slow") as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("LONGTAKE_URL", f"http://127.0.0.1:{service.api_port}")
        yield service


class Operator:
    """Somebody who types commands."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def types(self, *words: str, code: int = 0) -> str:
        """What a command prints."""
        assert main([*words]) == code
        printed = self._capsys.readouterr()
        return printed.out + printed.err

    def status(self) -> dict[str, Any]:
        return json.loads(self.types("status", "--json"))

    def worker(self) -> dict[str, Any]:
        (worker,) = [each for each in self.status()["workers"] if each["model"] == "slow"]
        return worker


def test_a_pause_lets_the_chunk_in_work_be_committed_and_nothing_new_begin(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = Operator(capsys)
    job = service.submit(model="slow", num_frames=48)
    assert operator.status()["queues"][0]["unserved"] == ["generate"]
    assert "generate of slow waits, and no worker can take it" in operator.types("status")
    service.start_workers("slow")
    operator.types("pause", "--model", "slwo", code=1)

    def making() -> dict[str, Any] | None:
        pieces = operator.worker()["making"]
        return pieces[0] if pieces and pieces[0]["step"] else None

    piece = eventually(making, "a step of the first chunk", seconds=60)
    assert (piece["job_id"], piece["lane"], piece["chunk"], piece["steps"]) == (job.id, "generate", 0, STEPS)
    operator.types("pause")
    waiting = service.submit(model="slow", num_frames=16)
    eventually(lambda: not operator.worker()["making"], "the chunk in work to be committed", seconds=60)
    made = service.job(job.id)
    assert (made.status, len(made.chunks)) == (JobStatus.RUNNING, 1)

    until = time.monotonic() + PASSES_SECONDS
    eventually(lambda: time.monotonic() > until, "some passes of the janitor")
    status = operator.status()
    (worker,) = [each for each in status["workers"] if each["model"] == "slow"]
    assert (worker["paused"], worker["state"], worker["making"]) == (True, "ready", [])
    assert [(pause["model"], pause["worker"]) for pause in status["paused"]] == [(None, None)]
    (queue,) = [each for each in status["queues"] if each["pool"] == "slow"]
    assert (queue["waiting"]["normal"], queue["active_workers"], queue["workers"], queue["unserved"]) == (2, 0, 1, [])
    assert "everything is paused" in operator.types("status", "--once")
    ready = service.http.get("/readyz")
    assert (ready.status_code, ready.json()["paused"]) == (200, True)
    assert service.job(job.id).chunks == made.chunks
    assert service.job(waiting.id).status is JobStatus.QUEUED

    operator.types("resume")
    ended = [service.wait_for_success(each.id) for each in (job, waiting)]
    assert [len(each.chunks) for each in ended] == [3, 1]
    assert ended[0].chunks[0].sha256 == made.chunks[0].sha256
    after = operator.status()
    assert after["paused"] == []
    assert after["jobs"]["succeeded"] == 2
    assert {rate["model"] for rate in after["rates"]} == {"slow"}
