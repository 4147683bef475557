"""Pulling a preset whose weights are files of diffusers repositories, from a Hub on loopback."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors.torch import load_file

from core.model.checksums import verify_sums
from core.model.convert.summary import Report
from core.model.hub.pinned_files import lock_file
from core.model.hub.pull import pull
from core.model.hub.repository import HuggingFaceHub
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.errors import (
    CheckpointUnreadable,
    HubUnreachable,
    ModelNotInstalled,
    PresetError,
    SetupError,
    ShardMissing,
)
from core.service.engines.preset import PipelineDownload
from core.service.settings import Settings
from tests.helpers.command_line import Running
from tests.helpers.hub_server import Hub, running_hub
from tests.helpers.pipeline_repositories import write_repository
from tests.helpers.pipelines import unet_2d, write_stable_diffusion
from tests.helpers.presets import change_preset, write_fake_preset

REPOSITORY, CANNY = "org/stable-diffusion", "org/controlnet-canny"
FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
]
CANNY_FILES = ["config.json", "diffusion_pytorch_model.fp16.safetensors"]
DOWNLOAD = {
    "kind": "pipeline",
    "repositories": [{"repository": REPOSITORY, "revision": "main", "files": FILES}],
    "optional": {"canny": {"repository": CANNY, "revision": "main", "files": CANNY_FILES, "into": "controlnet/canny"}},
}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the repositories are made from."""
    folder = tmp_path_factory.mktemp("pipelines")
    write_stable_diffusion(folder / REPOSITORY)
    ControlNetModel.from_unet(unet_2d(), conditioning_embedding_out_channels=(4,)).save_pretrained(folder / CANNY)
    return folder


@pytest.fixture
def preset(tmp_path: Path) -> PresetFolder:
    folder = write_fake_preset(tmp_path / "presets", "drawn")
    shutil.rmtree(folder / "tokenizer")
    card = {"source": "https://example.com/drawn", "licence": "CC0-1.0", "disk_gb": 2.5}
    change_preset(folder, download=DOWNLOAD, card=card)
    return Catalog(Settings(presets_dir=tmp_path / "presets", weights_dir=tmp_path / "weights")).get("drawn")


@pytest.fixture
def hub(pipelines: Path, preset: PresetFolder, tmp_path: Path) -> Generator[Hub]:
    """A Hub with both repositories that the preset names."""
    download = preset.preset.download
    assert isinstance(download, PipelineDownload)
    with running_hub() as hub:
        for source in (*download.repositories, *download.optional.values()):
            folder = write_repository(tmp_path / source.repository, source, pipelines / source.repository)
            hub.publish(source.repository, folder)
        yield hub


def no_report(phase: str, done_bytes: int, total_bytes: int) -> None:
    """Nobody watches."""


def pull_from(hub: Hub, preset: PresetFolder, report: Report = no_report, **options: Any) -> Path:
    return pull(preset, report=report, hub=HuggingFaceHub(hub.url), **options)


def republish(hub: Hub, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / REPOSITORY / name).write_bytes(content)
    hub.publish(REPOSITORY, tmp_path / REPOSITORY)


def pins(preset: PresetFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(lock_file(preset).read_text())
    return content


def test_a_pulled_pipeline_is_the_published_one(hub: Hub, preset: PresetFolder, pipelines: Path) -> None:
    weights = pull_from(hub, preset)

    load: Any = StableDiffusionPipeline.from_pretrained
    original, pulled = load(pipelines / REPOSITORY), load(weights, local_files_only=True, use_safetensors=True)
    for part in ("unet", "vae", "text_encoder"):
        expected, found = getattr(original, part).state_dict(), getattr(pulled, part).state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name].half().float(), found[name]) for name in expected)
    text = "a red Cat, running"
    ids = original.tokenizer(text, padding="max_length").input_ids
    assert pulled.tokenizer(text, padding="max_length").input_ids == ids
    assert preset.tokenizer.count(text) == len(original.tokenizer(text).input_ids) - 2
    assert verify_sums(weights) == len(FILES) + 1


