"""The decoder of refined frames: it alone is trained, it learns, and the refiner is exported with it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.model.training import data, sprites
from core.model.training.decoder_stage import DecoderTask, decoder_parts
from core.model.training.loop import Plan, load_averaged, train
from core.model.training.vae_stage import build_vae

PLAN = Plan(steps=3, minutes=60, learning_rate=1e-2, final_rate=1.0, warmup_steps=0)


@pytest.fixture(scope="module")
def pairs() -> data.ClipBank:
    """Two scenes with made-up latents: three frames each, those of the true ones first."""
    scenes = [sprites.sample_scene(np.random.default_rng(index)) for index in range(2)]
    latents = torch.randn(2, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    return data.ClipBank(scenes, latents.half())


def toy_task(pairs: data.ClipBank) -> DecoderTask:
    torch.manual_seed(0)
    return DecoderTask(build_vae((8, 8, 8, 8)).requires_grad_(False), pairs, seed=1, batch=2)


def test_a_step_has_the_same_loss_whenever_it_is_asked_for(pairs: data.ClipBank) -> None:
    task = toy_task(pairs)
    first, again, other = (float(task.loss(step).detach()) for step in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_decoder_learns_and_the_encoder_stays(pairs: data.ClipBank, tmp_path: Path) -> None:
    task, untouched = toy_task(pairs), toy_task(pairs).vae
    before = float(task.loss(0).detach())

    train(task, PLAN, tmp_path / "decoder")

    assert float(task.loss(0).detach()) < before
    encoders = zip(task.vae.encoder.parameters(), untouched.encoder.parameters(), strict=True)
    assert all(torch.equal(own, old) for own, old in encoders)
    loaded = toy_task(pairs).vae
    load_averaged(tmp_path / "decoder", decoder_parts(loaded))
    assert not torch.equal(loaded.decoder.conv_in.weight, untouched.decoder.conv_in.weight)
