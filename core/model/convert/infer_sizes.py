"""Infers network sizes from tensor shapes, so that models of other than the published sizes can be converted.

Every size is the most common value in several weights, so that one missing or misshapen weight is reported by itself
and does not change a size. Without any of these weights the published size is used.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count

from core.model.convert.lazy_tensor import LazyTensor, Shape
from core.model.convert.ldm_vae import ldm_name
from core.model.convert.open_clip import TextSizes, VisualSizes
from core.model.convert.refiner_names import RefinerLayout
from core.model.convert.sizes import Config, StreamingSizes, unet_config, vae_config

Shapes = Mapping[str, Shape]
ShapeOf = Callable[[str], Shape | None]
"""A weight's shape by its name in the network; None if the file lacks it."""

_TEMPORAL_HEADS_IN = 8  # of transformer_in, whatever its width
_CROSS_ATTENTION = "attentions.0.transformer_blocks.0.attn2"
_RESNET_WEIGHTS = ("norm2.weight", "norm2.bias", "conv1.bias", "conv2.bias")
_NORM_WEIGHTS = ("weight", "bias")


def streaming_sizes(shapes: Shapes) -> StreamingSizes:
    """Sizes of a checkpoint with the official names."""
    published = StreamingSizes()
    mixers = [f"base_model.{place}.{_CROSS_ATTENTION}.conv" for place in ("mid_block", "down_blocks.0", "up_blocks.1")]
    text_tokens = _most_common(shapes.get, published.num_text_tokens, *((f"{mixer}.bias", 0) for mixer in mixers))
    all_tokens = published.num_text_tokens + published.num_image_tokens
    expander = "resampler.context_embedding"
    return StreamingSizes(
        unet=unet_sizes(below(shapes, "base_model.").get),
        vae=vae_sizes(below(shapes, "vae.").get),
        text=_text_encoder_sizes(below(shapes, "text_encoder.text_model.").get),
        visual=visual_sizes(below(shapes, "image_encoder.model.visual.").get),
        picture_channels=_picture_channels(below(shapes, "unet.controlnet_cond_embedding.").get),
        num_text_tokens=text_tokens,
        num_image_tokens=_most_common(shapes.get, all_tokens, *((f"{mixer}.weight", 1) for mixer in mixers))
        - text_tokens,
        expander_width=_most_common(
            shapes.get,
            published.expander_width,
            (f"{expander}.0.weight", 0),
            (f"{expander}.0.bias", 0),
            (f"{expander}.2.weight", 1),
        ),
    )


def unet_sizes(shape_of: ShapeOf) -> Config:
    """Sizes of a UNet3DConditionModel, by diffusers' names."""
    published = unet_config()
    levels = _number_of("down_blocks.{}.resnets.0", _RESNET_WEIGHTS, shape_of)
    if not levels:
        return published
    layers = [f"{place}.{_CROSS_ATTENTION}" for place in ("mid_block", "down_blocks.0")]
    head_width: int = published["attention_head_dim"]
    heads_width = _most_common(
        shape_of,
        head_width * _TEMPORAL_HEADS_IN,
        ("transformer_in.proj_in.weight", 0),
        ("transformer_in.proj_in.bias", 0),
        ("transformer_in.proj_out.weight", 1),
    )
    return unet_config(
        widths=tuple(_resnet_width(f"down_blocks.{level}", shape_of) for level in range(levels)),
        layers_per_block=_number_of("down_blocks.0.resnets.{}", _RESNET_WEIGHTS, shape_of),
        text_width=_most_common(
            shape_of,
            published["cross_attention_dim"],
            *((f"{layer}.{name}.weight", 1) for layer in layers for name in ("to_k", "to_v")),
        ),
        head_width=heads_width // _TEMPORAL_HEADS_IN,
        latent_channels=_most_common(
            shape_of, published["in_channels"], ("conv_in.weight", 1), ("conv_out.weight", 0), ("conv_out.bias", 0)
        ),
        attention=tuple(
            _exists(f"down_blocks.{level}.attentions.0.norm", _NORM_WEIGHTS, shape_of) for level in range(levels)
        ),
    )


def refiner_sizes(shapes: Shapes) -> Config:
    """Sizes of the refiner's UNet under its file's names."""
    # The first block that only downsamples comes after the first level's layers.
    downsamplers = (f"input_blocks.{index}.op" for index in range(1, len(shapes) + 1))
    layers = next((i for i, name in enumerate(downsamplers) if _exists(name, _NORM_WEIGHTS, shapes.get)), 0)
    layout = RefinerLayout(layers, ())
    return unet_sizes(lambda name: shapes.get(layout.name_of(name)))


def ldm_vae_sizes(shapes: Shapes) -> Config:
    """Sizes of a latent-diffusion autoencoder under its file's names, without `first_stage_model.`."""
    levels = _number_of("encoder.down.{}.block.0", _RESNET_WEIGHTS, shapes.get)
    return vae_sizes(lambda name: shapes.get(ldm_name(name, levels)))


def vae_sizes(shape_of: ShapeOf) -> Config:
    """Sizes of an AutoencoderKL, by diffusers' names."""
    published = vae_config()
    levels = _number_of("encoder.down_blocks.{}.resnets.0", _RESNET_WEIGHTS, shape_of)
    if not levels:
        return published
    return vae_config(
        widths=tuple(_resnet_width(f"encoder.down_blocks.{level}", shape_of) for level in range(levels)),
        layers_per_block=_number_of("encoder.down_blocks.0.resnets.{}", _RESNET_WEIGHTS, shape_of),
        latent_channels=_most_common(
            shape_of,
            published["latent_channels"],
            ("decoder.conv_in.weight", 1),
            ("post_quant_conv.weight", 0),
            ("post_quant_conv.bias", 0),
        ),
    )


