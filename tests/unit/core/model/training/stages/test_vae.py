"""Training frames of the autoencoder."""

import torch

from core.model.training.stages.vae import frame_batch


def test_frame_batch_is_determined_by_the_step() -> None:
    assert torch.equal(frame_batch(1, 7, 2), frame_batch(1, 7, 2))
    assert not torch.equal(frame_batch(1, 7, 2), frame_batch(1, 8, 2))
