"""Alternatives to CAM: they start with the base's output, read the history, and never train the base."""

from dataclasses import dataclass

import pytest
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from core.model.engines.streaming_t2v.network import predict_noise
from core.model.networks.base_network import predict_base
from core.model.training.loop.checkpoints import trained_parameters
from core.model.training.stages.base import sprites_unet
from core.model.training.stages.conditioning_variants import (
    Conditioning,
    known_frames,
    padded_to_window,
    replace_conditioning,
)
from core.model.training.stages.history import CONDITIONING_FRAMES, WINDOW_FRAMES
from core.model.training.stages.memory import Memory, sprites_memory

OF_THE_HISTORY: tuple[Conditioning, ...] = ("concat", "concat-encoder", "add", "cam")
TRAINED: tuple[Conditioning, ...] = (*OF_THE_HISTORY, "last-frame")


def shrunk(pictures: Tensor) -> Tensor:
    """A stand-in for the autoencoder: four latent channels, an eighth of the size."""
    return functional.avg_pool2d(pictures, 8)[:, [0, 1, 2, 0]]


@dataclass(frozen=True)
class Setup:
    unet: UNet3DConditionModel
    memory: Memory
    given: int
    """Conditioning frames of a window."""
    latents: Tensor
    text: Tensor

    def predict(self, pictures: Tensor) -> Tensor:
        """Given the first of `pictures`."""
        parts = (self.unet, self.memory.cam, self.memory.mergers)
        given = pictures[:, : self.given]
        return predict_noise(*parts, self.latents, torch.tensor([10, 900]), self.text, None, given)

    @property
    def base(self) -> Tensor:
        return predict_base(self.unet, self.latents, torch.tensor([10, 900]), self.text)


def make_setup(conditioning: Conditioning) -> Setup:
    torch.manual_seed(0)
    unet = sprites_unet((16, 16, 16, 16)).requires_grad_(False)
    memory = replace_conditioning(sprites_memory(unet, (4, 4, 4, 4), image_tokens=2), conditioning, unet, shrunk)
    memory.mixers.layers_of(unet).inject()
    given = 1 if conditioning == "last-frame" else CONDITIONING_FRAMES
    return Setup(unet, memory, given, torch.randn(2, 4, WINDOW_FRAMES, 16, 16), torch.randn(2, 32, 64))


def pictures() -> Tensor:
    """Bright history pictures; their negative is dark."""
    return torch.rand(2, CONDITIONING_FRAMES, 3, 128, 128)


def unzero(memory: Memory) -> None:
    """Replace zeros by random values, as training would."""
    with torch.no_grad():
        for part in (memory.cam, memory.mergers):
            for weight in part.parameters():
                if not weight.any():
                    weight.normal_(std=0.2)
        if memory.cam.conv_in.in_channels > 4:
            memory.cam.conv_in.weight[:, 4:].normal_(std=0.2)


@pytest.mark.parametrize("conditioning", ["none", *TRAINED])
def test_every_variant_starts_with_the_output_of_the_base(conditioning: Conditioning) -> None:
    setup = make_setup(conditioning)
    with torch.no_grad():
        torch.testing.assert_close(setup.predict(pictures()), setup.base, atol=1e-5, rtol=1e-5)


def test_the_fair_concatenation_trains_the_widened_first_convolution_alone() -> None:
    memory = make_setup("concat").memory
    names = {name for name, weight in memory.cam.named_parameters() if weight.requires_grad}
    assert names == {"conv_in.weight", "conv_in.bias"}
    assert trained_weights(memory) == 16 * 9 * 9 + 16
    assert memory.cam.conv_in.in_channels == 4 + 4 + 1


def test_the_other_concatenation_trains_a_whole_encoder_as_cam_does() -> None:
    whole, cam = (trained_weights(make_setup(name).memory) for name in ("concat-encoder", "cam"))
    assert 0.5 < whole / cam < 1.5


def trained_weights(memory: Memory) -> int:
    return sum(weight.numel() for weight in trained_parameters({"cam": memory.cam, "mergers": memory.mergers}))


@pytest.mark.parametrize("conditioning", TRAINED)
def test_a_trained_variant_reads_the_history(conditioning: Conditioning) -> None:
    setup = make_setup(conditioning)
    unzero(setup.memory)
    with torch.no_grad():
        assert (setup.predict(pictures()) - setup.predict(-pictures())).abs().max() > 1e-5


def test_without_conditioning_nothing_is_read_and_nothing_is_trained() -> None:
    setup = make_setup("none")
    with torch.no_grad():
        assert torch.equal(setup.predict(pictures()), setup.predict(pictures()))
    parts = nn.ModuleList([setup.memory.cam, setup.memory.mergers])
    assert not any(weight.requires_grad for weight in parts.parameters())