def test_only_what_is_named_is_fetched_once_and_stored_once(hub: Hub, preset: PresetFolder) -> None:
    weights = pull_from(hub, preset)
    served, asked = sorted(entry.path for entry in hub.served), len(hub.asked)

    pull_from(hub, preset)

    assert served == FILES
    assert len(hub.asked) == asked
    original = weights.parent / "downloads" / REPOSITORY / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    assert (weights / "vae" / "diffusion_pytorch_model.safetensors").samefile(original)


def test_an_optional_part_is_added_later(hub: Hub, preset: PresetFolder, pipelines: Path) -> None:
    weights = pull_from(hub, preset)
    before = sorted(weights.rglob("*"))
    hub.served.clear()
    assert preset.installed_parts == []

    pull_from(hub, preset, parts=["canny"])
    pull_from(hub, preset, parts=["canny"])

    assert preset.installed_parts == ["canny"]
    assert sorted(entry.path for entry in hub.served) == CANNY_FILES
    added = sorted(str(path.relative_to(weights)) for path in weights.rglob("*") if path not in before)
    names = ["SHA256SUMS", "config.json", "diffusion_pytorch_model.safetensors"]
    assert added == ["controlnet", "controlnet/canny", *(f"controlnet/canny/{name}" for name in names)]
    assert set(pins(preset)["repositories"]) == {REPOSITORY, CANNY}
    verify_sums(weights)
    loaded: Any = ControlNetModel.from_pretrained(weights / "controlnet" / "canny", local_files_only=True)
    original = load_file(pipelines / CANNY / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(loaded.state_dict()[name], original[name].half().float()) for name in original)


def test_the_command_pulls_with_a_part_and_says_so(hub: Hub, preset: PresetFolder, tmp_path: Path) -> None:
    variables = {"HF_ENDPOINT": hub.url, "LONGTAKE_WEIGHTS_DIR": str(preset.weights.parent)}
    command = Running(["pull", "drawn", "--with", "canny"], preset.path.parent, tmp_path, variables)

    assert command.wait() == 0, command.output

    assert f"drawn is installed in {preset.weights}, with canny" in command.output
    assert preset.installed_parts == ["canny"]


@pytest.mark.parametrize(
    ("options", "said", "fix"),
    [
        ({"refiner": True}, "drawn names no refiner", "leave --refiner out"),
        ({"dtype": "bfloat16"}, "installed as published", "leave --dtype out"),
        ({"parts": ["canny", "depth"]}, "names no part depth", "use one of: canny"),
    ],
)
def test_what_the_preset_has_not_is_refused_at_once(
    hub: Hub, preset: PresetFolder, options: dict[str, Any], said: str, fix: str
) -> None:
    with pytest.raises(SetupError, match=said) as caught:
        pull_from(hub, preset, **options)

    assert fix in str(caught.value.fix)
    assert hub.asked == []


def test_a_revision_is_that_of_the_pipeline_s_repository(hub: Hub, preset: PresetFolder, tmp_path: Path) -> None:
    old = hub.commit_of(REPOSITORY, "main")
    republish(hub, tmp_path, "unet/config.json", b"{}")

    pull_from(hub, preset, revision=old, parts=["canny"])

    assert pins(preset)["repositories"][REPOSITORY]["commit"] == old
    with pytest.raises(SetupError, match="is installed with revision"):
        pull_from(hub, preset, revision="v2")


def test_an_interrupted_pull_is_continued_by_the_next(hub: Hub, preset: PresetFolder) -> None:
    class Stopped(BaseException):
        """What a person's Ctrl-C raises."""

    def stop(phase: str, _done: int, _total: int) -> None:
        if phase == "diffusion_pytorch_model.fp16-00002-of-00002.safetensors":
            raise Stopped

    with pytest.raises(Stopped):
        pull_from(hub, preset, stop)
    assert not preset.installed
    hub.served.clear()

    pull_from(hub, preset)

    assert preset.installed
    assert [entry.path for entry in hub.served] == FILES[-3:]