def visual_sizes(shape_of: ShapeOf) -> VisualSizes:
    """Sizes of an OpenCLIP visual tower."""
    published = VisualSizes()
    layer = "transformer.resblocks.0"
    return VisualSizes(
        width=_most_common(
            shape_of, published.width, ("class_embedding", 0), ("proj", 0), ("ln_pre.weight", 0), ("ln_post.weight", 0)
        ),
        inner_width=_most_common(shape_of, published.inner_width, *_mlp_weights(layer, "c_fc", "c_proj")),
        num_layers=_number_of("transformer.resblocks.{}.ln_1", _NORM_WEIGHTS, shape_of) or published.num_layers,
        patch_size=_most_common(shape_of, published.patch_size, ("conv1.weight", 3)),
        num_positions=_most_common(shape_of, published.num_positions, ("positional_embedding", 0)),
        embedding_width=_most_common(shape_of, published.embedding_width, ("proj", 1)),
    )


def text_tower_sizes(shape_of: ShapeOf) -> TextSizes:
    """Sizes of an OpenCLIP text tower, all its layers counted."""
    published = TextSizes()
    layer = "transformer.resblocks.0"
    return TextSizes(
        width=_most_common(
            shape_of, published.width, ("ln_final.weight", 0), ("ln_final.bias", 0), ("positional_embedding", 1)
        ),
        inner_width=_most_common(shape_of, published.inner_width, *_mlp_weights(layer, "c_fc", "c_proj")),
        num_layers=_number_of("transformer.resblocks.{}.ln_1", _NORM_WEIGHTS, shape_of) or published.num_layers,
        num_positions=_most_common(shape_of, published.num_positions, ("positional_embedding", 0)),
        vocabulary=_most_common(shape_of, published.vocabulary, ("token_embedding.weight", 0)),
        embedding_width=_most_common(shape_of, published.embedding_width, ("text_projection", 1)),
    )


def _text_encoder_sizes(shape_of: ShapeOf) -> TextSizes:
    """Sizes of a CLIPTextModel."""
    published = StreamingSizes().text
    layer = "encoder.layers.0"
    return TextSizes(
        width=_most_common(
            shape_of,
            published.width,
            ("final_layer_norm.weight", 0),
            ("final_layer_norm.bias", 0),
            ("embeddings.position_embedding.weight", 1),
        ),
        inner_width=_most_common(shape_of, published.inner_width, *_mlp_weights(layer, "fc1", "fc2")),
        num_layers=_number_of("encoder.layers.{}.layer_norm1", _NORM_WEIGHTS, shape_of) or published.num_layers,
        num_positions=_most_common(shape_of, published.num_positions, ("embeddings.position_embedding.weight", 0)),
        vocabulary=_most_common(shape_of, published.vocabulary, ("embeddings.token_embedding.weight", 0)),
    )


def _picture_channels(shape_of: ShapeOf) -> tuple[int, ...]:
    """Widths of CAM's picture encoder: the first convolution's, then those of every second block."""
    first, *rest = StreamingSizes().picture_channels
    num_blocks = _number_of("blocks.{}", _NORM_WEIGHTS, shape_of) or 2 * len(rest)
    wider = (_most_common(shape_of, default, *_output(f"blocks.{2 * i + 1}")) for i, default in enumerate(rest))
    return (_most_common(shape_of, first, *_output("conv_in")), *list(wider)[: num_blocks // 2])


def _resnet_width(block: str, shape_of: ShapeOf) -> int:
    return _most_common(shape_of, 0, *((f"{block}.resnets.0.{weight}", 0) for weight in _RESNET_WEIGHTS))


def _mlp_weights(layer: str, first: str, second: str) -> tuple[tuple[str, int], ...]:
    return (f"{layer}.mlp.{first}.weight", 0), (f"{layer}.mlp.{first}.bias", 0), (f"{layer}.mlp.{second}.weight", 1)


def _output(module: str) -> tuple[tuple[str, int], ...]:
    return (f"{module}.bias", 0), (f"{module}.weight", 0)


def _most_common(shape_of: ShapeOf, published: int, *weights: tuple[str, int]) -> int:
    """The most common size along `axis` of these (name, axis); `published` if none exists."""
    shapes = ((shape_of(name), axis) for name, axis in weights)
    counts = Counter(shape[axis] for shape, axis in shapes if shape is not None and axis < len(shape))
    return counts.most_common(1)[0][0] if counts else published


def _number_of(module: str, weights: tuple[str, ...], shape_of: ShapeOf) -> int:
    """Number of modules with this numbered name (`{}`), up to the first without any weight."""
    return next(index for index in count() if not _exists(module.format(index), weights, shape_of))


def _exists(module: str, weights: tuple[str, ...], shape_of: ShapeOf) -> bool:
    return any(shape_of(f"{module}.{weight}") is not None for weight in weights)


def shapes_of(tensors: Mapping[str, LazyTensor]) -> dict[str, Shape]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def below(shapes: Shapes, prefix: str) -> dict[str, Shape]:
    """Entries under a prefix, without it."""
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
