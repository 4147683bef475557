"""Arguments of a worker process. Running ones are in tests/integration."""

from __future__ import annotations

import pytest

from core.service.settings import Settings
from worker.options import read_options


def test_a_generation_process_is_named_after_its_model_slot_and_pid() -> None:
    options = read_options(["--kind", "generate", "--model", "fake", "--slot", "1", "--parent-pid", "7"], Settings())
    assert (options.kind, options.model, options.parent_pid) == ("generate", "fake", 7)
    assert options.name.startswith("fake-1-")
    assert "@" in options.name


def test_the_default_model_is_the_deployments() -> None:
    assert read_options(["--kind", "generate"], Settings(default_model="mine")).model == "mine"


@pytest.mark.parametrize(("kind", "begins"), [("both", "fake-1-"), ("refine", "fake-refine-1-"), ("cpu", "cpu-1-")])
def test_a_process_is_named_after_what_it_does(kind: str, begins: str) -> None:
    assert read_options(["--kind", kind, "--model", "fake", "--slot", "1"], Settings()).name.startswith(begins)
