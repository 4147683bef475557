"""When a queued job will be ready: its wait, and its own work at the speed of chunks made lately."""

from __future__ import annotations

from collections.abc import Mapping

from api.routes.answers import progress_now
from core.service.domain.ports import LiveStatus, SpeedOf
from core.service.domain.schema import JobStatus
from tests.helpers.jobs import queued_job

SPEEDS: dict[SpeedOf, float] = {"first": 1.0, "next": 0.5}


def test_of_a_queued_job_wait_and_work_count_and_of_no_other_anything_is_asked() -> None:
    asked = list[str]()

    def speeds_of(model: str) -> Mapping[SpeedOf, float]:
        asked.append(model)
        return SPEEDS

    waiting = queued_job(num_frames=48, num_inference_steps=4)
    queued = progress_now(speeds_of, waiting, LiveStatus(queue_position=2, wait_seconds=30.0))
    assert (queued.starts_in_seconds, queued.eta_seconds) == (30.0, 30.0 + 4.0 + 2 * 2.0)
    assert asked == [waiting.spec.model]
    running = waiting.model_copy(update={"status": JobStatus.RUNNING})
    progress_now(speeds_of, running, LiveStatus(wait_seconds=30.0))
    progress_now(speeds_of, waiting, LiveStatus(queue_position=2))
    assert asked == [waiting.spec.model]
