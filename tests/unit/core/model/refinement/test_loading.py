"""A preset's refiner is found in its folder, loaded, or refused."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import load_file, save_file

from core.model.engines.streaming_t2v.preset import read_preset
from core.model.networks.adapters import stored_difference
from core.model.networks.encoders import ClipTextEncoder
from core.model.presets.files import read_weights
from core.model.refinement.loading import fetch_refiner, load_refiner, refiner_config
from core.model.refinement.parts import parts_of_repository
from core.model.refinement.preset import RefinerScheduler, sdedit_of
from core.model.sampling.schedules import schedule_from_config
from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import PresetError
from core.service.domain.refiner import RefineState
from core.service.domain.schema import RefineSpec
from tests.helpers.jobs import job_spec
from tests.helpers.pipelines import write_stable_diffusion, write_text_to_video
from tests.helpers.presets import change_preset
from tests.helpers.random_preset import write_random_preset

SPEC = job_spec(
    num_frames=16,
    refine=RefineSpec(
        strength=0.6, num_inference_steps=1, guidance_scale=2.0, height=128, width=128, schedule="streaming"
    ),
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_preset(tmp_path_factory.mktemp("presets") / "toy")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "toy"))


def test_a_refiner_shares_text_encoder_and_autoencoder_with_its_preset(sound: Path) -> None:
    refiner = load_refiner(sound, device="cpu", torch_threads=1)

    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    refined = refiner.refine_window(SPEC, RefineState(), frames, lambda _step, _steps: None)

    assert refined.frames.shape == (16, 128, 128, 3)
    assert refined.state.done == 1


def test_a_refiner_may_bring_its_own_autoencoder(folder: Path) -> None:
    shared = refined(folder)
    shutil.copytree(folder / "vae", folder / "refiner" / "vae")
    file = folder / "refiner" / "vae" / "model.safetensors"
    save_file({name: weight * 1.1 for name, weight in load_file(file).items()}, file)
    assert not np.array_equal(refined(folder), shared)

    file.unlink()
    with pytest.raises(PresetError, match="refiner/vae"):
        load_refiner(folder, device="cpu", torch_threads=1)


def keep_weights_of(file: Path, *prefixes: str) -> None:
    save_file({name: weight for name, weight in load_file(file).items() if name.startswith(prefixes)}, file)


def test_a_refiner_may_bring_a_decoder_alone(folder: Path) -> None:
    shared = refined(folder)
    shutil.copytree(folder / "vae", folder / "refiner" / "vae")
    keep_weights_of(folder / "refiner" / "vae" / "model.safetensors", "decoder.", "post_quant_conv.")

    assert np.array_equal(refined(folder), shared)


def decoder_of_factors(folder: Path, rank: int, *, wrong: bool = False) -> None:
    """A refiner whose decoder has other weights than the preset's, stored as differences."""
    before = load_file(folder / "vae" / "model.safetensors")
    decoder = {name: weight for name, weight in before.items() if name.startswith(("decoder.", "post_quant_conv."))}
    generator = torch.Generator().manual_seed(0)
    after = {name: weight + 0.01 * torch.randn(weight.shape, generator=generator) for name, weight in decoder.items()}
    stored = {
        name + form: tensor[1:] if wrong and form == ".up" else tensor
        for name, weight in after.items()
        for form, tensor in stored_difference(before[name], weight, rank).items()
    }
    (own := folder / "refiner" / "vae").mkdir()
    shutil.copy(folder / "vae" / "config.json", own)
    save_file(stored, own / "model.safetensors")


def test_a_decoder_may_be_stored_as_a_difference_from_the_presets(folder: Path) -> None:
    shared = refined(folder)
    decoder_of_factors(folder, rank=1)
    weights = read_weights(folder / "refiner" / "vae", torch.device("cpu"), rest=folder / "vae")

    assert not np.array_equal(refined(folder), shared)
    assert {name for name in weights if name.endswith((".up", ".down"))} == set()
    assert set(weights) <= set(load_file(folder / "vae" / "model.safetensors"))


