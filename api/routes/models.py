"""GET /models: the presets with their limits, defaults and capabilities, and the workers of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.backends.ports import Ports, PortsDep, SettingsDep
from api.http.openapi import may_fail
from core.service.admission.catalog import PresetFolder
from core.service.admission.limits import limit_of, refine_limits
from core.service.admission.refine_request import possible_sizes
from core.service.domain.errors import PresetError
from core.service.domain.frame_rate import FrameRate
from core.service.domain.ports import WorkerStatus
from core.service.domain.schema import DEFAULT_PROFILE, FirstChunkSampling, Profile
from core.service.engines.capabilities import Capabilities
from core.service.engines.definition import parameters_schema
from core.service.engines.preset import ModelCard, Preset, ProfileDefaults
from core.service.settings import Settings

router = APIRouter(tags=["models"])
ABLE_TO_WORK = frozenset({"ready", "busy"})
GENERATING = frozenset({"generate", "both"})
REFINING = frozenset({"refine", "both"})


class ModelLimits(BaseModel):
    """What a request may ask of the model."""

    max_prompt_tokens: int
    min_frames: int
    max_frames: int


class ModelDefaults(BaseModel):
    """What a request gets if it says nothing."""

    num_frames: int
    fps: FrameRate
    negative_prompt: str
    profile: Profile | None = Field(description="null: the model has no profiles.")


class ModelProfile(BaseModel):
    """How a profile samples: the windows, and the first 16 frames before them. null: the model takes no such field."""

    guidance_scale: float | None
    num_inference_steps: int | None
    max_inference_steps: int | None = Field(description="Most that `num_inference_steps` of a request may be.")
    first_chunk: FirstChunkSampling | None
    max_first_chunk_steps: int | None = Field(description="Most that `first_chunk.num_inference_steps` may be.")


class ModelWorkers(BaseModel):
    """The workers of the model. Without a ready worker jobs are accepted and wait."""

    ready: int = Field(description="Workers that can take or are making a chunk.")
    total: int
    reason: str | None = Field(description="Why none is ready; null if one is.")


class ModelRefiner(BaseModel):
    """How videos of the model are refined."""

    width: int = Field(description="Pixels, if a request names no size.")
    height: int = Field(description="Pixels, if a request names no size.")
    sizes: list[str] = Field(description="Every WIDTHxHEIGHT that may be requested.")
    strength: float
    steps: int
    max_steps: int = Field(description="Most that `refine.steps` may be.")
    guidance_scale: float
    max_lockstep_frames: int = Field(description="Longest video that can be refined with the schedule lockstep.")
    workers_ready: int = Field(description="Workers that can refine or are refining.")


class ModelControl(BaseModel):
    """A type of control video."""

    type: str = Field(description="For `control.type` of a request.")
    installed: bool = Field(description="Whether its network is on this machine; jobs with it are refused otherwise.")
    install_command: str | None = Field(description="Installs it; null if it is installed, or not to be downloaded.")


class Model(BaseModel):
    """One preset."""

    name: str
    description: str
    engine: str
    installed: bool = Field(description="Whether its weights are on this machine; jobs for others are refused.")
    install_command: str | None = Field(description="Installs them; null if they are installed.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    refine: ModelRefiner | None = Field(description="Defaults and limits of `refine`; null: it is refused.")
    card: ModelCard | None = Field(description="Source, licence and needs; null: the preset names none.")
    controls: list[ModelControl] = Field(description="Types of control video that the model takes.")
    accepts_image: bool = Field(description="Whether a job may begin with an `image`.")
    capabilities: Capabilities = Field(description="Which fields a request may have; others are refused.")
    parameters: dict[str, Any] = Field(description="JSON Schema of `parameters`, the fields of this engine only.")
    limits: ModelLimits
    defaults: ModelDefaults
    profiles: dict[Profile, ModelProfile]
    example_prompts: list[str]
    known_words: list[str] = Field(
        description="Words that a prompt may have, but for function words such as `the`; empty: any or unknown ones."
    )
    workers: ModelWorkers


class ModelList(BaseModel):
    """Answer of GET /models."""

    models: list[Model]
    default_model: str
    unusable: dict[str, str] = Field(description="Presets that are installed but cannot be read, and why not.")


@router.get("/models", summary="List models", responses=may_fail(503))
def list_models(ports: PortsDep, settings: SettingsDep) -> ModelList:
    """Names for `model` in requests, with limits, defaults and prompts to try."""
    workers = ports.workers.all()
    models, unusable = list[Model](), dict[str, str]()
    for name in ports.catalog.names():
        try:
            models.append(_model(ports, name, settings, workers))
        except PresetError as error:
            unusable[name] = error.message
    return ModelList(models=models, default_model=settings.default_model, unusable=unusable)


def _model(ports: Ports, name: str, settings: Settings, workers: Sequence[WorkerStatus]) -> Model:
    folder = ports.catalog.get(name)
    preset, installed = folder.preset, folder.installed
    return Model(
        name=name,
        description=preset.description,
        engine=preset.engine,
        installed=installed,
        install_command=None if installed else folder.install_command,
        width=preset.width,
        height=preset.height,
        refine=_refiner(folder, settings, [worker for worker in workers if worker.model == name]),
        card=preset.card,
        controls=[_control(folder, control) for control in preset.capabilities.control],
        accepts_image=preset.capabilities.image,
        capabilities=preset.capabilities,
        parameters=parameters_schema(preset),
        limits=ModelLimits(
            max_prompt_tokens=preset.max_prompt_tokens,
            min_frames=preset.effective_limits.min_frames,
            max_frames=limit_of("max_frames", preset, settings).most,
        ),
        defaults=_defaults(preset, settings),
        profiles={name: _profile(profile, preset, settings) for name, profile in preset.profile_defaults.items()},
        example_prompts=list(preset.example_prompts),
        known_words=list(folder.known_words),
        workers=_workers([worker for worker in workers if worker.kind in GENERATING and worker.model == name]),
    )


def _control(folder: PresetFolder, control: str) -> ModelControl:
    installed = folder.control_weights(control).is_dir()
    command = None if installed else folder.control_command(control)
    return ModelControl(type=control, installed=installed, install_command=command)


def _defaults(preset: Preset, settings: Settings) -> ModelDefaults:
    return ModelDefaults(
        num_frames=min(settings.default_num_frames, limit_of("max_frames", preset, settings).most),
        fps=preset.fps,
        negative_prompt=preset.negative_prompt,
        profile=DEFAULT_PROFILE if "profile" in preset.capabilities.fields else None,
    )


def _profile(profile: ProfileDefaults, preset: Preset, settings: Settings) -> ModelProfile:
    steps, first = profile.num_inference_steps, profile.first_chunk
    return ModelProfile(
        guidance_scale=profile.guidance_scale,
        num_inference_steps=steps,
        max_inference_steps=steps and limit_of("max_inference_steps", preset, settings, steps).most,
        first_chunk=first,
        max_first_chunk_steps=first
        and limit_of("max_first_chunk_steps", preset, settings, first.num_inference_steps).most,
    )


def _refiner(folder: PresetFolder, settings: Settings, workers: Sequence[WorkerStatus]) -> ModelRefiner | None:
    """None also if the refiner is not installed."""
    preset = folder.preset
    refiner = preset.refiner
    if refiner is None or not folder.refines:
        return None
    limits = refine_limits(preset, refiner, settings)
    return ModelRefiner(
        width=refiner.width,
        height=refiner.height,
        sizes=[f"{width}x{height}" for width, height in possible_sizes(preset, refiner, limits.pixels.most)],
        strength=refiner.strength,
        steps=refiner.num_inference_steps,
        max_steps=limits.steps.most,
        guidance_scale=refiner.guidance_scale,
        max_lockstep_frames=limits.lockstep_frames.most,
        workers_ready=sum(worker.kind in REFINING and worker.state in ABLE_TO_WORK for worker in workers),
    )


def _workers(workers: Sequence[WorkerStatus]) -> ModelWorkers:
    ready = sum(worker.state in ABLE_TO_WORK for worker in workers)
    return ModelWorkers(ready=ready, total=len(workers), reason=None if ready else _why_none_is_ready(workers))


def _why_none_is_ready(workers: Sequence[WorkerStatus]) -> str:
    """The workers' own reasons; else their states."""
    if not workers:
        return "no worker is running for this model"
    reasons = dict.fromkeys(worker.reason or f"the worker is {worker.state}" for worker in workers)
    return "; ".join(reasons)
