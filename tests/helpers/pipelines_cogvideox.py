"""Small CogVideoX with random weights, in the layout of the Hub's repositories, and its tokenizer's spiece.model."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from safetensors.torch import load_file, save_file
from transformers import T5EncoderModel
from transformers.convert_slow_tokenizer import import_protobuf
from transformers.models.t5.configuration_t5 import T5Config

from core.model.hub.t5_tokenizer import t5_tokenizer

SIDE = 32
WINDOW_FRAMES = 17
TEXT_TOKENS = 12
"""With "</s>"."""
LATENT_CHANNELS = 4
PIECES = ("▁", "▁a", "▁red", "▁blue", "▁green", "▁square", "▁circle", *"abcdefghijklmnopqrstuvwxyz")
CONTROL, UNKNOWN = 3, 2


def write_spiece(file: Path, charsmap: bytes = b"") -> Path:
    """A unigram model as SentencePiece stores it, written by protobuf's own code."""
    protobuf: Any = import_protobuf()
    model = protobuf.ModelProto()
    for text, kind in (("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)):
        model.pieces.add(piece=text, score=0.0, type=kind)
    for index, text in enumerate(PIECES):
        model.pieces.add(piece=text, score=-2.0 - 0.125 * index)
    model.trainer_spec.unk_id = UNKNOWN
    model.normalizer_spec.name = "nmt_nfkc"
    model.normalizer_spec.precompiled_charsmap = charsmap
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model.SerializeToString())
    return file


def write_cogvideox(folder: Path, *, image: bool = False, rotary: bool = False) -> Path:
    """A repository as the Hub has it, whose tokenizer is spiece.model; `image`: the image-to-video model.

    `rotary`: positions as in the 5B models. The image-to-video model also has learned ones.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind: Any = CogVideoXImageToVideoPipeline if image else CogVideoXPipeline
        parts = {
            "text_encoder": _text_encoder(),
            "transformer": transformer(image=image, rotary=rotary or image),
            "vae": autoencoder(),
            "scheduler": scheduler(),
        }
        for name, part in parts.items():
            part.save_pretrained(folder / name)
    write_spiece(folder / "tokenizer" / "spiece.model")
    classes = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
    classes |= {"text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "T5Tokenizer"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind.__name__, **classes}))
    for name, content in (("tokenizer_config", {"tokenizer_class": "T5Tokenizer"}), ("special_tokens_map", {})):
        (folder / "tokenizer" / f"{name}.json").write_text(json.dumps(content))
    return folder


def write_installed(folder: Path, *, image: bool = False, rotary: bool = False) -> Path:
    """A weights folder as `longtake pull` leaves it, with tokenizer.json."""
    write_cogvideox(folder, image=image, rotary=rotary)
    t5_tokenizer(folder / "tokenizer" / "spiece.model").save(str(folder / "tokenizer" / "tokenizer.json"))
    return folder


def split_weights(file: Path, num_shards: int) -> None:
    """One file of weights as the Hub has large ones: shards, and the index that names them."""
    weights = load_file(file)
    stem, names = file.name.removesuffix(".safetensors"), sorted(weights)
    shard_of = {
        name: f"{stem}-{index % num_shards + 1:05}-of-{num_shards:05}.safetensors" for index, name in enumerate(names)
    }
    for shard in sorted(set(shard_of.values())):
        save_file(
            {name: weights[name] for name in names if shard_of[name] == shard}, file.with_name(shard), {"format": "pt"}
        )
    index = {"metadata": {"total_size": file.stat().st_size}, "weight_map": shard_of}
    file.with_name(f"{file.name}.index.json").write_text(json.dumps(index))
    file.unlink()


def transformer(*, image: bool = False, rotary: bool = False, **more: Any) -> Any:
    sizes = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": LATENT_CHANNELS * (2 if image else 1),
        "out_channels": LATENT_CHANNELS,
        "time_embed_dim": 8,
        "text_embed_dim": 8,
        "num_layers": 2,
        "sample_width": SIDE // 8,
        "sample_height": SIDE // 8,
        "sample_frames": WINDOW_FRAMES,
        "max_text_seq_length": TEXT_TOKENS,
    }
    positions = {"use_rotary_positional_embeddings": rotary, "use_learned_positional_embeddings": image}
    return cast(Any, CogVideoXTransformer3DModel)(**{**sizes, **positions, **more}).eval()


def autoencoder(**more: Any) -> Any:
    sizes = {
        "block_out_channels": (4, 4, 4, 4),
        "latent_channels": LATENT_CHANNELS,
        "layers_per_block": 1,
        "norm_num_groups": 2,
        # Tiles have half of these sides, and begin at whole latents: every 40 and every 32 pixels.
        "sample_height": 96,
        "sample_width": 80,
    }
    return cast(Any, AutoencoderKLCogVideoX)(**{**sizes, **more}).eval()


def scheduler() -> Any:
    """The published 2B model's."""
    return CogVideoXDDIMScheduler(
        clip_sample=False, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="linspace"
    )


def _text_encoder() -> Any:
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    vocabulary = 3 + len(PIECES) + 100
    config = cast(Any, T5Config)(vocab_size=vocabulary, feed_forward_proj="gated-gelu", **sizes)
    return T5EncoderModel(config).eval()