def test_factors_that_do_not_fit_the_presets_weights_are_refused(folder: Path) -> None:
    decoder_of_factors(folder, rank=1, wrong=True)
    with pytest.raises(PresetError, match=r"factors in .*refiner/vae do not fit"):
        load_refiner(folder, device="cpu", torch_threads=1)


def test_an_autoencoder_with_holes_is_refused(folder: Path) -> None:
    shutil.copytree(folder / "vae", folder / "refiner" / "vae")
    keep_weights_of(folder / "refiner" / "vae" / "model.safetensors", "decoder.conv_in.", "post_quant_conv.")

    with pytest.raises(PresetError, match=r"decoder\.conv_out\.weight"):
        load_refiner(folder, device="cpu", torch_threads=1)


def test_the_fingerprint_knows_what_a_refiner_shares(folder: Path) -> None:
    before = load_refiner(folder, device="cpu", torch_threads=1).fingerprint
    weights = load_file(folder / "vae" / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, folder / "vae" / "model.safetensors")

    assert load_refiner(folder, device="cpu", torch_threads=1).fingerprint != before


def test_a_refiner_in_tiles_makes_other_bytes_and_says_so(folder: Path, sound: Path) -> None:
    facts = json.loads((folder / "preset.json").read_text())["refiner"]
    change_preset(folder, refiner=facts | {"vae_tile": 64})
    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    whole, tiled = (load_refiner(path, device="cpu", torch_threads=1) for path in (sound, folder))

    first, second = (
        refiner.refine_window(SPEC, RefineState(), frames, lambda _step, _steps: None).frames
        for refiner in (whole, tiled)
    )

    assert first.shape == second.shape
    assert not np.array_equal(first, second)
    assert whole.fingerprint != tiled.fingerprint


@pytest.mark.parametrize("side", [48, 100])
def test_tiles_of_a_side_that_does_not_fit_are_refused(folder: Path, side: int) -> None:
    facts = json.loads((folder / "preset.json").read_text())["refiner"]
    change_preset(folder, refiner=facts | {"vae_tile": side})

    with pytest.raises(PresetError, match="vae_tile"):
        load_refiner(folder, device="cpu", torch_threads=1)


def test_a_preset_without_refiner_says_so(folder: Path) -> None:
    change_preset(folder, refiner=None)

    with pytest.raises(PresetError, match="has no refiner of kind sdedit"):
        load_refiner(folder, device="cpu", torch_threads=1)


