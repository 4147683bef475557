"""OpenCLIP's two towers -> transformers' CLIP: names, shapes, and weights with another layout.

OpenCLIP keeps query, key and value of a layer in one matrix, and its visual projection transposed; both
become views, nothing is read.
"""

from dataclasses import dataclass

from core.model.convert.lazy_tensor import LazyTensor, Shape

Tensors = dict[str, LazyTensor]

_LAYER_NAMES = {
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_QUERY_KEY_VALUE = ("q_proj", "k_proj", "v_proj")  # in this order in the stacked matrix
_VISUAL_NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",  # misspelt in transformers
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
_TEXT_NAMES = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}


@dataclass(frozen=True)
class VisualSizes:
    """Sizes of a visual tower; the defaults are ViT-H-14's."""

    width: int = 1280
    inner_width: int = 5120
    num_layers: int = 32
    patch_size: int = 14
    num_positions: int = 257
    embedding_width: int = 1024

    @property
    def picture_size(self) -> int:
        """Rows and columns of a picture: patches per side times their size (one position is the class token's)."""
        return round((self.num_positions - 1) ** 0.5) * self.patch_size


@dataclass(frozen=True)
class TextSizes:
    """Sizes of a text tower; the defaults are ViT-H-14's."""

    width: int = 1024
    inner_width: int = 4096
    num_layers: int = 24
    num_positions: int = 77
    vocabulary: int = 49408
    embedding_width: int = 1024


def visual_shapes(sizes: VisualSizes) -> dict[str, Shape]:
    """OpenCLIP's names and shapes of a visual tower, without their prefix `visual.`."""
    width = sizes.width
    return {
        "class_embedding": (width,),
        "positional_embedding": (sizes.num_positions, width),
        "proj": (width, sizes.embedding_width),
        "conv1.weight": (width, 3, sizes.patch_size, sizes.patch_size),
        **_norm_shapes("ln_pre", width),
        **_layers_shapes(sizes.num_layers, width, sizes.inner_width),
        **_norm_shapes("ln_post", width),
    }


def text_shapes(sizes: TextSizes) -> dict[str, Shape]:
    """OpenCLIP's names and shapes of a text tower with all its layers."""
    return {
        **text_frame_shapes(sizes),
        **_layers_shapes(sizes.num_layers, sizes.width, sizes.inner_width),
    }


def text_frame_shapes(sizes: TextSizes) -> dict[str, Shape]:
    """A text tower without its layers: what is left of it in a checkpoint that uses the visual tower only."""
    return {
        "positional_embedding": (sizes.num_positions, sizes.width),
        "text_projection": (sizes.width, sizes.embedding_width),
        "logit_scale": (),
        "token_embedding.weight": (sizes.vocabulary, sizes.width),
        **_norm_shapes("ln_final", sizes.width),
    }


def _layers_shapes(num_layers: int, width: int, inner_width: int) -> dict[str, Shape]:
    one = {
        **_norm_shapes("ln_1", width),
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        **_norm_shapes("ln_2", width),
        "mlp.c_fc.weight": (inner_width, width),
        "mlp.c_fc.bias": (inner_width,),
        "mlp.c_proj.weight": (width, inner_width),
        "mlp.c_proj.bias": (width,),
    }
    return {
        f"transformer.resblocks.{layer}.{name}": shape for layer in range(num_layers) for name, shape in one.items()
    }


def _norm_shapes(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def visual_to_transformers(tensors: Tensors) -> Tensors:
    """A visual tower (names without `visual.`) as the weights of a CLIPVisionModelWithProjection."""
    renamed = {f"vision_model.{new}": tensors[old] for old, new in _VISUAL_NAMES.items()}
    renamed.update({f"vision_model.{name}": tensor for name, tensor in _layers(tensors).items()})
    renamed["visual_projection.weight"] = tensors["proj"].transposed()
    return renamed


def text_to_transformers(tensors: Tensors, num_layers: int) -> Tensors:
    """The first `num_layers` layers and the final norm of a text tower as the weights of a CLIPTextModel.

    With all layers but the last, its last_hidden_state is OpenCLIP's "penultimate" output after ln_final.
    """
    kept = {name: tensor for name, tensor in tensors.items() if (layer := layer_of(name)) is None or layer < num_layers}
    return {**{new: tensors[old] for old, new in _TEXT_NAMES.items()}, **_layers(kept)}


def layer_of(name: str) -> int | None:
    """Index of the transformer layer that a weight belongs to."""
    if not name.startswith("transformer.resblocks."):
        return None
    return int(name.split(".")[2])


def _layers(tensors: Tensors) -> Tensors:
    """Every transformer layer under transformers' names."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        if (layer := layer_of(name)) is not None:
            inner = name.split(".", 3)[3]
            renamed.update(
                {f"encoder.layers.{layer}.{new}": view for new, view in _layer_weight(inner, tensor).items()}
            )
    return renamed


def _layer_weight(name: str, tensor: LazyTensor) -> Tensors:
    """One weight of a layer; the stacked projection becomes three."""
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        width = tensor.shape[0] // 3
        return {
            f"self_attn.{projection}.{kind}": tensor.rows(index * width, (index + 1) * width)
            for index, projection in enumerate(_QUERY_KEY_VALUE)
        }
    module, _, kind = name.rpartition(".")
    return {f"{_LAYER_NAMES[module]}.{kind}": tensor}
