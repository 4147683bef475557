"""Sources that wrap diffusers pipelines, on small random ones: what all have in common, then what differs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from core.model.engines.streaming_t2v.first_chunk.animatediff import AnimateDiffFirstChunk, load_animatediff
from core.model.engines.streaming_t2v.first_chunk.choose import load_source
from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest, FirstChunkSource
from core.model.engines.streaming_t2v.first_chunk.svd import Canvas, SvdFirstChunk, load_video_model
from core.model.engines.streaming_t2v.first_chunk.text_to_video import (
    TextToVideoFirstChunk,
    load_text_to_video,
    num_frames_for,
)
from core.model.pipelines.image_model import load_image_model
from core.service.domain.engine import ignore_step
from core.service.domain.errors import FieldNotSupported, Interrupted, NotFinite, PresetError
from core.service.domain.first_chunk_sources import SourceChoice
from tests.helpers.image_model import QuickImageGenerator
from tests.helpers.poison import INFINITY, NAN, poisoned
from tests.unit.core.model.engines.streaming_t2v.conftest import CPU, ask_for

# diffusers' Euler scheduler gives numpy a tensor in a way that numpy 2 wants done otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = 24
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
TEXT_ONLY = ("animatediff", "text_to_video")
ALL = (*TEXT_ONLY, "svd")


@pytest.fixture(scope="module")
def sources(pipelines: Path) -> Mapping[str, FirstChunkSource]:
    return {
        "animatediff": load_animatediff(
            SIZE,
            SIZE,
            CPU,
            base=str(pipelines / "stable_diffusion"),
            adapter=str(pipelines / "motion_adapter"),
        ),
        "text_to_video": load_text_to_video(str(pipelines / "text_to_video"), SIZE, SIZE, CPU),
        "svd": SvdFirstChunk(
            load_video_model(CPU, str(pipelines / "svd")),
            QuickImageGenerator(lambda: load_image_model(str(pipelines / "sdxl"), CPU), 2),
            Canvas.for_size(SIZE, SIZE, canvas_height=16, canvas_width=32),
            SIZE,
            SIZE,
        ),
    }


def asked(name: str, **changed: object) -> FirstChunkRequest:
    """A request that the source can serve quickly: SVD begins with a given picture."""
    return ask_for(**{**({"image": PICTURE} if name == "svd" else {}), **changed})


@pytest.mark.parametrize("name", ALL)
def test_sixteen_pictures_of_the_preset_s_size(sources: Mapping[str, FirstChunkSource], name: str) -> None:
    pictures = sources[name](asked(name), ignore_step)

    assert pictures.shape == (16, 3, SIZE, SIZE)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.std() > 0.01


@pytest.mark.parametrize("name", ALL)
def test_the_generator_alone_decides_what_is_random(sources: Mapping[str, FirstChunkSource], name: str) -> None:
    first = sources[name](asked(name), ignore_step)
    torch.rand(5)  # the global generator plays no part

    assert torch.equal(sources[name](asked(name), ignore_step), first)
    assert not torch.equal(sources[name](asked(name, seed=8), ignore_step), first)


@pytest.mark.parametrize(
    "changed", [{"num_inference_steps": 3}, {"guidance_scale": 9.0}, {"prompt": "a dog"}, {"negative_prompt": "rain"}]
)
@pytest.mark.parametrize("name", TEXT_ONLY)
def test_every_field_acts(sources: Mapping[str, FirstChunkSource], name: str, changed: dict[str, object]) -> None:
    assert not torch.equal(sources[name](asked(name, **changed), ignore_step), sources[name](asked(name), ignore_step))


@pytest.mark.parametrize("changed", [{"num_inference_steps": 3}, {"guidance_scale": 9.0}, {"image": 255 - PICTURE}])
def test_every_field_of_a_given_picture_acts(
    sources: Mapping[str, FirstChunkSource], changed: dict[str, object]
) -> None:
    source = sources["svd"]

    assert not torch.equal(source(asked("svd", **changed), ignore_step), source(asked("svd"), ignore_step))


@pytest.mark.parametrize("name", ALL)
def test_each_step_is_reported_before_it_is_made(sources: Mapping[str, FirstChunkSource], name: str) -> None:
    seen: list[tuple[int, int]] = []

    sources[name](asked(name, num_inference_steps=3), lambda step, steps: seen.append((step, steps)))

    assert seen == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize("name", ALL)
def test_an_interrupt_ends_it_and_the_next_request_is_not_disturbed(
    sources: Mapping[str, FirstChunkSource], name: str
) -> None:
    before = sources[name](asked(name), ignore_step)
    seen: list[int] = []

    def stop_at_the_second(step: int, steps: int) -> None:
        seen.append(steps)
        if step == 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        sources[name](asked(name, num_inference_steps=4), stop_at_the_second)
    assert seen == [4, 4]
    assert torch.equal(sources[name](asked(name), ignore_step), before)


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_sources_that_begin_with_text_refuse_a_picture(sources: Mapping[str, FirstChunkSource], name: str) -> None:
    with pytest.raises(FieldNotSupported):
        sources[name](ask_for(image=PICTURE), ignore_step)


def test_svd_paints_a_picture_of_the_prompt_where_none_is_given(sources: Mapping[str, FirstChunkSource]) -> None:
    seen: list[tuple[int, int]] = []

    def paint(**changed: object) -> Tensor:
        return sources["svd"](ask_for(**changed), lambda step, steps: seen.append((step, steps)))

    cat = paint()

    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert not torch.equal(paint(prompt="a dog"), cat)
    assert not torch.equal(paint(negative_prompt="rain"), cat)


def test_the_published_negative_prompt_stands_in_for_an_empty_one(sources: Mapping[str, FirstChunkSource]) -> None:
    empty = sources["animatediff"](ask_for(), ignore_step)

    assert torch.equal(
        sources["animatediff"](ask_for(negative_prompt="bad quality, worse quality"), ignore_step), empty
    )


def test_animatediff_has_the_published_scheduler(sources: Mapping[str, FirstChunkSource]) -> None:
    source = sources["animatediff"]
    assert isinstance(source, AnimateDiffFirstChunk)

    config = source.pipeline.scheduler.config

    assert (config.beta_schedule, config.timestep_spacing, config.clip_sample) == ("linear", "linspace", False)
    assert config.steps_offset == 1


def test_a_square_picture_stands_in_the_middle_of_svd_s_canvas() -> None:
    canvas = Canvas.for_size(256, 256)

    picture = np.asarray(canvas.paste(torch.ones(1, 3, 700, 500)))

    assert picture.shape == (576, 1024, 3)
    assert canvas.margin == 224
    assert picture[:, 224:800].min() == 255
    assert picture[:, :224].max() == picture[:, 800:].max() == 0


def test_what_is_cut_out_of_the_canvas_has_no_margins_left() -> None:
    canvas = Canvas.for_size(256, 256)
    put = torch.from_numpy(np.asarray(canvas.paste(torch.ones(1, 3, 64, 64))).copy()).permute(2, 0, 1)

    assert canvas.crop(put).shape == (3, 576, 576)
    assert canvas.crop(put).min() == 255


def test_a_wide_preset_fills_the_canvas() -> None:
    assert Canvas.for_size(288, 512).margin == 0
    assert Canvas.for_size(100, 400).margin == 0


def test_causal_autoencoders_get_a_whole_number_of_packs() -> None:
    class PacksFour:
        vae_scale_factor_temporal = 4

    assert num_frames_for(PacksFour()) == 17
    assert num_frames_for(object()) == 16


def test_a_pipeline_that_cannot_act_on_a_request_is_refused(pipelines: Path) -> None:
    with pytest.raises(PresetError, match="does not take num_frames"):
        load_text_to_video(str(pipelines / "sdxl"), SIZE, SIZE, CPU)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="nowhere"):
        load_text_to_video(str(tmp_path / "nowhere"), SIZE, SIZE, CPU)


def test_a_deployment_names_its_source(pipelines: Path) -> None:
    device = torch.device("cpu")
    named = SourceChoice.parse(f"diffusers:{pipelines / 'text_to_video'}")

    assert load_source(SourceChoice("base"), SIZE, SIZE, device) is None
    assert isinstance(load_source(named, SIZE, SIZE, device), TextToVideoFirstChunk)


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize("part", ["unet", "vae.decoder"])
@pytest.mark.parametrize("name", ALL)
def test_one_damaged_weight_fails_the_first_chunk(
    sources: Mapping[str, FirstChunkSource], name: str, part: str, value: float
) -> None:
    network = cast(Any, sources[name])
    for step in (("pipeline" if name == "animatediff" else "_pipeline"), *part.split(".")):
        network = getattr(network, step)

    with poisoned(network, value), pytest.raises(NotFinite, match="chunk 0, first chunk: numbers that are not"):
        sources[name](asked(name), ignore_step)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_one_damaged_weight_of_svd_s_picture_model_fails_the_first_chunk(
    sources: Mapping[str, FirstChunkSource], part: str
) -> None:
    network = getattr(cast(Any, sources["svd"])._image_generator._pipeline, part)

    with poisoned(network, NAN), pytest.raises(NotFinite, match="chunk 0, first chunk: numbers that are not"):
        sources["svd"](ask_for(), ignore_step)


def test_a_picture_that_is_not_finite_is_not_drawn_as_black() -> None:
    picture = torch.full((1, 3, 24, 24), 0.5)
    picture[0, 0, 12, 12] = NAN
    with pytest.raises(NotFinite):
        Canvas.for_size(24, 24).paste(picture)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("name", ALL)
def test_one_step_and_every_guidance_give_finite_pictures(
    sources: Mapping[str, FirstChunkSource], name: str, scale: float
) -> None:
    pictures = sources[name](asked(name, num_inference_steps=1, guidance_scale=scale), ignore_step)
    assert pictures.isfinite().all()