@pytest.mark.parametrize(
    ("changes", "prediction", "last_sigma"),
    [({}, "v_prediction", 1.0), ({"scheduler": RefinerScheduler()}, "epsilon", 0.99998)],
)
def test_noise_levels_are_the_published_refiners_or_a_schedulers(
    folder: Path, changes: dict[str, object], prediction: str, last_sigma: float
) -> None:
    config = refiner_config(sdedit_of(read_preset(folder)).model_copy(update=changes))

    assert config.prediction == prediction
    assert float(config.sigmas_T[-1]) == pytest.approx(last_sigma, abs=1e-4)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video model as diffusers saves it."""
    return write_text_to_video(tmp_path_factory.mktemp("repositories") / "video-xl")


@pytest.fixture
def preset_of(folder: Path) -> Callable[[Path], Path]:
    """Makes the preset refine with a repository."""

    def with_source(repository: Path) -> Path:
        refiner: dict[str, Any] = json.loads((folder / "preset.json").read_text())["refiner"]
        source = {"source": f"diffusers:{repository}", "resampling": "plain", "guidance_rescale": 0.0}
        change_preset(folder, refiner={**refiner, **source})
        return folder

    return with_source


def refined(folder: Path) -> FramesTHWC:
    refiner = load_refiner(folder, device="cpu", torch_threads=1)
    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    spec = SPEC.model_copy(update={"prompt": "red"})
    return refiner.refine_window(spec, RefineState(), frames, lambda _step, _steps: None).frames


def test_a_video_model_in_diffusers_layout_refines(preset_of: Callable[[Path], Path], repository: Path) -> None:
    frames = refined(preset_of(repository))

    assert frames.shape == (16, 128, 128, 3)
    assert frames.std() > 1


def test_weights_in_torch_files_give_the_same_frames(
    preset_of: Callable[[Path], Path], repository: Path, tmp_path: Path
) -> None:
    pipeline: Any = DiffusionPipeline.from_pretrained(str(repository))
    pipeline.save_pretrained(tmp_path / "bin", safe_serialization=False)
    assert not list((tmp_path / "bin" / "unet").glob("*.safetensors"))

    assert np.array_equal(refined(preset_of(repository)), refined(preset_of(tmp_path / "bin")))


def test_it_reads_texts_and_noise_as_its_pipeline_does(repository: Path) -> None:
    pipeline: Any = DiffusionPipeline.from_pretrained(str(repository))
    parts = parts_of_repository(f"diffusers:{repository}", torch.device("cpu"), torch.float32)
    assert parts.scheduler is not None

    states = ClipTextEncoder(parts.tokenizer, parts.text_encoder)(["red"])
    schedule = schedule_from_config(parts.scheduler)

    expected, _ = pipeline.encode_prompt("red", torch.device("cpu"), 1, False)
    torch.testing.assert_close(states, expected)
    torch.testing.assert_close(schedule.alphas_cumprod_T, pipeline.scheduler.alphas_cumprod)
    assert schedule.prediction == "epsilon"


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("scheduler/scheduler_config.json", "beta_schedule", "squaredcos_cap_v2", "beta_schedule of its scheduler"),
        ("scheduler/scheduler_config.json", "prediction_type", "sample", "not epsilon or v_prediction"),
        ("unet/config.json", "cross_attention_dim", 5, "cannot be loaded"),
    ],
)
def test_a_model_that_cannot_refine_is_refused(
    preset_of: Callable[[Path], Path], repository: Path, tmp_path: Path, file: str, key: str, value: object, said: str
) -> None:
    other = Path(shutil.copytree(repository, tmp_path / "other"))
    config: dict[str, Any] = json.loads((other / file).read_text())
    (other / file).write_text(json.dumps({**config, key: value}))

    with pytest.raises(PresetError, match=said):
        load_refiner(preset_of(other), device="cpu", torch_threads=1)


def test_a_schedule_of_the_preset_stands_in_for_one_that_is_not_known(
    preset_of: Callable[[Path], Path], repository: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(repository, tmp_path / "other"))
    file = other / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "beta_schedule": "squaredcos_cap_v2"}))
    folder = preset_of(other)
    facts = json.loads((folder / "preset.json").read_text())
    scheduler = {"beta_schedule": facts["scheduler"]["beta_schedule"], "prediction_type": "v_prediction"}
    change_preset(folder, refiner={**facts["refiner"], "scheduler": scheduler})

    assert load_refiner(folder, device="cpu", torch_threads=1).fingerprint.startswith(f"refiner diffusers:{other} ")


def test_a_refiner_from_elsewhere_is_brought_before_a_job_waits_for_it(
    preset_of: Callable[[Path], Path], repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "core"):
        fetch_refiner(sdedit_of(read_preset(preset_of(repository))))
        assert caplog.messages == []
        fetch_refiner(sdedit_of(read_preset(preset_of(tmp_path / "not-there"))))
    (told,) = caplog.messages
    assert told.startswith(
        f"the refiner cannot be downloaded yet: the refiner diffusers:{tmp_path / 'not-there'} cannot be loaded"
    )


def test_another_kind_of_pipeline_is_refused_as_one(preset_of: Callable[[Path], Path], tmp_path: Path) -> None:
    pictures = write_stable_diffusion(tmp_path / "pictures")

    with pytest.raises(PresetError, match="its unet is UNet2DConditionModel, not UNet3DConditionModel"):
        load_refiner(preset_of(pictures), device="cpu", torch_threads=1)
