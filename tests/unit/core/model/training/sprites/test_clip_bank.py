"""The clip bank: batches depend on their generator only, and a changed key is encoded again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.model.training.sprites import captions, world
from core.model.training.sprites.clip_bank import ClipBank, bank_key, bank_scenes, build_bank
from core.model.training.sprites.world import SIMILAR_COLOURS
from core.model.training.stages.vae import sprites_vae


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> ClipBank:
    torch.manual_seed(0)
    vae = sprites_vae((8, 8, 8, 8)).eval()
    return build_bank(vae, 1, 3, 6, tmp_path_factory.mktemp("bank") / "bank.safetensors")


def test_same_generator_state_gives_the_same_batch(bank: ClipBank) -> None:
    first, second = (bank.batch(np.random.default_rng(4), 3, 4) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]


def test_captions_mark_windows_that_start_later(bank: ClipBank) -> None:
    rng = np.random.default_rng(1)
    starts = {tuple(bank.latents_ktchw[clip, :4].flatten().tolist()) for clip in (0, 2)}
    for _ in range(10):
        latents, texts = bank.batch(rng, 1, 4)
        is_start = tuple(latents[0].half().flatten().tolist()) in starts
        assert is_start == (captions.LATER not in texts[0])


def test_batch_has_window_shape(bank: ClipBank) -> None:
    latents, texts = bank.batch(np.random.default_rng(0), 3, 4)
    assert latents.shape == (3, 4, 4, 8, 8)
    assert len(texts) == 3


def test_bank_with_the_same_key_is_reused_and_another_is_not(tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    vae = sprites_vae((8, 8, 8, 8)).eval()
    build_bank(vae, 1, 2, 2, path)
    written = path.stat().st_mtime_ns
    build_bank(vae, 1, 2, 2, path)
    assert path.stat().st_mtime_ns == written
    assert build_bank(vae, 1, 3, 2, path).latents_ktchw.shape[0] == 3


def test_bank_of_a_changed_autoencoder_is_encoded_again(tmp_path: Path) -> None:
    vae, other_vae = (sprites_vae((8, 8, 8, 8)).eval() for _ in range(2))
    before, after = (build_bank(one, 1, 2, 2, tmp_path / "bank.safetensors") for one in (vae, other_vae))
    assert not torch.equal(before.latents_ktchw, after.latents_ktchw)


def test_key_contains_the_world_version() -> None:
    assert bank_key(sprites_vae((8, 8, 8, 8)), 1, 2, 2)["world"] == str(world.WORLD_VERSION)


def test_bank_with_more_scenes_of_two_is_encoded_again(tmp_path: Path) -> None:
    vae = sprites_vae((8, 8, 8, 8)).eval()
    before, after = (build_bank(vae, 1, 4, 2, tmp_path / "bank.safetensors", share) for share in (0.0, 1.0))
    assert [len(scene.sprites) for scene in before.scenes + after.scenes] == [1] * 4 + [2] * 4
    assert not torch.equal(before.latents_ktchw, after.latents_ktchw)


def test_batch_contains_the_requested_share_of_similar_colours(tmp_path: Path) -> None:
    bank = build_bank(sprites_vae((8, 8, 8, 8)).eval(), 1, 60, 1, tmp_path / "bank.safetensors", 1.0)
    usual, similar = (bank.batch(np.random.default_rng(0), 200, 1, similar_colours=share)[1] for share in (0.0, 1.0))

    def shows_similar(text: str) -> bool:
        return frozenset(text.split()) & set(world.COLOURS) in SIMILAR_COLOURS

    assert 0 < sum(map(shows_similar, usual)) < 120
    assert all(map(shows_similar, similar))


def test_batch_of_a_bank_without_similar_colours_uses_all_scenes(bank: ClipBank) -> None:
    bank = ClipBank(bank.scenes[:1] * 2, bank.latents_ktchw[:2])
    assert len(bank.batch(np.random.default_rng(0), 3, 1, similar_colours=1.0)[1]) == 3


def test_larger_bank_starts_with_the_same_scenes() -> None:
    assert bank_scenes(1, 5)[:3] == bank_scenes(1, 3)
