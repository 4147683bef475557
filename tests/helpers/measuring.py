"""Measuring without a program that measures, for tests of the measure lane."""

from __future__ import annotations

from collections.abc import Callable

from core.service.domain.manifest import metrics_key
from core.service.domain.schema import (
    JobError,
    JobMetrics,
    JobRecord,
    MeasuredVideo,
    MetricValue,
)
from tests.helpers.fake_world import JOB, World
from worker.lanes.lane import Outcome
from worker.lanes.measure import Measurer
from worker.measuring.child import Measured
from worker.measuring.request import MeasureRequest


def measured_video(num_frames: int = 40) -> MeasuredVideo:
    scuts = MetricValue(value=0, title="SCuts", meaning="Number of hard cuts.", better="lower")
    return MeasuredVideo(num_frames=num_frames, flow="dis", values={"scuts": scuts}, curves={}, notes=("a note",))


class FakeMeasure:
    """A Measure that keeps what it was given, and calls `during` in the midst of its work."""

    def __init__(self, during: Callable[[], object] = lambda: None) -> None:
        self.sizes = list[dict[str, int]]()
        self.requests = list[MeasureRequest]()
        self._during = during

    def __call__(self, request: MeasureRequest, check: Callable[[], None]) -> Measured:
        self.requests.append(request)
        self.sizes.append({variant: file.stat().st_size for variant, file in request.videos.items()})
        self._during()
        check()
        return dict.fromkeys(request.videos, measured_video())


def fails_with(error: Exception) -> FakeMeasure:
    def fail() -> None:
        raise error

    return FakeMeasure(fail)


def ended(world: World, *, measure: bool = True, **changes: object) -> JobRecord:
    """A job that has succeeded, with the message of its measuring."""
    world.submit(JOB, measure=measure, **changes)
    world.work(world.maker())
    return world.store.get(JOB)


def measure(world: World, fake: FakeMeasure | None = None) -> Outcome:
    return Measurer(world.services("cpu-1"), fake or FakeMeasure()).work()


def stored(world: World, generation: int = 0) -> JobMetrics:
    return JobMetrics.model_validate_json(world.storage.objects[metrics_key(JOB, generation)])


def error_of(world: World) -> JobError:
    """Why the job could not be measured."""
    measurement = world.store.get(JOB).measurement
    assert measurement is not None
    assert measurement.error is not None
    return measurement.error
