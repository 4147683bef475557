"""Named weights with their sampling defaults: a preset folder becomes an engine.

A folder holds preset.json and, each with config.json and *.safetensors, unet/, vae/, text_encoder/, image_encoder/,
cam/ and conditioning/, and tokenizer/tokenizer.json. Whatever is missing or damaged is named in a PresetError. Knows
the layout; knows no denoising.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from pydantic import ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.sampling.samplers import SamplerName, SamplingPlan
from core.model.sampling.schedules import NoiseSchedule, schedule_from_config
from core.model.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.streaming_t2v.chunk_loop import Recipe
from core.model.streaming_t2v.encoders import ClipPictureReader, ClipTextReader
from core.model.streaming_t2v.engine import EngineFacts, LoadedModels, StreamingT2VEngine
from core.model.streaming_t2v.network import StreamingNetwork
from core.service.catalog import Preset, SamplingDefaults
from core.service.errors import PresetError

_FIX = "restore the preset's files"
Model = TypeVar("Model", bound=nn.Module)


class SamplingFacts(SamplingDefaults):
    """Sampling defaults with what only the engine reads."""

    sampler: SamplerName = "ddim"
    eta: float = Field(default=0.0, ge=0.0, le=1.0)


class StreamingPreset(Preset):
    """preset.json of an engine `streaming_t2v`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    sampling: SamplingFacts  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues] - frozen
    first_chunk: SamplingFacts
    scheduler: dict[str, Any]

    def recipe(self, sampling: SamplingFacts) -> Recipe:
        """How latents are sampled with these defaults."""
        plan = SamplingPlan(
            sampling.sampler,
            sampling.num_inference_steps,
            eta=sampling.eta,
            spacing=self.scheduler.get("timestep_spacing", "leading"),
            offset=self.scheduler.get("steps_offset", 0),
        )
        return Recipe(plan, self.schedule, sampling.guidance_scale)

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule of training."""
        return schedule_from_config(self.scheduler)


def load_engine(
    folder: Path, *, device: str | None = None, torch_threads: int = 0, dtype: torch.dtype = torch.float32
) -> StreamingT2VEngine:
    """Load a preset folder. Raises PresetError naming the file at fault.

    `device` None: CUDA where there is one, else CPU. `torch_threads` 0: all cores. `dtype` is that of the networks; the
    autoencoder stays float32.
    """
    torch.set_num_threads(torch_threads or os.cpu_count() or 1)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    preset = read_preset(folder)
    models = load_models(folder, where, dtype)
    _check_sizes(folder, preset, models)
    facts = EngineFacts(
        height=preset.height,
        width=preset.width,
        first_chunk=preset.recipe(preset.first_chunk),
        windows=preset.recipe(preset.sampling),
        fingerprint=fingerprint(folder, where, dtype),
    )
    return StreamingT2VEngine(models, facts)


def read_preset(folder: Path) -> StreamingPreset:
    """preset.json, checked."""
    file = folder / "preset.json"
    try:
        return StreamingPreset.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise PresetError(f"{file}: {error}", fix=_FIX) from error


def load_models(folder: Path, device: torch.device, dtype: torch.dtype) -> LoadedModels:
    """All networks of a preset on a device, in evaluation mode."""
    network = load_network(folder)
    for part in network.parts.values():
        _placed(part, device, dtype)
    vae = _load(folder / "vae", lambda config: cast(AutoencoderKL, AutoencoderKL.from_config(config)))
    text = _load(folder / "text_encoder", lambda config: CLIPTextModel(CLIPTextConfig.from_dict(config)))
    pictures = _load(
        folder / "image_encoder", lambda config: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    )
    return LoadedModels(
        network,
        _placed(vae, device),
        ClipTextReader(_read_tokenizer(folder), _placed(text, device)),
        ClipPictureReader(_placed(pictures, device)),
    )


def _placed(module: Model, device: torch.device, dtype: torch.dtype = torch.float32) -> Model:
    """`module`, moved. diffusers' own `to` warns of modules to be kept in float32 even where there are none."""
    nn.Module.to(module, device=device, dtype=dtype)
    return module


