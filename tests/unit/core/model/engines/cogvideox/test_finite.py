"""One weight that is NaN or infinite, in any network, fails the chunk with its name: no black frame, no bad state."""

from typing import Any

import pytest

from core.service.domain.engine import EngineState, InputMedia, ignore_step
from core.service.domain.errors import NotFinite
from tests.helpers.cogvideox_jobs import PICTURE, Frames, chunks, noise, spec_of
from tests.helpers.poison import INFINITY, NAN, poisoned
from tests.unit.core.model.engines.cogvideox.conftest import EngineOf

SPEC = spec_of(num_frames=32, num_inference_steps=1)


def network(engine: Any, name: str) -> Any:
    part, _, inner = name.partition(".")
    found = getattr(engine._pipelines.main, part)
    return getattr(found, inner) if inner else found


@pytest.fixture(scope="module")
def after_chunk_0(engine_of: EngineOf) -> EngineState:
    return next(chunks(engine_of("text"), SPEC)).state


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize(
    ("name", "stage"),
    [("transformer", "window"), ("text_encoder", "window"), ("vae.decoder", "decoder"), ("vae.encoder", "window")],
)
def test_one_damaged_weight_fails_the_chunk_with_stage_and_index(
    engine_of: EngineOf, after_chunk_0: EngineState, name: str, stage: str, value: float
) -> None:
    """In a new engine: texts and decoded windows that an engine has read stay with it."""
    engine = engine_of("text")

    with poisoned(network(engine, name), value), pytest.raises(NotFinite, match=f"chunk 1, {stage}: numbers"):
        engine.next_chunk(SPEC, after_chunk_0, ignore_step)


@pytest.mark.parametrize("inputs", [PICTURE, InputMedia(video=Frames(noise(32)))], ids=["image", "video"])
def test_a_damaged_encoder_fails_the_first_chunk_of_input_media(engine_of: EngineOf, inputs: InputMedia) -> None:
    engine = engine_of("text" if inputs.image is None else "image")

    with poisoned(network(engine, "vae.encoder"), NAN), pytest.raises(NotFinite, match="chunk 0, window: numbers"):
        next(chunks(engine, SPEC, inputs))


def test_the_same_engine_continues_when_the_weight_is_restored(engine_of: EngineOf) -> None:
    engine = engine_of("text")
    expected = next(chunks(engine, SPEC))

    with poisoned(network(engine, "transformer"), NAN), pytest.raises(NotFinite):
        next(chunks(engine, SPEC))

    assert next(chunks(engine, SPEC)).frames.tobytes() == expected.frames.tobytes()
