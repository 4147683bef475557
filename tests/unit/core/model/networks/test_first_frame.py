"""Self-attention that also reads the first frame, against attention computed frame by frame."""

from typing import Any, cast

import pytest
import torch
from torch.nn import functional

from core.model.engines.streaming_t2v.cam import CamFeatureExtractor
from core.model.networks.attention import AttentionLayer, attend
from core.model.networks.base_network import predict_base
from core.model.networks.builders import build_unet
from core.model.networks.cross_attention import SharedTextLayers
from core.model.networks.first_frame import (
    READS_FIRST_FRAME,
    FirstFrameReader,
    attend_within_frames,
    let_read_first_frame,
    reads_first_frame,
)
from core.model.training.stages.base import sprites_unet

FRAMES = 3


def layer_of(unet: Any) -> AttentionLayer:
    return cast(AttentionLayer, unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1)


def seeded_unet() -> Any:
    torch.manual_seed(0)
    return sprites_unet((16, 16, 16, 16)).requires_grad_(False).eval()


def test_frames_read_themselves_and_the_first_one_of_their_video() -> None:
    layer = layer_of(let_read_first_frame(seeded_unet()))
    tokens_NQC = torch.randn(2 * FRAMES, 5, 16)
    attended_NQC = attend_within_frames(layer, tokens_NQC, FRAMES)
    for number, tokens_QC in enumerate(tokens_NQC):
        read_KC = torch.cat([tokens_QC, tokens_NQC[number - number % FRAMES]])
        scores_QK = layer.to_q(tokens_QC) @ layer.to_k(read_KC).T / 16**0.5
        expected = layer.to_out[0](functional.softmax(scores_QK, dim=-1) @ layer.to_v(read_KC))
        torch.testing.assert_close(attended_NQC[number], expected)


def test_one_frame_reads_itself_as_before() -> None:
    layer = layer_of(let_read_first_frame(seeded_unet()))
    tokens_NQC = torch.randn(4, 5, 16)
    assert torch.equal(attend_within_frames(layer, tokens_NQC, 1), attend(layer, tokens_NQC))


def test_other_networks_do_not_read_the_first_frame() -> None:
    layer = layer_of(seeded_unet())
    tokens_NQC = torch.randn(2 * FRAMES, 5, 16)
    assert torch.equal(attend_within_frames(layer, tokens_NQC, FRAMES), attend(layer, tokens_NQC))


def predict(unet: Any, latents: torch.Tensor) -> torch.Tensor:
    SharedTextLayers(unet).inject()
    return predict_base(unet, latents, torch.tensor(500), torch.ones(1, 4, 64))


def test_a_change_of_the_first_frame_reaches_another_place_of_later_frames() -> None:
    """Temporal layers look along time at one place; this is the only way from a corner to another in one layer."""
    unet = let_read_first_frame(seeded_unet())
    latents = torch.randn(1, 4, FRAMES, 8, 8)
    SharedTextLayers(unet).inject()
    layer, seen = layer_of(unet), torch.randn(FRAMES, 64, 16)
    changed = seen.clone()
    changed[0, 0] += 1
    before, after = (attend_within_frames(layer, tokens, FRAMES) for tokens in (seen, changed))
    assert (before[1:] != after[1:]).any(-1).all()
    assert not torch.equal(predict(unet, latents), predict(seeded_unet(), latents))


def test_config_says_it_and_a_network_built_from_the_config_does_it() -> None:
    unet = let_read_first_frame(seeded_unet())
    built = build_unet({**unet.config})
    assert reads_first_frame(unet)
    assert reads_first_frame(built)
    assert not reads_first_frame(seeded_unet())
    built.load_state_dict(unet.state_dict())
    latents = torch.randn(1, 4, FRAMES, 8, 8)
    assert torch.equal(predict(built.requires_grad_(False).eval(), latents), predict(unet, latents))


def test_cam_of_such_a_unet_reads_the_first_conditioning_frame() -> None:
    cam = CamFeatureExtractor.from_unet(let_read_first_frame(seeded_unet()), (4, 4, 4, 4))
    assert isinstance(layer_of(cam).get_processor(), FirstFrameReader)
    assert not isinstance(layer_of(CamFeatureExtractor.from_unet(seeded_unet(), (4, 4, 4, 4))), FirstFrameReader)


def test_its_mark_is_kept_by_save_and_load(tmp_path: Any) -> None:
    let_read_first_frame(seeded_unet()).save_pretrained(tmp_path)
    assert f'"{READS_FIRST_FRAME}": true' in (tmp_path / "config.json").read_text()


def test_diffusers_own_forward_refuses_to_run_it() -> None:
    unet = let_read_first_frame(seeded_unet())
    with pytest.raises(TypeError, match="reads first frames"):
        unet(torch.randn(1, 4, FRAMES, 8, 8), 500, encoder_hidden_states=torch.ones(1, 4, 64))
