"""`longtake_paused` in GET /metrics: what is paused, without names of workers."""

from __future__ import annotations

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from core.service.domain.ports import EVERYTHING, PauseTarget
from tests.helpers.api_world import World


def paused(world: World) -> dict[tuple[str, str], float]:
    """Value of each sample, by kind and model, as another process tells it."""
    with world.client() as api:
        text = api.get("/metrics").text
    (family,) = [each for each in text_string_to_metric_families(text) if each.name == "longtake_paused"]
    return {(sample.labels.pop("kind"), sample.labels.pop("model")): sample.value for sample in family.samples}


def test_without_a_pause_all_is_zero(world: World) -> None:
    assert paused(world) == {("all", ""): 0, ("model", "fake"): 0, ("worker", ""): 0}


def test_each_kind_of_pause_is_told_and_workers_are_counted(world: World) -> None:
    for target in (PauseTarget(model="far"), PauseTarget(worker="fake-0@gpu-1"), PauseTarget(worker="fake-1@gpu-1")):
        world.pauses.pause(target, world.clock.now())
    assert paused(world) == {("all", ""): 0, ("model", "fake"): 0, ("model", "far"): 1, ("worker", ""): 2}
    world.pauses.pause(EVERYTHING, world.clock.now())
    world.pauses.resume(PauseTarget(model="far"))
    assert paused(world) == {("all", ""): 1, ("model", "fake"): 0, ("worker", ""): 2}


def test_no_name_of_a_worker_is_a_label(world: World, api: TestClient) -> None:
    world.pauses.pause(PauseTarget(worker="fake-0-4711@gpu-1"), world.clock.now())
    assert "fake-0-4711" not in api.get("/metrics").text
