"""Loading CogVideoX: networks once, from safetensors only; presets that do not fit them are refused by the key."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler

from core.model.engines.cogvideox.definition import COGVIDEOX
from core.model.engines.cogvideox.engine import CogVideoXEngine
from core.model.engines.cogvideox.loading import load_engine_of
from core.model.presets.files import FIX
from core.service.domain.errors import PresetError
from tests.helpers.cogvideox_jobs import frames_of, spec_of
from tests.helpers.pipelines_cogvideox import split_weights, transformer
from tests.unit.core.model.engines.cogvideox.conftest import EngineOf, context_of


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(folders["text"], tmp_path / "copy")


def pipelines_of(engine: CogVideoXEngine) -> Any:
    return engine._pipelines  # pyright: ignore[reportPrivateUsage] - the test looks inside


def test_both_pipelines_have_the_same_networks(engine_of: EngineOf) -> None:
    pipelines = pipelines_of(engine_of("text"))

    assert all(pipelines.main.components[name] is part for name, part in pipelines.video.components.items())


def test_the_definition_loads_the_engine(folders: dict[str, Path]) -> None:
    assert COGVIDEOX.load(context_of(folders["text"])).device == "cpu"


def test_weights_in_shards_make_the_same_video(copy: Path, engine_of: EngineOf) -> None:
    spec = spec_of(num_frames=16, num_inference_steps=1)
    split_weights(copy / "transformer" / "diffusion_pytorch_model.safetensors", 3)
    split_weights(copy / "text_encoder" / "model.safetensors", 2)

    sharded = load_engine_of(context_of(copy), "cpu")

    assert frames_of(sharded, spec).tobytes() == frames_of(engine_of("text"), spec).tobytes()


def test_parts_may_be_another_preset_s(copy: Path, folders: dict[str, Path]) -> None:
    shutil.rmtree(copy / "text_encoder")
    alone = context_of(copy)

    with pytest.raises(PresetError, match="text_encoder is missing"):
        load_engine_of(alone, "cpu")
    shared = load_engine_of(replace(alone, shared=folders["text"]), "cpu")
    other = load_engine_of(replace(alone, shared=folders["rotary"]), "cpu")

    assert shared.fingerprint != other.fingerprint


def test_the_preset_chooses_the_scheduler(engine_of: EngineOf) -> None:
    scheduler = pipelines_of(engine_of("text", scheduler="dpm")).main.scheduler

    assert isinstance(scheduler, CogVideoXDPMScheduler)
    assert scheduler.config["timestep_spacing"] == "trailing"
    assert scheduler.config["rescale_betas_zero_snr"]


def test_another_model_s_scheduler_is_refused(copy: Path) -> None:
    file = copy / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": "DDIMScheduler"}))

    with pytest.raises(PresetError, match="is a DDIMScheduler, which is no scheduler of CogVideoX"):
        load_engine_of(context_of(copy), "cpu")


def test_pickled_weights_are_not_read(copy: Path) -> None:
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))

    with pytest.raises(PresetError, match="vae cannot be loaded") as refused:
        load_engine_of(context_of(copy), "cpu")
    assert refused.value.fix == FIX


@pytest.mark.parametrize(
    ("kind", "changes", "problem"),
    [
        ("text", {"continuation": "last_frame"}, "continuation last_frame needs a transformer for image-to-video"),
        ("image", {"continuation": "overlap"}, "continuation overlap needs a transformer for text-to-video"),
        ("text", {"max_prompt_tokens": 12}, "max_prompt_tokens must be below 12"),
        ("image", {"window_frames": 25}, "window_frames must be 17: positions were learned"),
        ("image", {"width": 48}, "height, width and size must be 32, 32 and unset"),
    ],
)
def test_a_preset_that_does_not_fit_its_networks_is_refused(
    engine_of: EngineOf, kind: str, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PresetError, match=problem) as caught:
        engine_of(kind, **changes)

    assert caught.value.fix


def test_cogvideox_1_5_is_refused(copy: Path) -> None:
    transformer(rotary=True, patch_size_t=2).save_pretrained(copy / "transformer")

    with pytest.raises(PresetError, match=r"toy: CogVideoX 1\.5, which joins latent frames in pairs, is not supported"):
        load_engine_of(context_of(copy), "cpu")