def test_further_files_of_a_pinned_repository_are_those_of_its_commit(
    hub: Hub, preset: PresetFolder, tmp_path: Path
) -> None:
    notes = {"repository": REPOSITORY, "revision": "main", "files": ["more/config.json"], "into": "notes"}
    change_preset(preset.path, download={**DOWNLOAD, "optional": {"notes": notes}})
    pulled = Catalog(Settings(presets_dir=preset.path.parent, weights_dir=preset.weights.parent)).get("drawn")
    (tmp_path / REPOSITORY / "more").mkdir()
    republish(hub, tmp_path, "more/config.json", b'{"a": 1}')
    pull_from(hub, pulled)
    republish(hub, tmp_path, "more/config.json", b'{"a": 2}')

    pull_from(hub, pulled, parts=["notes"])

    assert json.loads((pulled.weights / "notes" / "more" / "config.json").read_text()) == {"a": 1}
    assert set(pins(pulled)["repositories"][REPOSITORY]["files"]) == {*FILES, "more/config.json"}


def test_weights_that_are_no_safetensors_are_refused(hub: Hub, preset: PresetFolder, tmp_path: Path) -> None:
    republish(hub, tmp_path, "vae/diffusion_pytorch_model.fp16.safetensors", b"\x80\x04K\x01.")

    with pytest.raises(CheckpointUnreadable, match=r"vae/diffusion_pytorch_model\.fp16\.safetensors is no safetensors"):
        pull_from(hub, preset)

    assert not preset.installed


def test_a_shard_that_the_preset_does_not_name_is_noticed(hub: Hub, preset: PresetFolder, tmp_path: Path) -> None:
    content = json.dumps({"weight_map": {"conv_in.weight": "diffusion_pytorch_model.fp16-00003-of-00003.safetensors"}})
    republish(hub, tmp_path, "unet/diffusion_pytorch_model.safetensors.index.fp16.json", content.encode())

    with pytest.raises(ShardMissing, match=r"names diffusion_pytorch_model-00003-of-00003\.safetensors"):
        pull_from(hub, preset)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["unet/diffusion_pytorch_model.bin"], "is no safetensors, config or tokenizer file"),
        (["unet/model.py"], "is no safetensors, config or tokenizer file"),
        (["../outside.json"], "is no path within the weights folder"),
        (["vae/a.safetensors", "vae/a.fp16.safetensors"], "more than one file would be installed as vae/a.safetensors"),
    ],
)
def test_files_that_cannot_be_installed_make_a_preset_unusable(
    preset: PresetFolder, files: list[str], said: str
) -> None:
    repository = {"repository": REPOSITORY, "revision": "main", "files": files}
    change_preset(preset.path, download={"kind": "pipeline", "repositories": [repository]})

    with pytest.raises(PresetError, match=said):
        _ = preset.preset


def test_a_model_that_is_not_installed_names_its_repository_its_size_and_the_command(preset: PresetFolder) -> None:
    with pytest.raises(ModelNotInstalled) as caught:
        preset.require_installed()

    assert f"made from {REPOSITORY} (2.5 GB)" in caught.value.message
    assert "`longtake pull drawn`" in str(caught.value.fix)


def test_without_a_hub_the_command_with_its_parts_is_named(preset: PresetFolder) -> None:
    with pytest.raises(HubUnreachable) as caught:
        pull(preset, report=no_report, parts=["canny"], hub=HuggingFaceHub("http://127.0.0.1:9"))

    assert f"downloads/{CANNY}/config.json" in caught.value.message
    assert "`longtake pull drawn --with canny`" in str(caught.value.fix)
