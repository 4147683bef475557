"""Tokens and the clip bank: every caption fits, unknown words are marked, batches depend on their generator alone."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from core.model.training import captions, data, sprites
from core.model.training.vae_stage import build_vae, frame_batch


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> data.ClipBank:
    torch.manual_seed(0)
    vae = build_vae((8, 8, 8, 8)).eval()
    return data.build_bank(vae, 1, 3, 6, tmp_path_factory.mktemp("bank") / "bank.safetensors")


def test_every_caption_fits_and_has_no_unknown_word() -> None:
    tokenizer = data.build_tokenizer()
    unknown = tokenizer.token_to_id("[UNK]")
    for seed in range(100):
        scene = sprites.sample_scene(np.random.default_rng(seed))
        for wording, start in product(range(10), (True, False)):
            text = captions.caption(scene, np.random.default_rng(wording), from_the_start=start)
            ids = tokenizer.encode(text).ids
            assert len(ids) <= data.MAX_TOKENS
            assert unknown not in ids


def test_case_and_punctuation_do_not_matter() -> None:
    tokenizer = data.build_tokenizer()
    assert tokenizer.encode("A RED circle, moving left!").ids == tokenizer.encode("a red circle moving left").ids


def test_unknown_words_become_the_unknown_token() -> None:
    assert data.build_tokenizer().encode("a fluffy circle").tokens == ["[BOS]", "a", "[UNK]", "circle", "[EOS]"]


def test_encoded_captions_are_padded_to_the_limit() -> None:
    ids = data.encode(data.build_tokenizer(), ["a red circle", ""])
    assert ids.shape == (2, data.MAX_TOKENS)
    assert ids[1, 2:].eq(0).all()


def test_same_generator_state_gives_the_same_batch(bank: data.ClipBank) -> None:
    first, second = (bank.batch(np.random.default_rng(4), 3, 4) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]


def test_windows_say_whether_they_are_beginnings(bank: data.ClipBank) -> None:
    rng = np.random.default_rng(1)
    beginnings = {tuple(bank.latents_ktchw[clip, :4].flatten().tolist()) for clip in (0, 2)}
    for _ in range(10):
        latents, texts = bank.batch(rng, 1, 4)
        begins = tuple(latents[0].half().flatten().tolist()) in beginnings
        assert begins == (captions.LATER not in texts[0])


def test_batch_has_window_shape(bank: data.ClipBank) -> None:
    latents, texts = bank.batch(np.random.default_rng(0), 3, 4)
    assert latents.shape == (3, 4, 4, 8, 8)
    assert len(texts) == 3


def test_bank_of_the_same_facts_is_read_again_and_another_is_not(tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    vae = build_vae((8, 8, 8, 8)).eval()
    data.build_bank(vae, 1, 2, 2, path)
    written = path.stat().st_mtime_ns
    data.build_bank(vae, 1, 2, 2, path)
    assert path.stat().st_mtime_ns == written
    assert data.build_bank(vae, 1, 3, 2, path).latents_ktchw.shape[0] == 3


def test_bank_of_an_autoencoder_that_has_learnt_more_is_encoded_anew(tmp_path: Path) -> None:
    vae, other_vae = (build_vae((8, 8, 8, 8)).eval() for _ in range(2))
    before, after = (data.build_bank(one, 1, 2, 2, tmp_path / "bank.safetensors") for one in (vae, other_vae))
    assert not torch.equal(before.latents_ktchw, after.latents_ktchw)


def test_bank_knows_the_world_that_it_shows() -> None:
    assert data.bank_facts(build_vae((8, 8, 8, 8)), 1, 2, 2)["world"] == str(sprites.WORLD_VERSION)


def test_bank_with_more_scenes_of_two_is_encoded_anew(tmp_path: Path) -> None:
    vae = build_vae((8, 8, 8, 8)).eval()
    before, after = (data.build_bank(vae, 1, 4, 2, tmp_path / "bank.safetensors", share) for share in (0.0, 1.0))
    assert [len(scene.sprites) for scene in before.scenes + after.scenes] == [1] * 4 + [2] * 4
    assert not torch.equal(before.latents_ktchw, after.latents_ktchw)


def test_batch_shows_more_of_two_alike_colours_where_asked(tmp_path: Path) -> None:
    bank = data.build_bank(build_vae((8, 8, 8, 8)).eval(), 1, 60, 1, tmp_path / "bank.safetensors", 1.0)
    usual, alike = (bank.batch(np.random.default_rng(0), 200, 1, alike=share)[1] for share in (0.0, 1.0))

    def shows_alike(text: str) -> bool:
        return frozenset(text.split()) & set(sprites.COLOURS) in sprites.ALIKE

    assert 0 < sum(map(shows_alike, usual)) < 120
    assert all(map(shows_alike, alike))


def test_batch_of_a_bank_without_alike_colours_takes_any(bank: data.ClipBank) -> None:
    bank = data.ClipBank(bank.scenes[:1] * 2, bank.latents_ktchw[:2])
    assert len(bank.batch(np.random.default_rng(0), 3, 1, alike=1.0)[1]) == 3


def test_larger_bank_begins_with_the_smaller_one() -> None:
    assert data.bank_scenes(1, 5)[:3] == data.bank_scenes(1, 3)


def test_unknown_wording_keeps_the_words_that_matter() -> None:
    blurred = data.blur_wording(["a red circle moving left, dotted background"], np.random.default_rng(0), 1.0)
    assert blurred == ["[UNK] red circle [UNK] left, dotted [UNK]"]


def test_frame_batch_depends_on_the_step_alone() -> None:
    assert torch.equal(frame_batch(1, 7, 2), frame_batch(1, 7, 2))
    assert not torch.equal(frame_batch(1, 7, 2), frame_batch(1, 8, 2))
