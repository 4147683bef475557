"""One weight that is NaN or infinite, in any network, fails the chunk with its name: no black frame, no bad state."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.model.engines.streaming_t2v.engine import StreamingT2VEngine
from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest
from core.model.engines.streaming_t2v.loading import profile_configs
from core.model.engines.streaming_t2v.models import EngineConfig, LoadedModels
from core.model.engines.streaming_t2v.networks import WeightsFolder
from core.model.engines.streaming_t2v.preset import read_preset
from core.model.networks.encoders import ClipImageEncoder, ClipTextEncoder
from core.service.domain.engine import NO_INPUT_MEDIA, EngineState, InputMedia, OnStep, ignore_step
from core.service.domain.errors import NotFinite
from core.service.domain.schema import FirstChunkSampling
from tests.helpers.jobs import job_spec
from tests.helpers.poison import INFINITY, NAN, poisoned
from tests.helpers.random_preset import write_random_preset

CPU = torch.device("cpu")
SPEC = job_spec(
    prompt="a red circle",
    num_frames=40,
    model="toy",
    guidance_scale=3.0,
    num_inference_steps=1,
    first_chunk=FirstChunkSampling(num_inference_steps=1, guidance_scale=2.0),
)
GIVEN = InputMedia(frames=np.random.default_rng(1).integers(0, 256, (16, 64, 64, 3), np.uint8))

PARTS: dict[str, Callable[[LoadedModels], nn.Module]] = {
    "unet": lambda models: models.network.unet,
    "cam": lambda models: models.network.cam,
    "mergers": lambda models: models.network.mergers,
    "apm mixers": lambda models: models.network.mixers,
    "apm expander": lambda models: models.network.expander,
    "text encoder": lambda models: encoder_of(cast(ClipTextEncoder, models.encode_texts)),
    "picture encoder": lambda models: encoder_of(cast(ClipImageEncoder, models.encode_images)),
    "decoder": lambda models: models.vae.decoder,
}


def encoder_of(reader: ClipTextEncoder | ClipImageEncoder) -> nn.Module:
    return cast(Any, reader)._encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_preset(tmp_path_factory.mktemp("presets") / "toy", num_inference_steps=1)


@pytest.fixture(scope="module")
def weights(folder: Path) -> WeightsFolder:
    return WeightsFolder(folder, CPU)


@pytest.fixture
def engine(folder: Path, weights: WeightsFolder) -> StreamingT2VEngine:
    """A fresh one: texts and anchors that an engine has read stay with it."""
    return engine_of(folder, weights)


def engine_of(folder: Path, weights: WeightsFolder, source: Any = None) -> StreamingT2VEngine:
    return StreamingT2VEngine(weights, EngineConfig(64, 64, profile_configs(read_preset(folder), CPU), ""), source)


def after_16_given_frames(engine: StreamingT2VEngine) -> EngineState:
    return engine.next_chunk(SPEC, engine.start(SPEC, GIVEN), ignore_step).state


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("part", PARTS)
def test_one_damaged_weight_fails_the_chunk_with_stage_and_index(
    engine: StreamingT2VEngine, weights: WeightsFolder, part: str, value: float
) -> None:
    stage = "decoder" if part == "decoder" else "window"
    state = after_16_given_frames(engine)

    with (
        poisoned(PARTS[part](weights.at(torch.float32)), value),
        pytest.raises(NotFinite, match=f"chunk 1, {stage}: numbers that are not finite") as caught,
    ):
        engine.next_chunk(SPEC, state, ignore_step)

    assert caught.value.code == "not_finite"
    assert caught.value.fix


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize("part", ["unet", "text encoder", "decoder"])
def test_one_damaged_weight_fails_the_first_chunk(
    engine: StreamingT2VEngine, weights: WeightsFolder, part: str, value: float
) -> None:
    with (
        poisoned(PARTS[part](weights.at(torch.float32)), value),
        pytest.raises(NotFinite, match="chunk 0, first chunk: "),
    ):
        engine.next_chunk(SPEC, engine.start(SPEC, NO_INPUT_MEDIA), ignore_step)


def test_a_window_after_the_first_of_a_chunk_is_checked_too(engine: StreamingT2VEngine, weights: WeightsFolder) -> None:
    """The first window of the chunk is right: the network is damaged while the second is denoised."""
    state = after_16_given_frames(engine)
    with ExitStack() as damaged:

        def damage(step: int, steps: int) -> None:
            assert steps == 2
            if step == 1:
                damaged.enter_context(poisoned(weights.at(torch.float32).network.unet, NAN))

        with pytest.raises(NotFinite, match="chunk 1, window: "):
            engine.next_chunk(SPEC, state, damage)


def test_the_same_engine_continues_when_the_weight_is_restored(
    engine: StreamingT2VEngine, weights: WeightsFolder
) -> None:
    state = after_16_given_frames(engine)
    expected = engine.next_chunk(SPEC, state, ignore_step)
    with poisoned(weights.at(torch.float32).vae.decoder, NAN), pytest.raises(NotFinite):
        engine.next_chunk(SPEC, state, ignore_step)

    again = engine.next_chunk(SPEC, state, ignore_step)

    assert again.frames.tobytes() == expected.frames.tobytes()
    assert again.state.to_bytes() == expected.state.to_bytes()


@pytest.mark.parametrize("memory", ["anchor_frame", "conditioning_frames"])
def test_a_state_that_is_not_finite_is_not_continued(engine: StreamingT2VEngine, memory: str) -> None:
    state = after_16_given_frames(engine)
    broken = {**state.arrays, memory: np.full_like(state.arrays[memory], NAN)}

    with pytest.raises(NotFinite, match="chunk 1, window: "):
        engine.next_chunk(SPEC, EngineState(16, broken), ignore_step)


def test_every_array_of_every_state_is_finite(engine: StreamingT2VEngine) -> None:
    state = engine.start(SPEC, NO_INPUT_MEDIA)
    while state.frames_done < SPEC.length:
        state = engine.next_chunk(SPEC, state, ignore_step).state
        assert all(np.isfinite(array).all() for array in state.arrays.values())


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_pictures_of_another_source_are_checked(folder: Path, weights: WeightsFolder, value: float) -> None:
    def one_bad_pixel(request: FirstChunkRequest, on_step: OnStep) -> Tensor:
        del request, on_step
        pictures = torch.full((16, 3, 64, 64), 0.5)
        pictures[15, 2, 63, 63] = value
        return pictures

    engine = engine_of(folder, weights, one_bad_pixel)

    with pytest.raises(NotFinite, match="chunk 0, first chunk: "):
        engine.next_chunk(SPEC, engine.start(SPEC, NO_INPUT_MEDIA), ignore_step)


def test_warming_up_on_damaged_weights_fails_with_the_reason(
    engine: StreamingT2VEngine, weights: WeightsFolder
) -> None:
    with poisoned(weights.at(torch.float32).network.cam, NAN), pytest.raises(NotFinite, match="chunk 1, window: "):
        engine.warm_up()
