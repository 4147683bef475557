"""Where a CLIP model comes from, how it is named, and what is said when it cannot be had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import pytest
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from core.model.evaluation.learned.clip_model import ClipModel, load_clip
from core.service.domain.errors import PresetError
from tests.unit.core.model.evaluation.learned.conftest import SIDE, random_video, write_clip

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache with the tiny model in it, and no network."""
    repository = tmp_path / "hub" / "models--openai--tiny-clip"
    shutil.copytree(clip_folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("model", ["openai/tiny-clip", f"openai/tiny-clip@{COMMIT}"])
def test_a_model_of_the_hub_is_named_with_its_commit(model: str) -> None:
    assert load_clip(model, "cpu").name == "openai/tiny-clip@0123456789ab"


def test_so_is_its_folder_in_the_cache(hub_cache: Path) -> None:
    (snapshot,) = hub_cache.glob("*/snapshots/*")
    assert load_clip(str(snapshot), "cpu").name == "openai/tiny-clip@0123456789ab"


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize("model", ["openai/another-clip", "openai/tiny-clip@v2"])
def test_a_model_that_is_not_in_the_cache_is_named_with_the_fix(model: str) -> None:
    with pytest.raises(PresetError, match=f"the CLIP model {model} cannot be loaded") as raised:
        load_clip(model, "cpu")
    assert "hf download" in raised.value.with_fix


def test_a_folder_is_named_with_a_checksum_of_its_weights(clip: ClipModel, clip_folder: Path, tmp_path: Path) -> None:
    same = load_clip(str(shutil.copytree(clip_folder, tmp_path / "tiny-clip")), "cpu")
    other = load_clip(str(write_clip(tmp_path / "other" / "tiny-clip", seed=1)), "cpu")
    assert clip.name.startswith("tiny-clip (SHA-256 ")
    assert same.name == clip.name
    assert other.name.startswith("tiny-clip (SHA-256 ")
    assert other.name != clip.name


@pytest.mark.parametrize("changed", ["preprocessor_config.json", "config.json", "tokenizer"])
def test_a_folder_that_prepares_otherwise_has_another_name(
    clip: ClipModel, clip_folder: Path, tmp_path: Path, changed: str
) -> None:
    """The same weights, and other scores."""
    folder = shutil.copytree(clip_folder, tmp_path / "tiny-clip")
    files = (
        [folder / changed] if changed != "tokenizer" else sorted({*folder.glob("vocab*"), *folder.glob("tok*.json")})
    )
    content = json.loads(files[0].read_text()) if files[0].exists() else {"do_normalize": False}
    files[0].write_text(json.dumps(content, indent=7))
    assert load_clip(str(folder), "cpu").name != clip.name


def test_loading_prints_nothing(clip_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert load_clip(str(clip_folder), "cpu").name
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="there is no folder"):
        load_clip(str(tmp_path / "nowhere"), "cpu")


def test_weights_that_lack_tensors_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    """transformers would draw them at random, and the score would be noise."""
    folder = shutil.copytree(clip_folder, tmp_path / "tiny-clip")
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PresetError, match=r"lacks 1 tensors, such as visual_projection\.weight"):
        load_clip(str(folder), "cpu")


def test_pickled_weights_are_not_read(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "tiny-clip")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(PresetError, match="cannot be loaded"):
        load_clip(str(folder), "cpu")


def test_the_picture_is_the_middle_square(clip: ClipModel) -> None:
    """Sides beyond it are not seen: a wide video is scored by its middle."""
    frame = random_video(1, height=SIDE, width=3 * SIDE)[0]
    other_sides = frame.copy()
    other_sides[:, :SIDE], other_sides[:, -SIDE:] = 0, 255
    assert clip.prepare(frame).equal(clip.prepare(other_sides))
    assert clip.prepare(frame).shape == (3, SIDE, SIDE)


def test_a_folder_says_how_pictures_are_prepared(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "tiny-clip")
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "CLIPImageProcessor", "do_normalize": false, "resample": 0,'
        f'"size": {{"shortest_edge": {SIDE}}}, "crop_size": {{"height": {SIDE}, "width": {SIDE}}}}}'
    )
    frame = random_video(1, height=2 * SIDE, width=2 * SIDE)[0]
    nearest = Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    expected = [channel / 255 for channel in nearest.getpixel((3, 5))]  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
    assert load_clip(str(folder), "cpu").prepare(frame)[:, 5, 3].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_commit_in_the_cache_does_not_wait_for_the_hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's client would try five times to reach it."""
    asked: list[bool] = []
    download = huggingface_hub.snapshot_download

    def watched(*arguments: Any, local_files_only: bool = False, **more: Any) -> str:
        asked.append(not local_files_only)
        return cast(Any, download)(*arguments, local_files_only=local_files_only, **more)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", watched)
    load_clip(f"openai/tiny-clip@{COMMIT}", "cpu")
    assert asked == [False]
    (weights,) = hub_cache.glob("*/snapshots/*/model.safetensors")
    weights.unlink()  # as after a download that was interrupted
    with pytest.raises(PresetError):
        load_clip(f"openai/tiny-clip@{COMMIT}", "cpu")
    assert asked == [False, False, True]
