"""Weights folders in diffusers' layout: what is read, what is shared, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from core.model.engines.instruct_pix2pix.loading import load_engine_of
from core.model.engines.instruct_pix2pix.preset import InstructPix2PixPreset
from core.service.domain.engine import EngineChunk, InputMedia, ignore_step
from core.service.domain.errors import PresetError, PromptTooLong
from core.service.engines.load_context import LoadContext
from tests.helpers.pipelines_instruct_pix2pix import noise_video
from tests.unit.core.model.engines.instruct_pix2pix.conftest import context_of, edit_spec

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(folder, tmp_path / "editor"))


def first_chunk(context: LoadContext[InstructPix2PixPreset]) -> EngineChunk:
    engine = load_engine_of(context, "cpu")
    spec, inputs = edit_spec(16, num_inference_steps=1), InputMedia(video=noise_video(16))
    return engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs)


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_names_of_older_files_are_understood(own: Path, folder: Path) -> None:
    """The Hub's text encoders and autoencoders have names of older versions of the libraries."""
    text = own / "text_encoder" / "model.safetensors"
    save_file({f"text_model.{name}": tensor for name, tensor in load_file(text).items()}, text, {"format": "pt"})
    vae = own / "vae" / "diffusion_pytorch_model.safetensors"
    older = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    renamed = load_file(vae)
    for new, old in older.items():
        renamed = {name.replace(new, old): tensor for name, tensor in renamed.items()}
    save_file(renamed, vae, {"format": "pt"})

    assert first_chunk(context_of(own)).frames.tobytes() == first_chunk(context_of(folder)).frames.tobytes()


def test_the_scheduler_is_that_of_the_config(own: Path, folder: Path) -> None:
    change_json(
        own / "scheduler" / "scheduler_config.json",
        _class_name="DDIMScheduler",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )

    assert first_chunk(context_of(own)).frames.tobytes() != first_chunk(context_of(folder)).frames.tobytes()


@pytest.mark.parametrize("part", ["vae", "text_encoder", "tokenizer"])
def test_parts_that_are_missing_are_those_of_the_shared_preset(own: Path, folder: Path, part: str) -> None:
    shutil.rmtree(own / part)
    context = replace(context_of(own), shared=folder)

    assert first_chunk(context).frames.tobytes() == first_chunk(context_of(folder)).frames.tobytes()


def test_the_fingerprint_covers_shared_parts(own: Path, folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(own / "vae")
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    change_json(other / "vae" / "config.json", scaling_factor=0.5)

    lines = {load_engine_of(replace(context_of(own), shared=each), "cpu").fingerprint for each in (folder, other)}

    assert len(lines) == 2
    assert all("threads 1" in line for line in lines)


def lack_a_weight(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file, {"format": "pt"})


def lack_a_text_weight(folder: Path) -> None:
    file = folder / "text_encoder" / "model.safetensors"
    save_file(dict(list(load_file(file).items())[1:]), file, {"format": "pt"})


def cut_off(part: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        (file,) = (folder / part).glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-100])

    return cut


def remove(part: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / part)


def other_scheduler(folder: Path) -> None:
    change_json(folder / "scheduler" / "scheduler_config.json", _class_name="os.system")


def other_width(folder: Path) -> None:
    change_json(folder / "unet" / "config.json", cross_attention_dim=12)


def too_long_prompts(folder: Path) -> None:
    change_json(folder / "preset.json", max_prompt_tokens=23)


def odd_sides(folder: Path) -> None:
    size = {"multiple_of": 3, "min_side": 16, "max_side": 64, "max_pixels": 4096}
    change_json(folder / "preset.json", size=size)


def no_editor(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :4].contiguous()
    save_file(weights, file, {"format": "pt"})
    change_json(folder / "unet" / "config.json", in_channels=4)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a weight is missing": (lack_a_weight, "unet lack 1 tensors, such as conv_in.weight"),
    "a weight of the text encoder is missing": (lack_a_text_weight, "text_encoder lack 1 tensors"),
    "unet cut off": (cut_off("unet"), "unet"),
    "vae cut off": (cut_off("vae"), "vae"),
    "text encoder cut off": (cut_off("text_encoder"), "text_encoder"),
    "no unet": (remove("unet"), "unet"),
    "no text encoder": (remove("text_encoder"), "text_encoder"),
    "no tokenizer": (remove("tokenizer"), "tokenizer.json is missing"),
    "no scheduler": (remove("scheduler"), "scheduler_config.json"),
    "another scheduler": (other_scheduler, "os.system is not supported"),
    "another width": (other_width, "unet"),
    "prompts too long": (too_long_prompts, "max_prompt_tokens: the text encoder reads 22"),
    "odd sides": (odd_sides, "size.multiple_of is 3, which is no multiple of 2"),
    "no editor": (no_editor, "is no editor: it has 4 input channels, not 8"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_does_not_fit_is_refused_with_its_name(own: Path, damage: str) -> None:
    change, named = DAMAGES[damage]
    change(own)

    with pytest.raises(PresetError, match=named) as caught:
        load_engine_of(context_of(own), "cpu")

    assert caught.value.fix


def test_a_prompt_beyond_the_text_encoder_is_refused(folder: Path) -> None:
    engine, inputs = load_engine_of(context_of(folder), "cpu"), InputMedia(video=noise_video(16))
    spec = edit_spec(16, prompt="a" * 23)

    with pytest.raises(PromptTooLong):
        engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs)
