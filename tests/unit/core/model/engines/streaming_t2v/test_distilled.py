"""Distilled profiles: adapters beside untouched weights, loaded into copies of what they change."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from core.model.engines.streaming_t2v.device_cache import Memory
from core.model.engines.streaming_t2v.loading import load_engine
from core.model.engines.streaming_t2v.models import UNDISTILLED, Distilled, LoadedModels
from core.model.engines.streaming_t2v.networks import WeightsFolder, load_network
from core.model.engines.streaming_t2v.preset import read_preset
from core.model.networks.adapters import Adapter, merge
from core.model.networks.base_network import UntouchedBase
from core.model.presets.fingerprint import weights_digest
from core.model.training.preset_files import save_weights
from core.service.domain.engine import NO_INPUT_MEDIA, Engine, FramesTHWC, ignore_step
from core.service.domain.errors import PresetError
from core.service.domain.schema import FirstChunkSampling, Profile
from tests.helpers.jobs import job_spec
from tests.helpers.random_preset import write_random_preset

CPU = torch.device("cpu")
BOTH = Distilled(windows=True, first_chunk=True)
FILES = ("windows.safetensors", "first_chunk.safetensors")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset whose fast profile is distilled, with random adapters."""
    folder = write_random_preset(tmp_path_factory.mktemp("sound") / "toy", num_inference_steps=2)
    network = load_network(folder)
    memory = nn.ModuleDict({name: part for name, part in network.parts.items() if name != "unet"})
    (folder / "distilled").mkdir()
    for name, part in zip(FILES, (memory, network.unet), strict=True):
        save_weights(random_adapter(part), folder / "distilled" / name)
    content = json.loads((folder / "preset.json").read_text())
    for part in ("windows", "first_chunk"):
        content["profiles"]["fast"][part] |= {"distilled": True, "guidance_scale": 1.0}
    (folder / "preset.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(sound, tmp_path / "toy"))


def random_adapter(network: nn.Module) -> Adapter:
    adapter = Adapter(network, rank=1)
    torch.manual_seed(7)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.2)
    return adapter


def num_weights_of(*models: LoadedModels) -> int:
    """Of all networks, each tensor once."""
    parts = [part for each in models for part in (*each.network.parts.values(), each.base.unet)]
    return sum(weight.numel() for weight in {id(w): w for part in parts for w in part.parameters()}.values())


def test_networks_with_and_without_adapters_share_the_windows_unet_and_nothing_else(sound: Path) -> None:
    weights = WeightsFolder(sound, CPU)
    plain, distilled = weights.at(torch.float32), weights.at(torch.float32, BOTH)

    assert distilled.network.unet is plain.network.unet
    assert distilled.vae is plain.vae
    assert isinstance(distilled.base, UntouchedBase)
    assert plain.base is plain.network
    memory = sum(p.numel() for name, part in plain.network.parts.items() if name != "unet" for p in part.parameters())
    unet = sum(p.numel() for p in plain.network.unet.parameters())
    assert num_weights_of(plain, distilled) == 2 * memory + 2 * unet
    assert weights.at(torch.float32, BOTH) is not plain
    assert weights.at(torch.float32).network is plain.network


def test_each_part_can_be_distilled_by_itself(sound: Path) -> None:
    weights = WeightsFolder(sound, CPU)
    windows, first = (
        weights.at(torch.float32, Distilled(windows=True)),
        weights.at(torch.float32, Distilled(first_chunk=True)),
    )
    both = weights.at(torch.float32, BOTH)
    assert windows.base is windows.network
    assert both.network is windows.network
    assert both.base is first.base


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_is_added_to_the_weights_from_the_files(sound: Path, dtype: torch.dtype) -> None:
    models = WeightsFolder(sound, CPU).at(dtype, BOTH)
    expected = load_network(sound, dtype=dtype)
    merge(expected.unet, random_adapter(expected.unet).half().float().state_dict())
    for name, weight in expected.unet.state_dict().items():
        assert torch.equal(models.base.unet.state_dict()[name], weight), name
    plain = load_network(sound, dtype=dtype)
    assert torch.equal(models.network.unet.conv_out.weight, plain.unet.conv_out.weight)
    assert not torch.equal(models.network.cam.conv_in.weight, plain.cam.conv_in.weight)
    assert not models.base.unet.conv_in.weight.requires_grad


def test_an_untouched_base_gets_the_first_chunks_adapter(folder: Path) -> None:
    shutil.copytree(folder / "unet", folder / "first_chunk_unet")
    weights = WeightsFolder(folder, CPU)
    plain, distilled = weights.at(torch.float32), weights.at(torch.float32, BOTH)
    assert plain.base.unet is not plain.network.unet
    assert distilled.base.unet is not plain.base.unet


