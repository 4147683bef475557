"""The catalog reads presets without torch and names what is wrong with one."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from core.service.catalog import Catalog
from core.service.errors import PresetError, UnknownModel

SAMPLING = {"num_inference_steps": 4, "guidance_scale": 5.0}
FACTS = {
    "name": "tiny",
    "description": "for tests",
    "engine": "fake",
    "height": 64,
    "width": 64,
    "fps": 8,
    "max_prompt_tokens": 4,
    "profiles": {"fast": {"windows": SAMPLING, "first_chunk": SAMPLING}},
}


def write_preset(folder: Path, facts: Mapping[str, object]) -> None:
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "preset.json").write_text(json.dumps(facts))
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "red": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))


def test_presets_are_found_by_folder_and_unknown_names_list_them(tmp_path: Path) -> None:
    write_preset(tmp_path / "tiny", FACTS)
    catalog = Catalog(tmp_path)
    assert catalog.names() == ["tiny"]
    with pytest.raises(UnknownModel) as caught:
        catalog.get("huge")
    assert caught.value.fix == "use one of: tiny"


def test_tokens_are_counted_without_special_tokens(tmp_path: Path) -> None:
    write_preset(tmp_path / "tiny", FACTS)
    assert Catalog(tmp_path).get("tiny").count_tokens("a red circle") == 3


def test_a_broken_preset_names_the_file_and_the_field(tmp_path: Path) -> None:
    write_preset(tmp_path / "tiny", {**FACTS, "fps": 0})
    with pytest.raises(PresetError, match=r"preset\.json: fps: "):
        _ = Catalog(tmp_path).get("tiny").facts
