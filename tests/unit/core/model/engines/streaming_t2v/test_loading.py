"""Loading preset folders: errors name what is wrong."""

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.model.engines.streaming_t2v.device_cache import Memory
from core.model.engines.streaming_t2v.loading import load_engine, profile_configs, sampling_config
from core.model.engines.streaming_t2v.networks import WeightsFolder, load_network
from core.model.engines.streaming_t2v.preset import read_preset
from core.model.networks.base_network import UntouchedBase
from core.model.presets.fingerprint import fingerprint, weights_digest
from core.service.admission.catalog import Catalog
from core.service.domain.engine import NO_INPUT_MEDIA
from core.service.domain.errors import PresetError
from core.service.domain.first_chunk_sources import SourceChoice
from core.service.settings import SHIPPED_PRESETS_DIR, Settings
from tests.helpers.jobs import job_spec
from tests.helpers.random_preset import write_random_preset


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset with random weights."""
    return write_random_preset(tmp_path_factory.mktemp("sound") / "toy")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(sound, tmp_path / "toy"))


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    "missing",
    [
        "preset.json",
        "tokenizer/tokenizer.json",
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "image_encoder/config.json",
        "cam/config.json",
        "conditioning/config.json",
    ],
)
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()

    with pytest.raises(PresetError) as caught:
        load_engine(folder, device="cpu", torch_threads=1)
    assert str(folder / missing) in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "image_encoder", "cam", "conditioning"])
def test_missing_weights_are_named(folder: Path, part: str) -> None:
    (folder / part / "model.safetensors").unlink()

    with pytest.raises(PresetError, match=r"holds no \.safetensors file") as caught:
        load_engine(folder, device="cpu", torch_threads=1)
    assert str(folder / part) in caught.value.message


def test_damaged_weights_are_named(folder: Path) -> None:
    file = folder / "cam" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])

    with pytest.raises(PresetError, match="is damaged") as caught:
        load_network(folder)
    assert str(file) in caught.value.message


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    file = folder / "unet" / "model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"] = torch.zeros(1, 4, 3, 3)
    save_file(weights, file)

    with pytest.raises(PresetError, match=r"conv_in\.weight"):
        load_network(folder)


def test_a_missing_weight_is_named(folder: Path) -> None:
    file = folder / "conditioning" / "model.safetensors"
    weights = load_file(file)
    del weights["mixers.mixers.0.alpha"]
    save_file(weights, file)

    with pytest.raises(PresetError, match=r"mixers\.mixers\.0\.alpha"):
        load_network(folder)


@pytest.mark.parametrize(
    ("file", "content"), [("preset.json", "{"), ("unet/config.json", "[]"), ("tokenizer/tokenizer.json", "nothing")]
)
def test_damaged_text_files_are_named(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)

    with pytest.raises(PresetError) as caught:
        load_engine(folder, device="cpu", torch_threads=1)
    assert str(folder / file) in caught.value.message


def profiles(**first_chunk: object) -> dict[str, Any]:
    """Profiles of preset.json of which the first chunk's sampling is changed."""
    sampling = {"num_inference_steps": 4, "guidance_scale": 3}
    return {"fast": {"windows": sampling, "first_chunk": {**sampling, **first_chunk}, "gpu_dtype": "bfloat16"}}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_prompt_tokens": 30}, "max_prompt_tokens"),
        ({"height": 60}, "height"),
        ({"profiles": profiles(num_inference_steps=0)}, "num_inference_steps"),
        ({"profiles": profiles(sampler="magic")}, "sampler"),
        ({"profiles": {"reference": profiles()["fast"]}}, "'fast' is missing"),
    ],
    ids=["tokens", "size", "steps", "sampler", "default profile"],
)
def test_wrong_values_are_named(folder: Path, changes: dict[str, Any], named: str) -> None:
    edit(folder / "preset.json", **changes)

    with pytest.raises(PresetError, match=named):
        load_engine(folder, device="cpu", torch_threads=1)


def test_half_precision_weights_are_computed_in_float32(sound: Path) -> None:
    network = load_network(sound)

    stored = load_file(sound / "unet" / "model.safetensors")["conv_in.weight"]
    assert stored.dtype == torch.float16
    assert torch.equal(network.unet.conv_in.weight, stored.float())


