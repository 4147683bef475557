"""The decoder for refined frames: only the decoder is trained, and it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.model.training.loop.checkpoints import load_averaged
from core.model.training.loop.plan import Plan
from core.model.training.loop.train import train
from core.model.training.sprites.clip_bank import ClipBank
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.stages.decoder import DecoderTask, decoder_parts
from core.model.training.stages.vae import sprites_vae

PLAN = Plan(steps=3, minutes=60, learning_rate=1e-2, final_rate=1.0, warmup_steps=0)


@pytest.fixture(scope="module")
def pairs() -> ClipBank:
    """Two scenes with made-up latents: three frames each, latents of the true frames first."""
    scenes = [sample_scene(np.random.default_rng(index)) for index in range(2)]
    latents = torch.randn(2, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    return ClipBank(scenes, latents.half())


def toy_task(pairs: ClipBank) -> DecoderTask:
    torch.manual_seed(0)
    return DecoderTask(sprites_vae((8, 8, 8, 8)).requires_grad_(False), pairs, seed=1, batch=2)


def test_same_step_gives_the_same_loss(pairs: ClipBank) -> None:
    task = toy_task(pairs)
    first, again, other = (float(task.loss(step).detach()) for step in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_decoder_learns_and_the_encoder_is_frozen(pairs: ClipBank, tmp_path: Path) -> None:
    task, untouched = toy_task(pairs), toy_task(pairs).vae
    before = float(task.loss(0).detach())

    train(task, PLAN, tmp_path / "decoder")

    assert float(task.loss(0).detach()) < before
    encoders = zip(task.vae.encoder.parameters(), untouched.encoder.parameters(), strict=True)
    assert all(torch.equal(own, old) for own, old in encoders)
    loaded = toy_task(pairs).vae
    load_averaged(tmp_path / "decoder", decoder_parts(loaded))
    assert not torch.equal(loaded.decoder.conv_in.weight, untouched.decoder.conv_in.weight)
