"""The engine port: requests that share a batch do not affect one another."""

from __future__ import annotations

import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, ChunkRequest, EngineChunk
from core.service.domain.errors import Interrupted
from core.service.testing.engines import FakeEngine
from tests.helpers.jobs import job_spec


def test_one_jobs_interruption_is_not_anothers() -> None:
    def stop(_step: int, _steps: int) -> None:
        raise Interrupted("canceled")

    engine, specs = FakeEngine(), [job_spec(seed=seed) for seed in range(3)]
    states = [engine.start(spec, NO_INPUT_MEDIA) for spec in specs]
    first, second = ChunkRequest(specs[0], states[0]), ChunkRequest(specs[2], states[2])
    results = engine.next_chunks([first, ChunkRequest(specs[1], states[1], stop), second])

    assert isinstance(results[1], Interrupted)
    for result, request in ((results[0], first), (results[2], second)):
        assert isinstance(result, EngineChunk)
        alone = engine.next_chunk(request.spec, request.state, request.on_step)
        assert result.frames.tobytes() == alone.frames.tobytes()


def test_what_ends_the_process_is_not_held_back() -> None:
    def end(_step: int, _steps: int) -> None:
        raise KeyboardInterrupt

    engine = FakeEngine()
    with pytest.raises(KeyboardInterrupt):
        engine.next_chunks([ChunkRequest(job_spec(), engine.start(job_spec(), NO_INPUT_MEDIA), end)])
