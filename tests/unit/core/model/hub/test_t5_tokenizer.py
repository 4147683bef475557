"""T5's tokenizer from spiece.model, written by protobuf's own code and read by ours."""

from pathlib import Path

import pytest
from transformers import T5Tokenizer

from core.model.hub.fast_tokenizer import fast_tokenizer
from core.model.hub.t5_tokenizer import t5_tokenizer
from core.service.domain.errors import CheckpointUnreadable
from core.service.engines.tokenizer import FileTokenizer
from tests.helpers.pipelines_cogvideox import PIECES, write_spiece

FIRST_PIECE, END, UNKNOWN = 3, 1, 2


@pytest.fixture(scope="module")
def spiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spiece(tmp_path_factory.mktemp("t5") / "tokenizer" / "spiece.model")


def test_texts_are_the_most_likely_pieces_and_an_end(spiece: Path) -> None:
    tokenizer = t5_tokenizer(spiece)

    encoded = tokenizer.encode("a red  square\n")

    assert encoded.tokens == ["▁a", "▁red", "▁square", "</s>"]
    assert encoded.ids == [*(FIRST_PIECE + PIECES.index(piece) for piece in ("▁a", "▁red", "▁square")), END]
    assert tokenizer.encode("").ids == [END]
    assert tokenizer.encode("9").ids[-2] == UNKNOWN


def test_sentinels_follow_the_pieces(spiece: Path) -> None:
    tokenizer = t5_tokenizer(spiece)

    assert tokenizer.get_vocab_size() == FIRST_PIECE + len(PIECES) + 100
    assert tokenizer.token_to_id("<extra_id_0>") == tokenizer.get_vocab_size() - 1


def test_the_file_is_counted_without_torch_and_read_by_the_library(spiece: Path) -> None:
    t5_tokenizer(spiece).save(str(spiece.with_name("tokenizer.json")))

    theirs = T5Tokenizer.from_pretrained(spiece.parent)

    assert FileTokenizer(spiece.parent.parent).count("a red square") == 3
    padded = theirs("a red square", padding="max_length", max_length=6, truncation=True)["input_ids"]
    assert padded == [*t5_tokenizer(spiece).encode("a red square").ids, 0, 0]


def test_a_pull_makes_the_one_file_form(spiece: Path) -> None:
    made = fast_tokenizer(spiece.parent)

    assert made is not None
    assert made.encode("a red square").ids == t5_tokenizer(spiece).encode("a red square").ids


def test_rules_of_normalisation_are_kept(tmp_path: Path) -> None:
    """An empty trie of 256 units: no rule acts."""
    size = 4 * 256
    charsmap = size.to_bytes(4, "little") + bytes(size) + b"\0"

    tokenizer = t5_tokenizer(write_spiece(tmp_path / "spiece.model", charsmap))

    assert "Precompiled" in str(tokenizer.normalizer)
    assert tokenizer.encode("a red square").tokens == ["▁a", "▁red", "▁square", "</s>"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\x0a", b"\x0a\x05abc", b"\xff" * 20, b"\x08\x01", b"\x0b"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "spiece.model"
    file.write_bytes(content)

    with pytest.raises(CheckpointUnreadable, match=r"spiece\.model is no SentencePiece model of T5"):
        t5_tokenizer(file)


@pytest.mark.parametrize("missing", [1, 2, 5])
def test_a_file_that_ends_early_is_refused(spiece: Path, tmp_path: Path, missing: int) -> None:
    short = tmp_path / "spiece.model"
    short.write_bytes(spiece.read_bytes()[:-missing])

    with pytest.raises(CheckpointUnreadable, match="ends within"):
        t5_tokenizer(short)
