"""What every engine promises (core/service/domain/engine.py), whatever its networks.

A module that wants it run has a class `Test...(EngineContract)` with the attributes below and a fixture `engine`, of
scope "module" or wider. Where weights are loaded it also has a fixture `resuming`: the same, loaded a second time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
import psutil
import pytest

from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    Engine,
    EngineChunk,
    EngineState,
    FramesTHWC,
    InputMedia,
    ignore_step,
)
from core.service.domain.errors import Interrupted
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import JobSpec

SHORT_FRAMES = 17
GROWTH_BYTES = 4 << 20
"""Above the noise of allocators; activations or windows that stay in memory grow beyond it even in tiny networks."""


@dataclass(frozen=True)
class StopAt:
    """An OnStep that ends the chunk before a step, as a cancel does."""

    step: int

    def __call__(self, step: int, steps: int) -> None:
        del steps
        if step == self.step:
            raise Interrupted


def chunks_of(
    engine: Engine, spec: JobSpec, inputs: InputMedia, state: EngineState | None = None
) -> Iterator[EngineChunk]:
    """All chunks of a job, or those after a state."""
    state = state or engine.start(spec, inputs)
    while state.frames_done < spec.length:
        chunk = engine.next_chunk(spec, state, ignore_step, inputs)
        state = chunk.state
        yield chunk


def steps_of(engine: Engine, spec: JobSpec, state: EngineState, inputs: InputMedia) -> list[tuple[int, int]]:
    """What a chunk reports to `on_step`."""
    seen: list[tuple[int, int]] = []
    engine.next_chunk(spec, state, lambda step, steps: seen.append((step, steps)), inputs)
    return seen


class EngineContract:
    """Subclass it. `engine` is asked for the same chunks again and again: nothing may stay in it."""

    spec: ClassVar[JobSpec]
    """A job of some odd length, such as 100 frames: at least 3 chunks."""
    inputs: ClassVar[InputMedia] = NO_INPUT_MEDIA
    size: ClassVar[tuple[int, int]]
    """Height and width of its frames."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, engine: Engine) -> list[EngineChunk]:
        """The uninterrupted job."""
        return list(chunks_of(engine, cls.spec, cls.inputs))

    @pytest.fixture(scope="class")
    @classmethod
    def states(cls, engine: Engine, whole: list[EngineChunk]) -> list[EngineState]:
        """The state before each chunk, and the last one."""
        return [engine.start(cls.spec, cls.inputs), *(chunk.state for chunk in whole)]

    def test_chunks_have_16_frames_and_the_last_one_has_the_rest(self, whole: list[EngineChunk]) -> None:
        spans = [min(CHUNK_FRAMES, self.spec.length - begin) for begin in range(0, self.spec.length, CHUNK_FRAMES)]
        assert [chunk.frames.shape for chunk in whole] == [(span, *self.size, 3) for span in spans]
        assert {str(chunk.frames.dtype) for chunk in whole} == {"uint8"}
        assert [chunk.state.frames_done for chunk in whole] == list(np.cumsum(spans))

    def test_a_job_that_is_resumed_before_any_chunk_has_the_same_bytes(
        self, resuming: Engine, whole: list[EngineChunk], states: list[EngineState]
    ) -> None:
        """By `resuming`, which knows nothing of the job: it makes the last chunk first. Engines with weights are loaded
        anew for it, as by another process."""
        for expected, state in reversed([*zip(whole, states, strict=False)]):
            stored = state.to_bytes()
            restored = EngineState.from_bytes(stored)
            again = resuming.next_chunk(self.spec, restored, ignore_step, self.inputs)
            assert again.frames.tobytes() == expected.frames.tobytes()
            assert again.state.to_bytes() == expected.state.to_bytes()
            assert restored.to_bytes() == stored, "the chunk changed the state before it"

    def test_a_shorter_job_has_the_first_frames_of_a_longer_one(self, engine: Engine, whole: list[EngineChunk]) -> None:
        shorter = self.spec.model_copy(update={"num_frames": SHORT_FRAMES})
        made = np.concatenate([chunk.frames for chunk in chunks_of(engine, shorter, self.inputs)])
        assert made.tobytes() == frames_of(whole)[:SHORT_FRAMES].tobytes()

    def test_a_longer_job_goes_on_from_the_states_of_a_shorter_one(
        self, engine: Engine, whole: list[EngineChunk]
    ) -> None:
        """So jobs are extended: a last chunk of less than 16 frames is made again from the state before it."""
        shorter = self.spec.model_copy(update={"num_frames": SHORT_FRAMES})
        chunk = engine.next_chunk(shorter, engine.start(shorter, self.inputs), ignore_step, self.inputs)
        assert chunk.state.to_bytes() == whole[0].state.to_bytes()

    def test_a_finished_job_has_no_further_chunk(self, engine: Engine, states: list[EngineState]) -> None:
        with pytest.raises(ValueError, match="done already"):
            engine.next_chunk(self.spec, states[-1], ignore_step, self.inputs)

    def test_steps_are_counted_from_0_over_a_chunk(self, engine: Engine, states: list[EngineState]) -> None:
        for state in states[:3]:
            seen = steps_of(engine, self.spec, state, self.inputs)
            assert seen == [(step, len(seen)) for step in range(len(seen))]

    def test_an_interrupt_at_any_step_leaves_the_engine_as_it_was(
        self, engine: Engine, whole: list[EngineChunk], states: list[EngineState]
    ) -> None:
        for index, state in enumerate(states[:2]):
            for step, _ in steps_of(engine, self.spec, state, self.inputs):
                with pytest.raises(Interrupted):
                    engine.next_chunk(self.spec, state, StopAt(step), self.inputs)
            again = engine.next_chunk(self.spec, state, ignore_step, self.inputs)
            assert again.frames.tobytes() == whole[index].frames.tobytes()

    def test_the_state_does_not_grow_with_the_video(self, states: list[EngineState]) -> None:
        """Beyond the first chunks, whose windows may be of other lengths."""
        sizes = [len(state.to_bytes()) for state in states]
        assert max(sizes) <= 2 * max(sizes[:3])

    def test_memory_stays_flat_over_20_chunks(self, engine: Engine) -> None:
        endless = self.spec.model_copy(update={"num_frames": None, "endless_limit": 10_000, "num_inference_steps": 1})
        chunks = chunks_of(engine, endless.for_engine(), self.inputs)
        before = _memory_bytes(chunks, 4)
        assert _memory_bytes(chunks, 20) - before < GROWTH_BYTES

    def test_another_seed_makes_another_video(self, engine: Engine, whole: list[EngineChunk]) -> None:
        other = self.spec.model_copy(update={"seed": self.spec.seed + 1})
        first = engine.next_chunk(other, engine.start(other, self.inputs), ignore_step, self.inputs)
        assert first.frames.tobytes() != whole[0].frames.tobytes()

    def test_a_branch_with_another_seed_keeps_what_is_made_and_differs_later(
        self, engine: Engine, whole: list[EngineChunk], states: list[EngineState]
    ) -> None:
        branched = engine.reseeded(states[1], self.spec.seed + 1)
        assert branched.frames_done == states[1].frames_done
        later = np.concatenate([chunk.frames for chunk in chunks_of(engine, self.spec, self.inputs, branched)])
        assert later.shape == frames_of(whole[1:]).shape
        assert later.tobytes() != frames_of(whole[1:]).tobytes()


def frames_of(chunks: list[EngineChunk]) -> FramesTHWC:
    """All frames of chunks that follow one another."""
    return np.concatenate([chunk.frames for chunk in chunks])


def _memory_bytes(chunks: Iterator[EngineChunk], count: int) -> int:
    """The process's memory after so many further chunks."""
    for _ in islice(chunks, count):
        pass
    gc.collect()
    rss: int = psutil.Process().memory_info().rss
    return rss