@pytest.mark.parametrize("conditioning", TRAINED)
def test_gradients_reach_the_variant_and_not_the_base(conditioning: Conditioning) -> None:
    setup = make_setup(conditioning)
    setup.predict(pictures()).square().mean().backward()
    assert all(weight.grad is None for weight in setup.unet.parameters())
    trained = [*setup.memory.cam.parameters(), *setup.memory.mergers.parameters()]
    assert any(weight.grad is not None and weight.grad.any() for weight in trained)


@pytest.mark.parametrize("conditioning", TRAINED)
def test_a_single_sample_serves_both_halves_of_guidance(conditioning: Conditioning) -> None:
    setup = make_setup(conditioning)
    unzero(setup.memory)
    history = pictures()[0, : setup.given]
    with torch.no_grad():
        embedded = setup.memory.cam.embed_pictures(history)
        assert len(embedded) in (CONDITIONING_FRAMES, WINDOW_FRAMES)
        parts = (setup.unet, setup.memory.cam, setup.memory.mergers)
        halves = predict_noise(*parts, setup.latents[:1], torch.tensor(500), setup.text, None, history)
        twice = setup.latents[:1].repeat(2, 1, 1, 1, 1)
        both = predict_noise(*parts, twice, torch.tensor(500), setup.text, None, history.repeat(2, 1, 1, 1, 1))
    torch.testing.assert_close(halves, both, atol=1e-5, rtol=1e-5)


def test_new_frames_are_padded_and_masked() -> None:
    window = padded_to_window(torch.ones(2, CONDITIONING_FRAMES, 4, 3, 3), value=0.0)
    assert window.shape == (2, WINDOW_FRAMES, 4, 3, 3)
    assert window[:, :CONDITIONING_FRAMES].all()
    assert not window[:, CONDITIONING_FRAMES:].any()
    mask = known_frames(window.flatten(0, 1), CONDITIONING_FRAMES)[:, 0, 0, 0]
    assert mask.tolist() == ([1.0] * CONDITIONING_FRAMES + [0.0] * (WINDOW_FRAMES - CONDITIONING_FRAMES)) * 2


@pytest.mark.parametrize("conditioning", TRAINED)
def test_nothing_is_dropped_at_random_in_training(conditioning: Conditioning) -> None:
    setup = make_setup(conditioning)
    assert torch.equal(setup.predict(pictures() * 0), setup.predict(pictures() * 0))


def test_every_frame_of_an_image_to_video_clip_has_the_picture_and_the_first_is_marked() -> None:
    encoder = make_setup("last-frame").memory.cam
    given = pictures()[:, :1]
    embedded = encoder.embed_pictures(given).unflatten(0, (2, WINDOW_FRAMES))
    assert embedded.shape[2:] == (4 + 1, 16, 16)
    for frame in range(WINDOW_FRAMES):
        assert torch.equal(embedded[:, frame, :4], shrunk(given[:, 0]))
        assert embedded[:, frame, 4].unique().tolist() == [1.0 if frame == 0 else 0.0]


def test_an_image_to_video_clip_begins_with_one_picture() -> None:
    with pytest.raises(AssertionError, match="one picture"):
        make_setup("last-frame").memory.cam.embed_pictures(pictures())


@pytest.mark.parametrize(
    ("conditioning", "reached"), [("last-frame", WINDOW_FRAMES), ("concat-encoder", CONDITIONING_FRAMES)]
)
def test_the_first_convolution_hands_the_picture_to_every_frame_by_itself(
    conditioning: Conditioning, reached: int
) -> None:
    """The layers along time are not needed: concatenation has them carry the history to the new frames."""
    setup = make_setup(conditioning)
    unzero(setup.memory)
    encoder, history = setup.memory.cam, pictures()[0, : setup.given]
    with torch.no_grad():
        bright, dark = (
            encoder.conv_in(torch.cat([torch.zeros(WINDOW_FRAMES, 4, 16, 16), added], dim=1))
            for added in (encoder.embed_pictures(history), encoder.embed_pictures(-history))
        )
    changed = (bright - dark).abs().amax(dim=(1, 2, 3)) > 1e-5
    assert changed.tolist() == [frame < reached for frame in range(WINDOW_FRAMES)]


def test_image_to_video_trains_as_much_as_the_concatenation_of_a_whole_encoder() -> None:
    whole, last_frame = (trained_weights(make_setup(name).memory) for name in ("concat-encoder", "last-frame"))
    assert whole == last_frame