def test_recipes_follow_the_preset(sound: Path) -> None:
    preset = read_preset(sound)

    windows, first = (
        sampling_config(preset, preset.profiles["fast"].windows),
        sampling_config(preset, preset.profiles["fast"].first_chunk),
    )

    assert (windows.plan.sampler, windows.plan.eta, windows.plan.num_steps) == ("ddim", 1.0, 4)
    assert first.plan.sampler == "dpm_solver_pp"
    assert windows.schedule.prediction == "v_prediction"
    assert windows.plan.timesteps(windows.schedule) == (999, 749, 499, 249)


def test_approximations_are_off_until_a_preset_asks_for_them(sound: Path) -> None:
    preset = read_preset(sound)
    windows = preset.profiles["fast"].windows
    asked = windows.model_copy(update={"guidance_interval": (0.2, 0.9), "deep_feature_steps": 2})

    configs = [sampling_config(preset, sampling) for sampling in (windows, asked)]

    found = [(config.guidance_interval, config.deep_feature_steps) for config in configs]
    assert found == [(None, 1), ((0.2, 0.9), 2)]


def test_fingerprint_follows_the_weights(folder: Path) -> None:
    def line(compiled: bool = False) -> str:
        return fingerprint(folder, folder, torch.device("cpu"), SourceChoice("base"), compiled=compiled)

    before = line()
    file = folder / "vae" / "model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).add_(1)
    save_file(weights, file)

    assert weights_digest(folder) in line()
    assert line() != before
    assert line(compiled=True) == f"{line()}; compiled"


def test_the_service_reads_the_same_folder_without_torch(sound: Path) -> None:
    folder = Catalog(Settings(presets_dir=sound.parent)).get("toy")

    assert folder.preset.profile_defaults["fast"].num_inference_steps == 4
    assert folder.tokenizer.count("A red circle") == 3


def test_the_same_seed_writes_the_same_preset(sound: Path, tmp_path: Path) -> None:
    assert weights_digest(write_random_preset(tmp_path / "toy")) == weights_digest(sound)


def test_networks_of_two_dtypes_are_both_held_and_read_from_the_files_once(sound: Path) -> None:
    weights = WeightsFolder(sound, torch.device("cpu"))

    half = weights.at(torch.bfloat16)
    assert half.network.weight.dtype == torch.bfloat16
    assert weights.at(torch.bfloat16) is half
    whole = weights.at(torch.float32)

    assert whole.network.weight.dtype == torch.float32
    assert whole.vae is half.vae
    assert half.vae.dtype == torch.float32
    stored = load_file(sound / "unet" / "model.safetensors")["conv_in.weight"]
    assert torch.equal(whole.network.unet.conv_in.weight, stored.float())  # from the files, not from bfloat16
    assert weights.at(torch.bfloat16) is half
    assert weights.at(torch.float32) is whole


def test_networks_for_which_a_machine_has_no_room_take_turns(sound: Path) -> None:
    weights = WeightsFolder(sound, torch.device("cpu"), memory=Memory(lambda: 0, lambda: 0))

    half = weights.at(torch.bfloat16)
    weights.at(torch.float32)

    assert weights.at(torch.bfloat16) is not half


def test_networks_that_are_loaded_within_a_chunk_can_be_moved_within_one(sound: Path) -> None:
    weights = WeightsFolder(sound, torch.device("cpu"))

    with torch.inference_mode():
        models = weights.at(torch.float32)
    for part in models.network.parts.values():
        assert not any(weight.is_inference() for weight in part.parameters())


def test_the_expected_size_of_networks_is_the_real_one(sound: Path) -> None:
    free = 2**40
    weights = WeightsFolder(sound, torch.device("cpu"), memory=Memory(lambda: free, lambda: free))
    models = weights.at(torch.float32)
    free = 2 * sum(each.numel() for part in models.network.parts.values() for each in part.parameters())

    half = weights.at(torch.bfloat16)
    assert weights.at(torch.float32) is models
    assert weights.at(torch.bfloat16) is half
    free -= 1
    weights = WeightsFolder(sound, torch.device("cpu"), memory=Memory(lambda: free, lambda: free))
    models = weights.at(torch.float32)
    weights.at(torch.bfloat16)
    assert weights.at(torch.float32) is not models


def test_an_untouched_base_makes_the_first_chunk(folder: Path) -> None:
    shutil.copytree(folder / "unet", folder / "first_chunk_unet")
    cpu = torch.device("cpu")

    models = WeightsFolder(folder, cpu).at(torch.float32)

    assert isinstance(models.base, UntouchedBase)
    assert models.base.unet is not models.network.unet
    without = WeightsFolder(folder, cpu, with_base=False).at(torch.float32)
    assert without.base is without.network


