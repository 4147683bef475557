"""The word tokenizer: every caption fits, and unknown words become [UNK]."""

from itertools import product

import numpy as np

from core.model.training.sprites import captions
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.sprites.word_tokenizer import MAX_TOKENS, build_tokenizer, hide_filler_words, token_ids


def test_every_caption_fits_and_has_no_unknown_word() -> None:
    tokenizer = build_tokenizer()
    unknown = tokenizer.token_to_id("[UNK]")
    for seed in range(100):
        scene = sample_scene(np.random.default_rng(seed))
        for wording, start in product(range(10), (True, False)):
            text = captions.caption(scene, np.random.default_rng(wording), from_the_start=start)
            ids = tokenizer.encode(text).ids
            assert len(ids) <= MAX_TOKENS
            assert unknown not in ids


def test_case_and_punctuation_do_not_matter() -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.encode("A RED circle, moving left!").ids == tokenizer.encode("a red circle moving left").ids


def test_unknown_words_become_the_unknown_token() -> None:
    assert build_tokenizer().encode("a fluffy circle").tokens == ["[BOS]", "a", "[UNK]", "circle", "[EOS]"]


def test_encoded_captions_are_padded_to_the_limit() -> None:
    ids = token_ids(build_tokenizer(), ["a red circle", ""])
    assert ids.shape == (2, MAX_TOKENS)
    assert ids[1, 2:].eq(0).all()


def test_hiding_filler_words_keeps_the_essential_ones() -> None:
    hidden = hide_filler_words(["a red circle moving left, dotted background"], np.random.default_rng(0), 1.0)
    assert hidden == ["[UNK] red circle [UNK] left, dotted [UNK]"]
