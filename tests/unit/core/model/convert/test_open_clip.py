"""OpenCLIP's towers and their conversions give the same numbers.

The towers here are written from OpenCLIP's published structure with torch's own attention module, under its key names.

Shapes: B batch, L positions, W width.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.convert.lazy_tensor import LazyTensor, Shape
from core.model.convert.open_clip import (
    TextSizes,
    VisualSizes,
    text_shapes,
    text_to_transformers,
    visual_shapes,
    visual_to_transformers,
)
from core.model.convert.safe_file import open_checkpoint
from core.model.convert.sizes import text_config, vision_config
from tests.helpers.checkpoints import random_weights

VISUAL = VisualSizes(width=160, inner_width=96, num_layers=3, patch_size=4, num_positions=17, embedding_width=24)
TEXT = TextSizes(width=128, inner_width=96, num_layers=4, num_positions=9, vocabulary=30, embedding_width=20)
Weights = dict[str, Tensor]


def norm(x_BLW: Tensor, weights: Weights, name: str) -> Tensor:
    return functional.layer_norm(x_BLW, x_BLW.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)


def block(x_BLW: Tensor, weights: Weights, index: int, num_heads: int, mask_LL: Tensor | None) -> Tensor:
    """One residual attention block."""
    prefix = f"transformer.resblocks.{index}."
    own = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
    attention = nn.MultiheadAttention(x_BLW.shape[-1], num_heads, batch_first=True)
    attention.load_state_dict({name[5:]: weight for name, weight in own.items() if name.startswith("attn.")})
    inner = norm(x_BLW, own, "ln_1")
    x_BLW = x_BLW + attention(inner, inner, inner, need_weights=False, attn_mask=mask_LL)[0]
    hidden = functional.gelu(functional.linear(norm(x_BLW, own, "ln_2"), own["mlp.c_fc.weight"], own["mlp.c_fc.bias"]))
    return x_BLW + functional.linear(hidden, own["mlp.c_proj.weight"], own["mlp.c_proj.bias"])


def visual_tower(pictures: Tensor, weights: Weights) -> Tensor:
    """Pictures [B, 3, P, P] -> embeddings, not normalised."""
    patches = functional.conv2d(pictures, weights["conv1.weight"], stride=VISUAL.patch_size).flatten(2).mT
    first = weights["class_embedding"].expand(len(pictures), 1, -1)
    x_BLW = norm(torch.cat([first, patches], dim=1) + weights["positional_embedding"], weights, "ln_pre")
    for index in range(VISUAL.num_layers):
        x_BLW = block(x_BLW, weights, index, num_heads=2, mask_LL=None)
    return norm(x_BLW[:, 0], weights, "ln_post") @ weights["proj"]


def penultimate_states(ids_BL: Tensor, weights: Weights) -> Tensor:
    """Token numbers -> states after all layers but the last, then ln_final, [B, L, W]."""
    x_BLW = weights["token_embedding.weight"][ids_BL] + weights["positional_embedding"]
    causal = torch.full((ids_BL.shape[1],) * 2, float("-inf")).triu(1)
    for index in range(TEXT.num_layers - 1):
        x_BLW = block(x_BLW, weights, index, num_heads=2, mask_LL=causal)
    return norm(x_BLW, weights, "ln_final")


def stored(weights: Weights, folder: Path) -> Path:
    save_file(weights, folder / "open_clip.safetensors")
    return folder / "open_clip.safetensors"


@torch.no_grad()
def test_the_visual_tower_gives_the_same_embedding(tmp_path: Path) -> None:
    weights = random_weights(visual_shapes(VISUAL))
    converted = visual_to_transformers(dict(open_checkpoint(stored(weights, tmp_path))))
    model = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(vision_config(VISUAL))).eval()
    model.load_state_dict({name: tensor.load() for name, tensor in converted.items()})
    pictures = torch.randn(2, 3, VISUAL.picture_size, VISUAL.picture_size, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(
        model(pixel_values=pictures).image_embeds, visual_tower(pictures, weights), rtol=1e-5, atol=1e-4
    )


@torch.no_grad()
def test_the_text_tower_without_its_last_layer_gives_the_penultimate_states(tmp_path: Path) -> None:
    weights = random_weights(text_shapes(TEXT))
    kept = TEXT.num_layers - 1
    converted = text_to_transformers(dict(open_checkpoint(stored(weights, tmp_path))), kept)
    config = text_config(TextSizes(**{**vars(TEXT), "num_layers": kept}))
    model = CLIPTextModel(CLIPTextConfig.from_dict(config)).eval()
    model.load_state_dict({name: tensor.load() for name, tensor in converted.items()})
    ids_BL = torch.randint(0, TEXT.vocabulary, (2, TEXT.num_positions), generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(
        model(input_ids=ids_BL).last_hidden_state, penultimate_states(ids_BL, weights), rtol=1e-5, atol=1e-4
    )


def without_data(shapes: dict[str, Shape]) -> dict[str, LazyTensor]:
    """Tensors of which only names and shapes are real."""
    return {
        name: LazyTensor(Path(), 0, torch.float32, shape, torch.empty(shape, device="meta").stride())
        for name, shape in shapes.items()
    }


def test_full_size_towers_have_the_networks_shapes() -> None:
    with torch.device("meta"):
        visual = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(vision_config(VisualSizes())))
        text = CLIPTextModel(CLIPTextConfig.from_dict(text_config(TextSizes(num_layers=23))))

    for model, converted in (
        (visual, visual_to_transformers(without_data(visual_shapes(VisualSizes())))),
        (text, text_to_transformers(without_data(text_shapes(TextSizes())), 23)),
    ):
        expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        assert {name: tensor.shape for name, tensor in converted.items()} == expected