def test_an_untouched_base_with_the_same_weights_makes_the_same_first_chunk(folder: Path) -> None:
    spec = job_spec(prompt="a red circle", model="toy", num_frames=16)

    def first_chunk() -> bytes:
        engine = load_engine(folder, device="cpu", torch_threads=1)
        return engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), lambda _step, _steps: None).frames.tobytes()

    shared = first_chunk()
    shutil.copytree(folder / "unet", folder / "first_chunk_unet")

    assert first_chunk() == shared


def test_weights_may_lie_in_another_folder_than_the_preset(sound: Path, tmp_path: Path) -> None:
    apart = tmp_path / "toy"
    apart.mkdir()
    shutil.copy(sound / "preset.json", apart)

    engine = load_engine(apart, weights=sound, device="cpu", torch_threads=1)

    assert weights_digest(sound) in engine.fingerprint


def test_modelscope_samples_as_published() -> None:
    preset = read_preset(SHIPPED_PRESETS_DIR / "modelscope")
    reference = preset.profiles["reference"]

    windows, first = sampling_config(preset, reference.windows), sampling_config(preset, reference.first_chunk)

    assert (windows.plan.sampler, windows.plan.eta, windows.guidance_scale) == ("ddim", 1.0, 7.5)
    assert windows.plan.timesteps(windows.schedule) == tuple(range(981, 0, -20))
    assert (first.plan.sampler, first.guidance_scale) == ("dpm_solver_pp", 9.0)
    timesteps = first.plan.timesteps(first.schedule)
    assert (len(timesteps), timesteps[:3], timesteps[-2:]) == (50, (999, 979, 959), (40, 20))
    assert windows.schedule.prediction == "epsilon"
    assert windows.schedule.signal_after_last() == windows.schedule.signal_at(0)


def test_modelscope_s_fast_profile_takes_half_the_steps() -> None:
    fast = read_preset(SHIPPED_PRESETS_DIR / "modelscope").profiles["fast"]

    assert [part.num_inference_steps for part in (fast.windows, fast.first_chunk)] == [25, 25]
    assert [part.sampler for part in (fast.windows, fast.first_chunk)] == ["dpm_solver_pp"] * 2
    assert fast.gpu_dtype == "bfloat16"


def test_profiles_pick_the_networks_dtype_on_a_gpu_and_float32_on_a_cpu(sound: Path) -> None:
    preset = read_preset(sound)

    dtypes = {kind: profile_configs(preset, torch.device(kind)) for kind in ("cuda", "cpu")}

    assert (dtypes["cuda"]["fast"].dtype, dtypes["cuda"]["reference"].dtype) == (torch.bfloat16, torch.float32)
    assert (dtypes["cpu"]["fast"].dtype, dtypes["cpu"]["reference"].dtype) == (torch.float32, torch.float32)


def test_a_watcher_is_notified_when_networks_are_loaded_again(sound: Path) -> None:
    told: list[str] = []

    @contextmanager
    def long_work(words: str) -> Generator[None]:
        told.append(words)
        yield

    weights = WeightsFolder(sound, torch.device("cpu"), long_work=long_work)
    for dtype in (torch.float32, torch.float32, torch.bfloat16):
        weights.at(dtype)
    assert told == ["loading networks in torch.float32", "loading networks in torch.bfloat16"]


@pytest.mark.parametrize("untouched", [False, True])
def test_first_chunks_and_windows_are_compiled_where_that_is_asked_for(folder: Path, untouched: bool) -> None:
    told: list[str] = []

    @contextmanager
    def long_work(words: str) -> Generator[None]:
        told.append(words)
        yield

    if untouched:
        shutil.copytree(folder / "unet", folder / "first_chunk_unet")
    models = WeightsFolder(folder, torch.device("cpu"), compiled=True, long_work=long_work).at(torch.float32)
    told.clear()
    latents, text, moment = torch.zeros(1, 4, 16, 8, 8), torch.zeros(1, 24, 32), torch.tensor(5)
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):  # as told, without a compiler's minutes
        embedded = models.network.cam.embed_pictures(torch.zeros(8, 3, 64, 64))
        with models.network.use_cache(models.network.precompute(text, torch.zeros(1, 4, 32))):
            models.network.predict_window(latents, moment, text, embedded)
        with models.base.use_cache(models.base.precompute(text, None)):
            models.base.predict(latents, moment, text)
    assert [words.partition(" for ")[0] for words in told] == ["compiling", "compiling"]
