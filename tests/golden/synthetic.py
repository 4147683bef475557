"""Writes golden folders of any size with random weights and this project's own outputs, for tests of the runner."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from core.model.engines.streaming_t2v.checkpoint import StreamingWeights, to_official
from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.networks.picture_preprocessing import preprocess_picture
from core.model.sampling.noise import draw_frames_first, draw_video, seeded
from core.model.sampling.samplers import SamplingPlan, sample
from core.model.sampling.schedules import make_schedule
from core.model.sampling.vae import decode_frames
from tests.golden.networks import build_network
from tests.helpers.reference_network import ReferenceNetwork, guided

NETWORK: dict[str, Any] = {
    "block_out_channels": [8, 16, 16],
    "down_block_types": ["CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "norm_eps": 1e-5,
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
    "transformer_in_heads": 8,
    "act": "silu",
    "in_channels": 4,
    "out_channels": 4,
    "text_tokens": 6,
    "image_tokens": 3,
    "merger_head_dim": 8,
    "cam_frames": 3,
    "cond_embedding_channels": [4, 4, 6, 8],
    "resampler_inner_dim": 5,
}
"""Constants of a network that shares no size with the published tiny one."""

EMBEDDING_WIDTH = 10
"""Of the image encoder's substitute."""

VAE_SIZES: dict[str, Any] = {
    "block_out_channels": [4, 4, 8, 8],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 2,
    "scaling_factor": 0.5,
}
LOOP: dict[str, Any] = {
    "frames": 5,
    "cond_frames": 3,
    "steps": 3,
    "timesteps": [668, 335, 2],
    "guidance_scale": 3.0,
    "eta": 0.5,
    "generator": "torch CPU generator, manual_seed(7)",
    "scheduler": {
        "type": "DDIM",
        "num_train_timesteps": 1000,
        "beta_start": 0.001,
        "beta_end": 0.01,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 2,
        "timestep_spacing": "leading",
        "prediction": "v_prediction",
    },
    "vae": {"type": "AutoencoderKL", **VAE_SIZES},
}
"""A loop that shares no constant with the published one; three windows."""


@dataclass(frozen=True)
class SyntheticNetwork:
    """A network with random weights, and its inputs."""

    network: StreamingNetwork
    generator: torch.Generator

    @classmethod
    def of(cls, seed: int) -> "SyntheticNetwork":
        """Weights as initialised, random where that is zero, so that no part is switched off."""
        torch.manual_seed(seed)
        network = build_network(NETWORK, EMBEDDING_WIDTH)
        generator = seeded(seed)
        for part in network.parts.values():
            part.eval()
            for weight in part.parameters():
                if not weight.any():
                    weight.data.normal_(std=0.2, generator=generator)
        return cls(network, generator)

    def random(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator)

    def official_weights(self) -> dict[str, Tensor]:
        """Under the official key names."""
        parts = StreamingWeights(**{name: part.state_dict() for name, part in self.network.parts.items()})
        return to_official(parts, self.network.mixers.layer_names)


@torch.no_grad()
def write_network_stem(folder: Path, synthetic: SyntheticNetwork) -> dict[str, Tensor]:
    """`cam_apm_unet` for a batch of three and nine frames of 8x4 latents; returns its tensors."""
    batch, frames, past = 3, 9, NETWORK["cam_frames"]
    plain, network = ReferenceNetwork(synthetic.network), synthetic.network
    latents = synthetic.random(batch, 4, frames, 8, 4)
    text = synthetic.random(batch, NETWORK["text_tokens"], NETWORK["cross_attention_dim"])
    pictures, embeddings = synthetic.random(past, 3, 64, 32), synthetic.random(batch, EMBEDDING_WIDTH)
    timestep = torch.tensor(123)
    tokens = torch.cat([network.expander(row.unsqueeze(0)) for row in embeddings])
    cam = plain.cam_features(latents, timestep, text, pictures)
    merged = plain.merge(plain.encode(latents, timestep, torch.cat([text, tokens], dim=1)), cam)
    tensors = {
        "in.latents": latents,
        "in.text_states": text,
        "in.cond_frames": pictures,
        "in.image_embeds": embeddings,
        "in.timestep": timestep,
        "out.image_tokens": tokens,
        "out.cond_embedding": network.cam.picture_encoder(pictures),
        "out.cam_mid": cam.mid_NCHW,
        "out.cam_down.2": cam.skips_NCHW[2],
        "out.merged_mid": merged.mid_NCHW.unflatten(0, (batch, frames)),
        "out.merged_skip.1": merged.skips_NCHW[1].unflatten(0, (batch, frames)),
        "out.noise_pred_cam_apm": plain.predict(latents, timestep, text, tokens, pictures),
        "out.noise_pred_cam_only": plain.predict(latents, timestep, text, None, pictures),
        "out.noise_pred_apm_only": plain.predict(latents, timestep, text, tokens, None),
        "out.noise_pred_plain": plain.predict(latents, timestep, text, None, None),
    }
    save_file(synthetic.official_weights(), folder / "cam_apm_unet.weights.safetensors")
    files = {"weights": "cam_apm_unet.weights.safetensors", "io": "cam_apm_unet.io.safetensors"}
    tolerance = "abs 1e-4 on noise predictions, 1e-3 on features (made up)"
    write_stem(folder, "cam_apm_unet", tensors, {"config": NETWORK, "tolerance": tolerance, "files": files})
    return tensors


