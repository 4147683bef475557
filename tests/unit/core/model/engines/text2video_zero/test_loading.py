"""Presets become engines, with parts of another preset where they lack them, or are refused with what to change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.model.engines.text2video_zero.loading import read_schedule
from core.model.pipelines.stable_diffusion import PairReader, clip_tokenizer
from core.model.training.image_export import zero_config
from core.model.training.preset_files import save_library_model
from core.model.training.sprites_preset import scheduler_config
from core.model.training.stages.controlnet import edges_controlnet
from core.model.training.stages.image2d import image_unet
from core.service.domain.engine import NO_INPUT_MEDIA, InputMedia, ignore_step
from core.service.domain.errors import PresetError
from core.service.engines.definition import read_preset
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.helpers.pipelines import new_autoencoder
from tests.helpers.pipelines_zero import Frames, control_frames, write_scheduler, write_zero_json
from tests.unit.core.model.engines.text2video_zero.conftest import canny, load, zero_spec

QUICK = {"num_inference_steps": 1, "guidance_scale": 1.0}
SPRITES = SHIPPED_PRESETS_DIR / "sprites"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """Of the small preset, to be damaged."""
    return shutil.copytree(folder, tmp_path / "zero")


@pytest.fixture(scope="module")
def sprites_zero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the recipe exports it, untrained, of a smaller network: UNet, scheduler and ControlNet of its own."""
    folder = tmp_path_factory.mktemp("presets") / "sprites-zero"
    unet = image_unet((8, 16, 16, 16), layers=1)
    save_library_model(unet, folder / "unet")
    save_library_model(edges_controlnet(unet), folder / "controlnet" / "canny")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler_config()), encoding="utf-8")
    write_zero_json(folder, **{**zero_config("sprites"), "control": ["canny"]})
    return folder


def test_a_preset_has_what_it_lacks_from_the_one_that_it_shares_with(sprites_zero: Path) -> None:
    """Its noise schedule is taken from its scheduler: velocities, and no signal at the end."""
    engine = load(sprites_zero, shared=SPRITES)

    for control in (None, canny()):
        spec = zero_spec(prompt="a red circle", num_frames=17, control=control, **QUICK)
        inputs = InputMedia(video=Frames(control_frames(17, 64))) if control else NO_INPUT_MEDIA
        first = engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs)
        second = engine.next_chunk(spec, first.state, ignore_step, inputs)
        assert (first.frames.shape, second.frames.shape) == ((16, 64, 64, 3), (1, 64, 64, 3))
    assert engine.models.schedule.prediction == "v_prediction"
    assert engine.models.schedule.signal_at(999) == 0


def test_shared_weights_are_part_of_the_fingerprint(sprites_zero: Path, tmp_path: Path) -> None:
    other = shutil.copytree(SPRITES, tmp_path / "sprites")
    weights = load_file(other / "vae" / "diffusion_pytorch_model.safetensors")
    changed = {name: weight * 1.01 for name, weight in weights.items()}
    save_file(changed, other / "vae" / "diffusion_pytorch_model.safetensors")

    assert load(sprites_zero, shared=SPRITES).fingerprint != load(sprites_zero, shared=other).fingerprint


def test_stable_diffusion_xl_is_known_by_its_second_text_encoder(xl_folder: Path) -> None:
    assert isinstance(load(xl_folder).models.texts, PairReader)


def test_prompts_are_padded_with_the_token_that_the_tokenizer_names(folder: Path, copy: Path) -> None:
    """The text encoder's own padding id is another one, as in the Hub's repositories."""
    by_config = clip_tokenizer(folder / "tokenizer").padding
    assert by_config is not None
    assert by_config["pad_token"] == "<|endoftext|>"

    (copy / "tokenizer" / "tokenizer_config.json").unlink()

    assert clip_tokenizer(copy / "tokenizer").padding is None


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
def test_a_missing_part_is_named(copy: Path, part: str) -> None:
    shutil.rmtree(copy / part)

    with pytest.raises(PresetError, match=part):
        load(copy)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_damaged_or_incomplete_are_refused(copy: Path, part: str) -> None:
    (file,) = (copy / part).glob("*.safetensors")
    weights = load_file(file)
    del weights[sorted(weights)[0]]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(PresetError, match=f"{part} lack 1 tensors"):
        load(copy)

    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PresetError, match=part):
        load(copy)


def test_weights_in_pickles_are_never_read(copy: Path) -> None:
    (file,) = (copy / "unet").glob("*.safetensors")
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()

    with pytest.raises(PresetError, match="unet"):
        load(copy)


def test_a_size_that_is_no_whole_number_of_latents_is_refused_with_the_nearest(copy: Path) -> None:
    """The autoencoder has two levels, so a latent is 2x2 pixels; with a third one it is 4x4."""
    write_zero_json(copy, width=22, height=18)
    load(copy)
    shutil.rmtree(copy / "vae")
    three_levels = {"block_out_channels": (4, 8, 8), "layers_per_block": 1, "norm_num_groups": 2}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    new_autoencoder(**three_levels, **blocks).save_pretrained(copy / "vae")

    with pytest.raises(PresetError, match="multiples of 4; the nearest size is 24x16"):
        load(copy)


def test_a_rule_for_sizes_that_are_no_whole_number_of_latents_is_refused_with_the_nearest(copy: Path) -> None:
    write_zero_json(copy, width=20, height=20, size={"multiple_of": 5, "min_side": 16, "max_pixels": 1000})

    with pytest.raises(PresetError, match="multiple_of is 5, which is no multiple of 2") as caught:
        load(copy)

    assert caught.value.fix == "the nearest is 4"


