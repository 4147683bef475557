"""Loads the networks of a refiner from a preset's weights folder or from a diffusers repository.

The repository (such as zeroscope_v2_XL) holds a video pipeline with a UNet3DConditionModel.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from tokenizers import Tokenizer
from transformers.models.clip.modeling_clip import CLIPTextModel

from core.model.networks.builders import build_text_encoder, build_unet, build_vae
from core.model.networks.pretrained import is_snapshot, loading, repository_folder
from core.model.presets.files import load_module, read_tokenizer
from core.model.presets.fingerprint import weights_digest
from core.model.refinement.preset import DIFFUSERS_REFINER
from core.model.sampling.schedules import BetaKind, Prediction
from core.service.admission.refine_request import NOISE_LEVELS
from core.service.domain.errors import PresetError
from core.service.engines.refiner import REFINER_FOLDER

_SUPPORTED_SCHEDULES: dict[str, tuple[Any, ...]] = {
    "beta_schedule": get_args(BetaKind),
    "prediction_type": get_args(Prediction),
    "num_train_timesteps": (NOISE_LEVELS,),
    "trained_betas": (None,),
}


@dataclass(frozen=True)
class RefinerParts:
    """A refiner's networks, in evaluation mode, on one device; VAE and text encoder in float32."""

    unet: UNet3DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: Tokenizer
    scheduler: dict[str, Any] | None
    """Config of the repository's diffusers scheduler; None for a weights folder."""
    digest: str
    """Identifies the weights."""

    def noise_schedule(self) -> dict[str, Any] | None:
        """`scheduler`. Raises PresetError if its kind is not supported."""
        for name, supported in _SUPPORTED_SCHEDULES.items():
            if self.scheduler is not None and self.scheduler.get(name, supported[0]) not in supported:
                allowed = " or ".join(str(value) for value in supported)
                raise PresetError(
                    f"{self.digest}: {name} of its scheduler is {self.scheduler[name]}, not {allowed}",
                    fix="set `scheduler` of the refiner in preset.json as it was trained",
                )
        return self.scheduler


def parts_of_folder(weights: Path, device: torch.device, dtype: torch.dtype) -> RefinerParts:
    """Load <weights>/refiner/; parts that it lacks are the preset's. Raises PresetError naming the file at fault.

    Its vae/ may hold a decoder only, which is then combined with the preset's encoder.
    """
    own = weights / REFINER_FOLDER
    vae, text_encoder, tokenizer = (_own_or_shared(weights, part) for part in ("vae", "text_encoder", "tokenizer"))
    shared = [weights / "vae", *(part for part in (text_encoder, tokenizer) if part.parent == weights)]
    return RefinerParts(
        unet=load_module(own / "unet", build_unet, device, dtype),
        vae=load_module(vae, build_vae, device, rest=weights / "vae"),
        text_encoder=load_module(text_encoder, build_text_encoder, device),
        tokenizer=read_tokenizer(tokenizer.parent),
        scheduler=None,
        digest=" ".join(weights_digest(folder) for folder in (own, *shared)),
    )


def _own_or_shared(weights: Path, part: str) -> Path:
    """The refiner's folder of a part if it exists, else the preset's."""
    own = weights / REFINER_FOLDER / part
    return own if own.is_dir() else weights / part


def parts_of_repository(source: str, device: torch.device, dtype: torch.dtype) -> RefinerParts:
    """Load "diffusers:ORG/NAME", "diffusers:ORG/NAME@REVISION" or "diffusers:FOLDER". Raises PresetError.

    Hub repositories are cached in the usual Hugging Face cache.
    """
    folder = fetch_repository(source)
    with loading(f"the refiner {source}"):
        pipeline: Any = DiffusionPipeline.from_pretrained(str(folder), dtype=torch.float32)
    _check_networks(source, pipeline)
    return RefinerParts(
        unet=_ready(pipeline.unet.to(device, dtype)),
        vae=_ready(pipeline.vae.to(device)),
        text_encoder=_ready(pipeline.text_encoder.to(device)),
        tokenizer=_padding_tokenizer(pipeline.tokenizer),
        scheduler=dict(pipeline.scheduler.config),
        digest=f"{source} {folder.name if is_snapshot(folder) else weights_digest(folder)}",
    )


def fetch_repository(source: str) -> Path:
    """The folder of a repository, downloaded if it is not cached. Raises PresetError."""
    with loading(f"the refiner {source}"):
        return repository_folder(source.removeprefix(DIFFUSERS_REFINER))


def _check_networks(source: str, pipeline: Any) -> None:
    """Raise PresetError unless the pipeline has the networks of a refiner."""
    kinds = {"unet": UNet3DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    for name, kind in kinds.items():
        found = getattr(pipeline, name, None)
        if not isinstance(found, kind):
            raise PresetError(
                f"{source}: its {name} is {type(found).__name__}, not {kind.__name__}",
                fix="choose a model that diffusers runs with VideoToVideoSDPipeline",
            )


def _ready(model: Any) -> Any:
    return model.eval().requires_grad_(False)


def _padding_tokenizer(of_pipeline: Any) -> Tokenizer:
    """The pipeline's tokenizer with its padding."""
    tokenizer = Tokenizer.from_str(of_pipeline.backend_tokenizer.to_str())
    tokenizer.enable_padding(pad_id=of_pipeline.pad_token_id, pad_token=of_pipeline.pad_token)
    return tokenizer
