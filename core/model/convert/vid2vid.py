"""The refiner MS-Vid2Vid-XL -> unet/ text_encoder/ vae/, each with config.json and weights.

It is published as three files: the UNet under its own names, an OpenCLIP model of which the text
tower without its last layer is used, and a Stable Diffusion checkpoint of which the VAE is used.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from core.model.convert.check import resolve_sizes
from core.model.convert.disk import Disk
from core.model.convert.expected import Expected, Renamed, ldm_vae_table, refiner_table
from core.model.convert.infer_sizes import below, ldm_vae_sizes, refiner_sizes, shapes_of, text_tower_sizes
from core.model.convert.lazy_tensor import LazyTensor
from core.model.convert.open_clip import TextSizes, text_shapes, text_to_transformers
from core.model.convert.safe_file import LazyTensors, open_checkpoint
from core.model.convert.sizes import Config, text_config, unet_config, vae_config
from core.model.convert.summary import DtypeName, Part, Report, Summary, dtypes_of, no_report
from core.model.convert.weights_folder import write_weights_folder

UNET_MODEL = "non_ema_0035000.pth (the UNet of MS-Vid2Vid-XL)"
TEXT_MODEL = "open_clip_pytorch_model.bin (OpenCLIP ViT-H-14)"
VAE_MODEL = "v2-1_512-ema-pruned.ckpt (Stable Diffusion 2.1)"
_VAE = "first_stage_model."
_VISUAL = "visual."


def convert_refiner(
    unet_file: Path,
    text_file: Path,
    vae_file: Path,
    out: Path,
    *,
    dtype: DtypeName = "float32",
    report: Report = no_report,
    disk: Disk | None = None,
) -> Summary:
    """Convert the refiner's three files into the folder `out`.

    `out` must not exist or be empty; it is created atomically. Raises a ConversionError:
    CheckpointUnreadable, CheckpointUnsafe, CheckpointMismatch, WeightsOutOfRange, OutputRefused, OutputDiskFull.
    """
    files = [open_checkpoint(path) for path in (unet_file, text_file, vae_file)]
    (unet, unet_read), (text, text_read), (vae, vae_read) = _unet(files[0]), _text_encoder(files[1]), _vae(files[2])
    parts = (unet, text, vae)
    published = (unet_config(), text_config(_penultimate(TextSizes())), vae_config())
    return Summary(
        folder=out,
        dtype=dtype,
        parts=write_weights_folder(parts, out, dtype, report, disk),
        is_published_size=tuple(part.config for part in parts) == published,
        source_dtypes=dtypes_of(parts),
        num_ignored=sum(map(len, files)) - unet_read - text_read - vae_read,
        placeholders=tuple(sorted({name for file in files for name in file.placeholders})),
    )


def _unet(file: LazyTensors) -> tuple[Part, int]:
    """The UNet, and the number of weights read."""
    inferred = refiner_sizes(shapes_of(file))
    config, expected = resolve_sizes(inferred, unet_config(), _expected_unet, file, file.path, UNET_MODEL)
    return Part("unet", config, _renamed(file, refiner_table(config))), len(expected.required)


def _expected_unet(config: Config) -> Expected:
    return _expected(refiner_table(config))


def _text_encoder(file: LazyTensors) -> tuple[Part, int]:
    """The text tower without its last layer, as the refiner was trained, and the number of weights read."""
    tower = {name: tensor for name, tensor in file.items() if not name.startswith(_VISUAL)}
    inferred = text_tower_sizes(shapes_of(tower).get)
    sizes, expected = resolve_sizes(inferred, TextSizes(), _expected_tower, tower, file.path, TEXT_MODEL)
    kept = _penultimate(sizes)
    part = Part("text_encoder", text_config(kept), text_to_transformers(tower, kept.num_layers))
    return part, len(expected.required)


def _expected_tower(sizes: TextSizes) -> Expected:
    """Its last layer and its projection are not read."""
    required = text_shapes(_penultimate(sizes))
    unread = {name: shape for name, shape in text_shapes(sizes).items() if name not in required}
    unread.update({name: required.pop(name) for name in ("text_projection", "logit_scale")})
    return Expected(required, unread)


def _penultimate(sizes: TextSizes) -> TextSizes:
    return replace(sizes, num_layers=sizes.num_layers - 1)


def _vae(file: LazyTensors) -> tuple[Part, int]:
    """The VAE of a whole Stable Diffusion checkpoint, and the number of weights read."""
    own = {name: tensor for name, tensor in file.items() if name.startswith(_VAE)}
    inferred = ldm_vae_sizes(below(shapes_of(own), _VAE))
    config, expected = resolve_sizes(inferred, vae_config(), _expected_vae, own, file.path, VAE_MODEL)
    return Part("vae", config, _renamed(own, _vae_table(config))), len(expected.required)


def _expected_vae(config: Config) -> Expected:
    return _expected(_vae_table(config))


def _vae_table(config: Config) -> dict[str, Renamed]:
    return {_VAE + name: entry for name, entry in ldm_vae_table(config).items()}


def _expected(table: Mapping[str, Renamed]) -> Expected:
    return Expected({name: entry.shape_in_file for name, entry in table.items()})


def _renamed(file: Mapping[str, LazyTensor], table: Mapping[str, Renamed]) -> dict[str, LazyTensor]:
    """The network's names; convolutions of kernel size 1 that are linear layers there become matrices."""
    return {
        entry.name: file[name] if entry.shape == entry.shape_in_file else file[name].as_matrix()
        for name, entry in table.items()
    }