def test_another_first_chunk_source_loads_no_adapter_for_it(folder: Path) -> None:
    (folder / "distilled" / FILES[1]).unlink()
    models = WeightsFolder(folder, CPU, with_base=False).at(torch.float32, BOTH)
    assert models.base is models.network
    preset = read_preset(folder).with_first_chunk_source("svd")
    assert not preset.profiles["fast"].first_chunk.distilled


@pytest.mark.parametrize("profile", [UNDISTILLED, BOTH])
def test_room_is_made_for_what_a_profile_loads_and_for_no_more(sound: Path, profile: Distilled) -> None:
    machine = Room()
    weights = WeightsFolder(sound, CPU, memory=machine.memory)
    half = weights.at(torch.bfloat16, profile)
    machine.free = 4 * num_weights_of(half)
    whole = weights.at(torch.float32, profile)
    assert weights.at(torch.bfloat16, profile) is half
    assert weights.at(torch.float32, profile) is whole


def test_room_is_made_for_what_a_second_profile_of_a_dtype_loads(sound: Path) -> None:
    machine = Room()
    weights = WeightsFolder(sound, CPU, memory=machine.memory)
    plain, distilled = weights.at(torch.float32), weights.at(torch.float32, BOTH)
    more = 4 * (num_weights_of(plain, distilled) - num_weights_of(plain))
    for free, stays in ((more, True), (more - 1, False)):
        weights = WeightsFolder(sound, CPU, memory=machine.memory)
        machine.free = 2**40
        half, plain = weights.at(torch.bfloat16), weights.at(torch.float32)
        machine.free = free
        weights.at(torch.float32, BOTH)
        assert weights.at(torch.float32) is plain
        assert (weights.at(torch.bfloat16) is half) is stays


class Room:
    """A machine with so many bytes free."""

    def __init__(self) -> None:
        self.free = 2**40
        self.memory = Memory(lambda: self.free, lambda: self.free)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "damaged", "of another network"])
def test_a_file_that_cannot_be_used_is_named(folder: Path, file: str, damage: str) -> None:
    path = folder / "distilled" / file
    if damage == "missing":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        save_weights(random_adapter(nn.Sequential(nn.Linear(8, 8))), path)
    with pytest.raises(PresetError, match=f"{path}"):
        load_engine(folder, device="cpu", torch_threads=1)


def test_adapters_are_part_of_the_fingerprint(folder: Path) -> None:
    before = weights_digest(folder)
    (folder / "distilled" / FILES[0]).unlink()
    assert weights_digest(folder) != before


def video(folder: Path, profile: Profile) -> tuple[FramesTHWC, FramesTHWC]:
    """First chunk and the 8 frames after it, by a new engine."""
    return video_by(load_engine(folder, device="cpu", torch_threads=1), profile)


def video_by(engine: Engine, profile: Profile, guidance_scale: float = 2.0) -> tuple[FramesTHWC, FramesTHWC]:
    spec = job_spec(
        prompt="a red circle",
        model="toy",
        num_frames=24,
        profile=profile,
        guidance_scale=guidance_scale,
        num_inference_steps=1,
        first_chunk=FirstChunkSampling(num_inference_steps=1, guidance_scale=guidance_scale),
    )
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), ignore_step)
    return first.frames, engine.next_chunk(spec, first.state, ignore_step).frames


def test_the_undistilled_profile_is_what_it_was_without_adapters(sound: Path, folder: Path) -> None:
    content = json.loads((folder / "preset.json").read_text())
    for part in ("windows", "first_chunk"):
        content["profiles"]["fast"][part]["distilled"] = False
    (folder / "preset.json").write_text(json.dumps(content))
    shutil.rmtree(folder / "distilled")
    for with_adapters, without in zip(video(sound, "reference"), video(folder, "reference"), strict=True):
        assert (with_adapters == without).all()
    assert not (video(sound, "fast")[0] == video(folder, "fast")[0]).all()
    assert not (video(sound, "fast")[1] == video(folder, "fast")[1]).all()


def test_profiles_in_turn_make_what_each_makes_alone(sound: Path) -> None:
    """They share a UNet, and a text's keys and values depend on the profile's weights."""
    engine = load_engine(sound, device="cpu", torch_threads=1)
    profiles: list[Profile] = ["fast", "reference", "fast"]
    for profile in profiles:
        for shared, alone in zip(video_by(engine, profile), video(sound, profile), strict=True):
            assert (shared == alone).all()
