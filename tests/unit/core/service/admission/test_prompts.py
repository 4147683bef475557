"""Prompts: each kind of text that models cannot read is refused or warned about, per kind of vocabulary."""

from __future__ import annotations

import contextlib
import re
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel

from core.model.training.sprites.captions import all_words
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.admission.prompts import ReadPrompt, read_negative_prompt, read_prompt
from core.service.domain.errors import InvalidField, PromptNotUnderstood, PromptTooLong, RequestError
from core.service.domain.schema import WarningCode
from core.service.domain.text import clean
from core.service.engines.vocabulary import FUNCTION_WORDS, MOST_LISTED_WORDS, Vocabulary, foreign_syntax
from core.service.settings import Settings
from tests.helpers.presets import write_fake_preset

RED_CIRCLE = "a red circle"


@pytest.fixture(scope="module")
def sprites() -> PresetFolder:
    return Catalog(Settings()).get("sprites")


@pytest.fixture
def fake(tmp_path: Path) -> PresetFolder:
    """A preset without a vocabulary."""
    write_fake_preset(tmp_path, "fake")
    return Catalog(Settings(presets_dir=tmp_path)).get("fake")


def byte_level_tokenizer() -> Tokenizer:
    """Like CLIP's, with single bytes and four words."""
    single = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [f"{char}</w>" for char in single]
    merges = [("c", "a"), ("ca", "t</w>"), ("r", "e"), ("re", "d</w>"), ("Ã", "©</w>")]
    vocabulary = {token: index for index, token in enumerate([*single, *ends, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()  # pyright: ignore[reportAttributeAccessIssue] - untyped setters
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer


@pytest.fixture(scope="module")
def bytes_only() -> Vocabulary:
    return Vocabulary(byte_level_tokenizer())


def codes(read: ReadPrompt) -> list[str]:
    return [warning.code for warning in read.warnings]


UNREADABLE = {
    "Chinese": "一只红色的猫",
    "Cyrillic": "красный круг",
    "Arabic": "دائرة حمراء",
    "an emoji": "😺",
    "emoji of several parts": "👩‍🚀🏳️‍🌈",
    "only marks": "!!! ... ???",
    "only digits": "42 1080",
    "only function words": "a the with",
    "only a tag": "<lora:x:1>",
    "only options": "--ar 16:9 --v 6",
    "only a special token": "<|endoftext|>",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_prompt_without_a_known_word_is_refused_by_a_model_of_whole_words(sprites: PresetFolder, text: str) -> None:
    with pytest.raises(PromptNotUnderstood) as caught:
        read_prompt(text, sprites)
    assert caught.value.field == "prompt"
    assert caught.value.fix == f'say in plain English what the video shows, for example "{example(sprites)}"'


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_prompt_without_a_known_word_is_not_understood_by_a_model_of_bytes(bytes_only: Vocabulary, text: str) -> None:
    assert not bytes_only.check(text).understood


def example(preset: PresetFolder) -> str:
    return preset.preset.example_prompts[0]


def test_the_refusal_names_the_unknown_words(sprites: PresetFolder) -> None:
    with pytest.raises(PromptNotUnderstood, match="sprites knows no word of the prompt: cat, 猫"):
        read_prompt("a cat 猫", sprites)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        (RED_CIRCLE, ()),
        ("A RED Circle, moving-left!", ()),
        ("\uff52\uff45\uff44 circle", ()),  # the tokenizer's own normalisation counts
        ("a red cat on 2 sofas", ("cat", "sofas")),
        ("a red cat and another cat", ("cat", "another")),
        ("a red circle 😺", ("😺",)),
        ("a red 圆", ("圆",)),
    ],
)
def test_words_outside_of_the_vocabulary_are_warned_of(
    sprites: PresetFolder, text: str, unknown: tuple[str, ...]
) -> None:
    read = read_prompt(text, sprites)
    assert codes(read) == ([WarningCode.UNKNOWN_WORDS] if unknown else [])
    assert all(read.warnings[0].message.endswith(f": {', '.join(unknown)}") for _ in unknown)


def test_a_warning_names_a_few_words_and_counts_the_others(sprites: PresetFolder) -> None:
    (warning,) = read_prompt("red " + " ".join(f"word{n}" for n in "abcdefg") + " " + "x" * 99, sprites).warnings
    assert warning.message.endswith(": worda, wordb, wordc, wordd, worde and 3 more")
    assert warning.field == "prompt"


@pytest.mark.parametrize("word", ["cat", "CAT", "don't", "café", "caf\u00e9s", "zebra", "x"])
def test_latin_words_are_known_to_a_model_of_bytes(bytes_only: Vocabulary, word: str) -> None:
    assert bytes_only.check(word).understood
    assert bytes_only.check(word).unknown == ()


@pytest.mark.parametrize("word", ["猫", "кошка", "γάτα", "\uff23\uff21\uff34"])
def test_other_scripts_are_only_bytes_to_a_model_of_bytes(bytes_only: Vocabulary, word: str) -> None:
    check = bytes_only.check(f"red cat {word}")
    assert (check.understood, check.unknown) == (True, (word,))


def test_every_word_is_known_where_a_preset_has_no_vocabulary(fake: PresetFolder) -> None:
    for text in ("a red circle", "кошка", "a", "42", "猫"):
        assert codes(read_prompt(text, fake)) == []
    with pytest.raises(PromptNotUnderstood):
        read_prompt("?!", fake)


@pytest.mark.parametrize("name", ["sprites", "modelscope"])
def test_the_shipped_example_prompts_are_plain(name: str, sprites: PresetFolder) -> None:
    examples = Catalog(Settings()).get(name).preset.example_prompts
    assert examples
    assert not any(foreign_syntax(text) for text in examples)
    if name == "sprites":
        assert not any(read_prompt(text, sprites).warnings for text in examples)


def test_every_word_that_sprites_was_trained_on_is_known(sprites: PresetFolder) -> None:
    assert sprites.tokenizer.check_words(" ".join(sorted(all_words()))).unknown == ()


def test_the_words_of_sprites_are_listed_without_those_that_show_nothing(sprites: PresetFolder) -> None:
    assert set(sprites.known_words) == all_words() - FUNCTION_WORDS
    assert sprites.known_words == tuple(sorted(sprites.known_words))


def test_no_words_are_listed_of_a_model_that_takes_any_or_is_not_there(
    fake: PresetFolder, bytes_only: Vocabulary
) -> None:
    missing = Catalog(Settings(weights_dir=fake.path / "none")).get("modelscope")
    assert (fake.known_words, bytes_only.words, missing.known_words) == ((), (), ())


def test_a_long_vocabulary_is_not_listed() -> None:
    def words(count: int) -> tuple[str, ...]:
        ids = {"[UNK]": 0, "the": 1} | {f"word{number}": number + 2 for number in range(count)}
        return Vocabulary(Tokenizer(WordLevel(ids, unk_token="[UNK]"))).words

    assert len(words(MOST_LISTED_WORDS)) == MOST_LISTED_WORDS
    assert words(MOST_LISTED_WORDS + 1) == ()


@pytest.mark.parametrize(
    "text",
    [
        "(red:1.4) circle",
        "(red circle : .8)",
        "red::2 circle",
        "((red)) circle",
        "[red] circle",
        "red circle <lora:x:1>",
        "red circle <hypernet:y>",
        "red circle <|endoftext|>",
        "red circle --ar 16:9",
        "red circle --no blue",
        "red BREAK circle",
        "a red circle AND a blue square",
        "a {red|blue} circle",
        "a __colour__ red circle",
        "red circle Negative prompt: blue",
    ],
)
def test_the_syntax_of_other_tools_is_warned_of(sprites: PresetFolder, text: str) -> None:
    assert WarningCode.FOREIGN_SYNTAX in codes(read_prompt(text, sprites))


@pytest.mark.parametrize(
    "text",
    [
        "a red circle (moving left), over a striped background",
        "a red circle: moving left",
        "10:30 on a plain background, red",
        "a well-known red circle -- moving left",
        "A RED CIRCLE AND A BLUE SQUARE",
        "red < blue > green",
        "a red circle; a blue square: both moving",
    ],
)
def test_plain_english_with_marks_is_not_taken_for_foreign_syntax(text: str) -> None:
    assert foreign_syntax(text) == []


INVISIBLE = {
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "left-to-right mark": "\u200e",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "Hangul filler U+3164": "\u3164",
    "Braille blank U+2800": "\u2800",
    "variation selector U+FE0F": "\ufe0f",
    "tag character": "\U000e0061",
    "combining grapheme joiner": "\u034f",
}


@pytest.mark.parametrize("char", INVISIBLE.values(), ids=INVISIBLE.keys())
def test_invisible_characters_are_removed_and_refused_where_nothing_is_left(sprites: PresetFolder, char: str) -> None:
    read = read_prompt(f"a red{char} circle{char}", sprites)
    assert re.sub(" +", " ", read.text) == RED_CIRCLE
    assert codes(read) == [WarningCode.CHARACTERS_REMOVED]
    with pytest.raises(InvalidField, match="no visible text"):
        read_prompt(char * 3, sprites)


def test_a_blank_letter_still_parts_two_words(sprites: PresetFolder) -> None:
    assert read_prompt("a red\u3164circle", sprites).text == RED_CIRCLE


def test_text_is_composed_as_unicode_says(fake: PresetFolder) -> None:
    read = read_prompt("cafe\u0301", fake)
    assert (read.text, read.warnings) == ("caf\u00e9", ())


def test_a_negative_prompt_is_never_refused_for_its_words(sprites: PresetFolder) -> None:
    read = read_negative_prompt("blurry (ugly:1.3)\u200b", sprites)
    assert read.text == "blurry (ugly:1.3)"
    assert codes(read) == [WarningCode.CHARACTERS_REMOVED, WarningCode.FOREIGN_SYNTAX, WarningCode.UNKNOWN_WORDS]
    assert {warning.field for warning in read.warnings} == {"negative_prompt"}
    assert read_negative_prompt("\u200b", sprites).text == ""
    with pytest.raises(PromptTooLong):
        read_negative_prompt("red " * 31, sprites)


@settings(deadline=None)
@given(text=st.text())
def test_any_text_is_either_cleaned_or_refused_by_name(sprites: PresetFolder, text: str) -> None:
    for read in (read_prompt, read_negative_prompt):
        with contextlib.suppress(RequestError):
            cleaned = read(f"red {text}", sprites).text
            assert cleaned == unicodedata.normalize("NFC", cleaned) == clean(cleaned).text


@pytest.mark.parametrize("part", ["{|", "(:1", "_", "<a:", "[", "--a ", ": ", "((", "a'", "'", ":1111", "{x|||||"])
def test_no_prompt_takes_long_to_read(sprites: PresetFolder, part: str) -> None:
    """Far longer texts than are allowed cost a hundredth of this. If their pieces were compared with each other, they
    would cost minutes."""
    text, began = part * (100_000 // len(part)), time.process_time()
    with contextlib.suppress(RequestError):
        read_prompt(text, sprites)
    assert time.process_time() - began < 5


def test_runs_of_white_space_are_one_space_and_all_else_is_kept() -> None:
    assert clean(" a red \t circle\n\n\u3164over  it ").text == "a red circle over it"
    for kept in ("a red\ncircle", "a\tred circle"):
        assert (clean(kept).text, clean(kept).num_removed) == (kept, 0)
    assert clean("a  red circle").num_removed == 0
