"""The catalog reads presets without torch and names their errors."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from core.service.admission.catalog import Catalog
from core.service.domain.errors import ModelNotInstalled, PresetError, UnknownModel
from core.service.engines.capabilities import Capabilities
from core.service.engines.definition import ENGINES
from core.service.settings import Settings
from core.service.testing.definitions import FAKE_ENGINE, FakePreset

FACTS = {
    "name": "tiny",
    "description": "for tests",
    "engine": "fake",
    "height": 64,
    "width": 64,
    "fps": 8,
    "max_prompt_tokens": 4,
}


def write_preset(folder: Path, facts: Mapping[str, object]) -> None:
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "preset.json").write_text(json.dumps(facts))
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "red": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))


def test_presets_are_found_by_folder_and_unknown_names_list_them(tmp_path: Path) -> None:
    write_preset(tmp_path / "tiny", FACTS)
    catalog = Catalog(Settings(presets_dir=tmp_path))
    assert catalog.names() == ["tiny"]
    with pytest.raises(UnknownModel) as caught:
        catalog.get("huge")
    assert caught.value.fix == "use one of: tiny"


def test_tokens_are_counted_without_special_tokens(tmp_path: Path) -> None:
    write_preset(tmp_path / "tiny", FACTS)
    assert Catalog(Settings(presets_dir=tmp_path)).get("tiny").tokenizer.count("a red circle") == 3


def test_a_broken_preset_names_the_file_and_the_field(tmp_path: Path) -> None:
    write_preset(tmp_path / "tiny", {**FACTS, "fps": 0})
    with pytest.raises(PresetError, match=r"preset\.json: fps: "):
        _ = Catalog(Settings(presets_dir=tmp_path)).get("tiny").preset


DOWNLOAD = {
    "checkpoint": {"repository": "org/method", "revision": "main", "files": ["all.ckpt"]},
    "base": {"repository": "org/base", "revision": "main", "files": ["unet/model.safetensors", "vocab.json"]},
}


def test_a_model_that_was_not_downloaded_says_which_files_and_what_gets_them(tmp_path: Path) -> None:
    write_preset(tmp_path / "presets" / "large", {**FACTS, "download": DOWNLOAD})
    settings = Settings(presets_dir=tmp_path / "presets", weights_dir=tmp_path / "weights")
    folder = Catalog(settings).get("large")

    with pytest.raises(ModelNotInstalled) as caught:
        folder.tokenizer.count("a red circle")
    assert not folder.installed
    assert str(tmp_path) not in caught.value.message  # clients read it, too
    assert "all.ckpt of org/method" in caught.value.message
    assert "longtake pull large" in str(caught.value.fix)


def test_a_downloaded_model_s_tokenizer_lies_with_its_weights(tmp_path: Path) -> None:
    write_preset(tmp_path / "presets" / "large", {**FACTS, "download": DOWNLOAD})
    (tmp_path / "weights" / "large").mkdir(parents=True)
    (tmp_path / "presets" / "large" / "tokenizer").rename(tmp_path / "weights" / "large" / "tokenizer")
    folder = Catalog(Settings(presets_dir=tmp_path / "presets", weights_dir=tmp_path / "weights")).get("large")

    assert folder.installed
    assert folder.tokenizer.count("a red circle") == 3


@pytest.mark.parametrize(
    ("limits", "where"),
    [({"max_steps": 5}, "max_steps"), ({"max_frames": 8}, "max_frames"), ({"max_refine_steps": 1001}, "")],
)
def test_limits_that_a_preset_cannot_set_are_named(tmp_path: Path, limits: Mapping[str, int], where: str) -> None:
    write_preset(tmp_path / "tiny", {**FACTS, "limits": limits})
    with pytest.raises(PresetError, match=rf"preset\.json: limits\.{where}"):
        _ = Catalog(Settings(presets_dir=tmp_path)).get("tiny").preset


REFINER = {
    "kind": "fake",
    **{"height": 128, "width": 128, "max_side": 256},
    **{"strength": 0.6, "num_inference_steps": 4, "guidance_scale": 2.0},
}
SDEDIT = REFINER | {"kind": "sdedit", "resampling": "plain", "gpu_dtype": "float32"}


def test_a_refiner_of_a_downloaded_model_is_an_extra(tmp_path: Path) -> None:
    write_preset(tmp_path / "presets" / "large", {**FACTS, "download": DOWNLOAD, "refiner": REFINER})
    (tmp_path / "weights" / "large").mkdir(parents=True)
    folder = Catalog(Settings(presets_dir=tmp_path / "presets", weights_dir=tmp_path / "weights")).get("large")

    assert folder.installed
    with pytest.raises(ModelNotInstalled, match="the refiner of large is not installed") as caught:
        folder.require_refiner()
    assert (caught.value.field, str(tmp_path) in str(caught.value)) == ("refine", False)
    assert "`longtake pull large --refiner`" in str(caught.value.fix)

    (tmp_path / "weights" / "large" / "refiner").mkdir()
    folder.require_refiner()


def test_a_refiner_of_a_repository_of_its_own_is_always_there(tmp_path: Path) -> None:
    refiner = SDEDIT | {"source": "diffusers:org/video-xl"}
    write_preset(tmp_path / "large", {**FACTS, "download": DOWNLOAD, "refiner": refiner})
    assert Catalog(Settings(presets_dir=tmp_path, weights_dir=tmp_path / "weights")).get("large").refines


@pytest.mark.parametrize("source", ["org/video-xl", "diffusers:", "base"])
def test_an_unknown_refiner_source_is_refused(tmp_path: Path, source: str) -> None:
    write_preset(tmp_path / "tiny", {**FACTS, "refiner": SDEDIT | {"source": source}})
    with pytest.raises(PresetError, match=r"preset\.json: refiner\.source: "):
        _ = Catalog(Settings(presets_dir=tmp_path)).get("tiny").preset


@pytest.mark.parametrize("refiner", [None, REFINER])
def test_a_shipped_model_refines_where_it_names_a_refiner(tmp_path: Path, refiner: Mapping[str, object] | None) -> None:
    write_preset(tmp_path / "tiny", {**FACTS, "refiner": refiner})
    assert Catalog(Settings(presets_dir=tmp_path)).get("tiny").refines == (refiner is not None)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    write_preset(tmp_path / "tiny", {**FACTS, "window_frames": 16})
    with pytest.raises(PresetError, match=r"preset\.json: window_frames: this key is unknown; remove it"):
        _ = Catalog(Settings(presets_dir=tmp_path)).get("tiny").preset


@pytest.mark.parametrize(
    ("refiner", "said"),
    [
        ({**REFINER, "resampling": "plain"}, "refiner.resampling: this key is unknown"),
        ({**REFINER, "kind": "sdedit"}, "refiner.resampling: Field required"),
        ({**REFINER, "kind": "enhance"}, "refiner: there is no refiner named 'enhance'"),
    ],
)
def test_a_refiner_is_validated_by_its_own_model(tmp_path: Path, refiner: Mapping[str, object], said: str) -> None:
    write_preset(tmp_path / "tiny", {**FACTS, "refiner": refiner})
    with pytest.raises(PresetError, match=re.escape(said)):
        _ = Catalog(Settings(presets_dir=tmp_path)).get("tiny").preset


@pytest.mark.parametrize("side", [65, 14])
def test_a_size_that_no_video_can_have_is_refused(tmp_path: Path, side: int) -> None:
    write_preset(tmp_path / "tiny", {**FACTS, "height": side})
    with pytest.raises(PresetError, match=r"preset\.json: height: "):
        _ = Catalog(Settings(presets_dir=tmp_path)).get("tiny").preset


def test_an_engine_that_fails_on_its_preset_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(FakePreset):
        @property
        def capabilities(self) -> Capabilities:
            raise KeyError("modes")

    monkeypatch.setattr(ENGINES, "_loaded", {"fake": replace(FAKE_ENGINE, preset=Broken)})
    write_preset(tmp_path / "tiny", FACTS)
    with pytest.raises(PresetError, match=r"preset\.json: its engine cannot use it: KeyError: 'modes'"):
        _ = Catalog(Settings(presets_dir=tmp_path)).get("tiny").preset