def load_network(folder: Path) -> StreamingNetwork:
    """UNet, CAM and conditioning parts of a preset; their sizes follow from the UNet's configuration."""
    unet = _load(folder / "unet", lambda config: cast(UNet3DConditionModel, UNet3DConditionModel.from_config(config)))
    unet_config = dict(cast(Any, unet.config))
    cam = _load(
        folder / "cam",
        lambda config: CamFeatureExtractor(unet_config, config["picture_channels"], config["num_conditioning_frames"]),
    )
    parts = _load(folder / "conditioning", lambda config: _build_conditioning(unet, config))
    return StreamingNetwork(
        unet,
        cam,
        cast(CamMergers, parts["mergers"]),
        cast(ApmMixers, parts["mixers"]),
        cast(TokenExpander, parts["expander"]),
    )


def _build_conditioning(unet: UNet3DConditionModel, config: dict[str, Any]) -> nn.ModuleDict:
    """Mergers, mixers and expander of a UNet, with fresh weights."""
    unet_config = dict(cast(Any, unet.config))
    num_tokens = config["num_image_tokens"]
    return nn.ModuleDict(
        {
            "mergers": CamMergers.for_unet(unet_config),
            "mixers": ApmMixers.for_unet(unet, config["num_text_tokens"], num_tokens),
            "expander": TokenExpander(
                config["embedding_width"], config["inner_width"], num_tokens, unet_config["cross_attention_dim"]
            ),
        }
    )


def _load(folder: Path, build: Callable[[dict[str, Any]], Model]) -> Model:
    """A model from its folder's config.json and weights, float32, in evaluation mode."""
    try:
        model = build(_read_json(folder / "config.json"))
    except (KeyError, TypeError, ValueError) as error:
        raise PresetError(f"{folder / 'config.json'} does not describe this model: {error!r}", fix=_FIX) from error
    weights = _read_weights(folder)
    try:
        model.load_state_dict({name: _upcast(weight) for name, weight in weights.items()})
    except RuntimeError as error:
        raise PresetError(f"the weights in {folder} do not fit its config.json: {error}", fix=_FIX) from error
    return model.eval().requires_grad_(False)


def _upcast(weight: Tensor) -> Tensor:
    return weight.float() if weight.is_floating_point() else weight


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of all safetensors files in a folder (one, or the shards of one)."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PresetError(f"{folder} holds no .safetensors file", fix=_FIX)
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            weights.update(load_file(file))
        except (OSError, SafetensorError) as error:
            raise PresetError(f"{file} is damaged: {error}", fix=_FIX) from error
    return weights


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PresetError(f"{file}: {error}", fix=_FIX) from error
    if not isinstance(content, dict):
        raise PresetError(f"{file} is not a JSON object", fix=_FIX)
    return cast("dict[str, Any]", content)


def _read_tokenizer(folder: Path) -> Tokenizer:
    file = folder / "tokenizer" / "tokenizer.json"
    if not file.is_file():
        raise PresetError(f"{file} is missing", fix=_FIX)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception for every fault of a file
        raise PresetError(f"{file} is damaged: {error}", fix=_FIX) from error


def _check_sizes(folder: Path, preset: StreamingPreset, models: LoadedModels) -> None:
    """What preset.json promises must be what the networks take."""
    reader = cast(ClipTextReader, models.read_texts)
    network = models.network
    facts = {
        "max_prompt_tokens": (preset.max_prompt_tokens, reader.max_prompt_tokens),
        "text tokens of the mixers": (cast(Any, network.mixers.mixers[0]).num_text_tokens, reader.num_tokens),
        "height, width": ((preset.height % 8, preset.width % 8), (0, 0)),
    }
    for name, (stated, actual) in facts.items():
        if stated != actual:
            raise PresetError(f"{folder}: {name} is {stated}, the networks take {actual}", fix=_FIX)


def fingerprint(folder: Path, device: torch.device, dtype: torch.dtype) -> str:
    """One line of what the bytes of a video depend on beside its request."""
    return "; ".join(
        [
            f"weights {weights_digest(folder)}",
            device_model(device),
            f"torch {torch.__version__}",
            f"diffusers {diffusers.__version__}",
            f"threads {torch.get_num_threads()}",
            str(dtype).removeprefix("torch."),
        ]
    )


def weights_digest(folder: Path) -> str:
    """First 16 hex digits of SHA-256 over the preset's files, in order of their names."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".json"}):
        digest.update(str(file.relative_to(folder)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def device_model(device: torch.device) -> str:
    """Name of the processor that computes, with the instruction set torch uses on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {_cpu_name()} {torch.backends.cpu.get_cpu_capability()}"


def _cpu_name() -> str:
    """The processor's model, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
