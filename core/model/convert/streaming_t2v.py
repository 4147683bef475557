"""`streaming_t2v.ckpt` -> unet/ cam/ conditioning/ vae/ text_encoder/ image_encoder/, each with config.json, weights.

The published file is a Lightning checkpoint of 25.6 GB; half of it is the optimizer, which is not read.
"""

from pathlib import Path

from core.model.convert.check import resolve_sizes
from core.model.convert.disk import Disk
from core.model.convert.expected import TEXT_ENCODER, VAE, VISUAL, expected_streaming, layer_names
from core.model.convert.infer_sizes import shapes_of, streaming_sizes
from core.model.convert.lazy_tensor import LazyTensor
from core.model.convert.ldm_vae import modern_attention
from core.model.convert.open_clip import visual_to_transformers
from core.model.convert.safe_file import open_checkpoint
from core.model.convert.sizes import StreamingSizes, text_config, vision_config
from core.model.convert.summary import DtypeName, Part, Report, Summary, dtypes_of, no_report
from core.model.convert.weights_folder import write_weights_folder
from core.model.engines.streaming_t2v.checkpoint import from_official

MODEL = "streaming_t2v.ckpt"
Tensors = dict[str, LazyTensor]


def convert_checkpoint(
    source: Path, out: Path, *, dtype: DtypeName = "float32", report: Report = no_report, disk: Disk | None = None
) -> Summary:
    """Convert the official checkpoint, or one of other sizes with the same names, into the folder `out`.

    `out` must not exist or be empty; it is created atomically. Raises a ConversionError:
    CheckpointUnreadable, CheckpointUnsafe, CheckpointMismatch, WeightsOutOfRange, OutputRefused, OutputDiskFull.
    """
    checkpoint = open_checkpoint(source)
    tensors = dict(modern_attention(name, tensor) for name, tensor in checkpoint.items())
    inferred = streaming_sizes(shapes_of(tensors))
    sizes, expected = resolve_sizes(inferred, StreamingSizes(), expected_streaming, tensors, source, MODEL)
    parts = _parts(tensors, sizes)
    return Summary(
        folder=out,
        dtype=dtype,
        parts=write_weights_folder(parts, out, dtype, report, disk),
        is_published_size=sizes == StreamingSizes(),
        source_dtypes=dtypes_of(parts),
        num_ignored=len(tensors) - len(expected.required),
        placeholders=checkpoint.placeholders,
    )


def _parts(tensors: Tensors, sizes: StreamingSizes) -> tuple[Part, ...]:
    """The networks to write, with the names under which their weights are loaded."""
    weights = from_official(tensors, layer_names(sizes.unet))
    conditioning = {
        **{f"mergers.{name}": tensor for name, tensor in weights.mergers.items()},
        **{f"mixers.{name}": tensor for name, tensor in weights.mixers.items()},
        **{f"expander.{name}": tensor for name, tensor in weights.expander.items()},
    }
    text = {name: tensor for name, tensor in _below(tensors, TEXT_ENCODER).items() if not name.endswith("position_ids")}
    return (
        Part("unet", sizes.unet, weights.unet),
        Part("cam", sizes.cam, weights.cam),
        Part("conditioning", sizes.conditioning, conditioning),
        Part("vae", sizes.vae, _below(tensors, VAE)),
        Part("text_encoder", text_config(sizes.text), text),
        Part("image_encoder", vision_config(sizes.visual), visual_to_transformers(_below(tensors, VISUAL))),
    )


def _below(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