def test_the_presets_own_size_follows_its_rule(tmp_path: Path) -> None:
    rule = {"multiple_of": 16, "min_side": 16, "max_pixels": 10**6}
    write_zero_json(tmp_path / "zero", width=500, height=300, size=rule)

    with pytest.raises(PresetError, match="multiples of 16; the nearest size is 496x304"):
        read_preset(tmp_path / "zero")


def test_noise_levels_of_a_preset_are_in_order(tmp_path: Path) -> None:
    write_zero_json(tmp_path / "zero", parameters={"t0": 0.5, "t1": 0.4})

    with pytest.raises(PresetError, match=r"parameters\.t1: must be above t0"):
        read_preset(tmp_path / "zero")


@pytest.mark.parametrize(
    ("has_control", "idle"),
    [(True, {"motion_x", "motion_y", "motion_interpolation", "t0", "t1"}), (False, {"background_smoothing"})],
)
def test_parameters_that_would_do_nothing_are_known(tmp_path: Path, has_control: bool, idle: set[str]) -> None:
    write_zero_json(tmp_path / "zero")

    found = read_preset(tmp_path / "zero").idle_parameters(has_video=False, has_control=has_control)

    assert set(found) == idle
    assert all("would do nothing" in problem for problem in found.values())


@pytest.mark.parametrize(
    ("optional", "wrong"),
    [
        ({}, "download.optional.canny must have `into`: controlnet/canny"),
        ({"canny": {"into": "controlnet/edges"}}, "download.optional.canny must have `into`: controlnet/canny"),
    ],
)
def test_a_control_that_cannot_be_pulled_is_refused(tmp_path: Path, optional: dict[str, Any], wrong: str) -> None:
    source = {"repository": "org/name", "revision": "main", "files": ["config.json"]}
    download = {
        "kind": "pipeline",
        "repositories": [source],
        "optional": {name: {**source, **more} for name, more in optional.items()},
    }
    write_zero_json(tmp_path / "zero", control=["canny"], download=download)

    with pytest.raises(PresetError, match=wrong):
        read_preset(tmp_path / "zero")


def test_a_controlnet_that_is_not_installed_is_named_with_its_command(folder: Path, copy: Path) -> None:
    shutil.rmtree(copy / "controlnet" / "canny")
    engine, spec = load(copy), zero_spec(control=canny(), **QUICK)
    inputs = InputMedia(video=Frames(control_frames(32)))

    with pytest.raises(PresetError, match="ControlNet of type canny") as caught:
        engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs)
    assert caught.value.fix == "run `longtake pull zero --with canny`"

    shutil.copytree(folder / "controlnet" / "canny", copy / "controlnet" / "canny")
    assert len(engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs).frames) == 16


def test_a_controlnet_of_another_model_is_refused(folder: Path, xl_folder: Path, copy: Path) -> None:
    shutil.rmtree(copy / "controlnet" / "canny")
    shutil.copytree(xl_folder / "controlnet" / "canny", copy / "controlnet" / "canny")

    with pytest.raises(PresetError, match="of another model: it reads texts 16 wide, not 8"):
        load(copy).models.controlnet("canny")
    assert load(folder).models.controlnet("canny").config.cross_attention_dim == 8


def other_text_width(folder: Path, xl_folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    shutil.copytree(xl_folder / "unet", folder / "unet")


def too_many_tokens(folder: Path, xl_folder: Path) -> None:
    del xl_folder
    write_zero_json(folder, max_prompt_tokens=23)


def beta_of_another_kind(folder: Path, xl_folder: Path) -> None:
    del xl_folder
    write_scheduler(folder, beta_schedule="squaredcos_cap_v2")


def spacing_of_another_kind(folder: Path, xl_folder: Path) -> None:
    del xl_folder
    write_scheduler(folder, timestep_spacing="random")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_text_width, "text_encoder is 8 wide; the UNet reads 16"),
        (too_many_tokens, "max_prompt_tokens: the text encoder reads 22"),
        (beta_of_another_kind, "scheduler_config.json: beta_schedule"),
        (spacing_of_another_kind, "scheduler_config.json: timestep_spacing random"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    copy: Path, xl_folder: Path, damage: Callable[[Path, Path], None], message: str
) -> None:
    damage(copy, xl_folder)

    with pytest.raises(PresetError, match=message) as caught:
        load(copy)

    assert caught.value.fix


def test_the_schedules_of_real_repositories_give_ddims(folder: Path, xl_folder: Path) -> None:
    """Those name samplers of their own, whose further keys do not matter."""
    for each in (folder, xl_folder):
        schedule, spacing, offset = read_schedule(each / "scheduler" / "scheduler_config.json")
        assert (spacing, offset, schedule.final_alpha_cumprod) == ("leading", 1, None)


@pytest.mark.parametrize("name", ["text2video-zero", "text2video-zero-xl"])
def test_presets_of_real_models_name_everything_that_loading_reads(name: str) -> None:
    preset: Any = read_preset(SHIPPED_PRESETS_DIR / name)
    (source,) = preset.download.repositories
    parts = {file.split("/")[0] for file in source.files}

    assert {"unet", "vae", "text_encoder", "tokenizer", "scheduler"} <= parts
    assert {"text_encoder_2", "tokenizer_2"} <= parts or name == "text2video-zero"
    assert {*preset.control} == {*preset.download.optional}
    assert preset.card.licence