@torch.no_grad()
def write_loop_stem(folder: Path, synthetic: SyntheticNetwork, text: Tensor) -> None:
    """`chunk_loop`: three windows of five frames, three of them conditioned, 32x64 pictures."""
    torch.manual_seed(1)
    levels = len(VAE_SIZES["block_out_channels"])
    types: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
    }
    vae = AutoencoderKL(**VAE_SIZES, **types).eval()
    weight, bias = synthetic.random(EMBEDDING_WIDTH, 12), synthetic.random(EMBEDDING_WIDTH)
    anchor, past = (
        torch.rand(3, 32, 64, generator=synthetic.generator),
        torch.rand(3, 3, 32, 64, generator=synthetic.generator),
    )

    def embed(picture: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(preprocess_picture(picture.unsqueeze(0), 224), 2).flatten(1)
        return functional.linear(pooled, weight, bias)

    embeddings = [embed(torch.zeros_like(anchor)), embed(anchor * 2 - 1)]
    tokens = torch.cat([synthetic.network.expander(row) for row in embeddings])
    tensors = {
        "image_encoder.model.visual.proj.weight": weight,
        "image_encoder.model.visual.proj.bias": bias,
        "in.init_chunk_frame0": anchor,
        "in.init_chunk_frames2_4": past,
        "out.image_embed_uncond": embeddings[0],
        "out.image_embed_cond": embeddings[1],
        "out.image_tokens_uncond_cond": tokens,
        **{f"vae.{name}": value for name, value in vae.state_dict().items()},
    }
    generator = seeded(7)
    for number in (1, 2, 3):
        window = _window(synthetic.network, vae, text, tokens, past * 2 - 1, generator)
        past = window["out.frames"][-3:]
        tensors |= {name.replace(".", f".chunk{number}.", 1): value for name, value in window.items()}
        tensors[f"out.chunk{number}.frames1_2"] = tensors.pop(f"out.chunk{number}.frames")[1:3]
    write_stem(folder, "chunk_loop", tensors, {"config": LOOP, "tolerance": "chunk 1 latents 1e-4 abs; chunk 2: 2e-2"})


def _window(
    network: StreamingNetwork,
    vae: AutoencoderKL,
    text: Tensor,
    tokens: Tensor,
    past: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Draws and outputs of one window, under their names without the window's."""
    shape, plain = (1, 4, LOOP["frames"], 4, 8), ReferenceNetwork(network)
    start = draw_video(generator, shape, torch.device("cpu"))
    draws = [draw_frames_first(generator, shape, torch.device("cpu")) for _ in range(LOOP["steps"])]
    noises, seen, predictions = iter(draws), list[Tensor](), list[Tensor]()
    denoise = guided(lambda x, t: plain.predict(x, torch.tensor(t), text, tokens, past), LOOP["guidance_scale"])

    def recording(x: Tensor, timestep: int) -> Tensor:
        seen.append(x)
        predictions.append(denoise(x, timestep))
        return predictions[-1]

    schedule = make_schedule(beta_start=0.001, beta_end=0.01, prediction="v_prediction")
    plan = SamplingPlan("ddim", LOOP["steps"], eta=LOOP["eta"], offset=2)
    last = sample(plan, recording, start, schedule, lambda: next(noises), lambda _step, _steps: None)
    frames = torch.cat([decode_frames(vae, last[0, :, i : i + 1]) for i in range(LOOP["frames"])])
    return {
        "draw.initial_noise": start,
        "draw.variance_noise": torch.cat([draw.transpose(1, 2) for draw in draws]),
        "out.guided_eps": torch.cat([prediction.transpose(1, 2) for prediction in predictions]),
        "out.latents_after_step": torch.cat([x.transpose(1, 2) for x in (*seen[1:], last)]),
        "out.mean_rgb_per_frame": frames.mean(dim=(2, 3)),
        "out.frames": frames,
    }


def write_stem(folder: Path, stem: str, tensors: dict[str, Tensor], sidecar: dict[str, Any]) -> None:
    """Sidecar and tensors of one stem; the sidecar lists every tensor."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    facts = {name: {"shape": list(tensor.shape), "meaning": "made up"} for name, tensor in tensors.items()}
    save_file(tensors, folder / sidecar.get("files", {}).get("io", f"{stem}.safetensors"))
    (folder / f"{stem}.json").write_text(json.dumps({**sidecar, "tensors": facts}))
