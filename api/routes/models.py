"""What can be made here: the presets, their limits and defaults, and whether a worker is there for each."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.backends.ports import Ports, PortsDep, SettingsDep
from api.http.openapi import may_fail
from core.service.admission.catalog import Preset, PresetFolder, ProfileDefaults
from core.service.admission.limits import limit_of, refine_limits
from core.service.admission.refine_request import possible_sizes
from core.service.domain.errors import PresetError
from core.service.domain.frame_rate import FrameRate
from core.service.domain.ports import WorkerStatus
from core.service.domain.schema import DEFAULT_PROFILE, MIN_FRAMES, FirstChunkSampling, Profile
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
    """What a request gets where it says nothing."""

    num_frames: int
    fps: FrameRate
    negative_prompt: str
    profile: Profile


class ModelProfile(BaseModel):
    """How a profile samples: the windows, and the first 16 frames before them."""

    guidance_scale: float
    num_inference_steps: int
    max_inference_steps: int = Field(description="Most that `num_inference_steps` of a request may be.")
    first_chunk: FirstChunkSampling
    max_first_chunk_steps: int = Field(description="Most that `first_chunk.num_inference_steps` may be.")


class ModelWorkers(BaseModel):
    """Who works for the model. Without a ready worker jobs are accepted and wait."""

    ready: int = Field(description="Workers that can take or are making a chunk.")
    total: int
    reason: str | None = Field(description="Why none is ready; null where one is.")


class ModelRefiner(BaseModel):
    """How videos of the model are refined."""

    width: int = Field(description="Pixels, where a request names no size.")
    height: int = Field(description="Pixels, where a request names no size.")
    sizes: list[str] = Field(description="Every WIDTHxHEIGHT that may be asked for.")
    strength: float
    steps: int
    max_steps: int = Field(description="Most that `refine.steps` may be.")
    guidance_scale: float
    max_lockstep_frames: int = Field(description="Longest video that the schedule lockstep takes.")
    workers_ready: int = Field(description="Workers that can refine or are at it.")


class Model(BaseModel):
    """One preset."""

    name: str
    description: str
    engine: str
    installed: bool = Field(description="Whether its weights are on this machine; jobs for others are refused.")
    install_command: str | None = Field(description="What installs them; null where they are.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    refine: ModelRefiner | None = Field(description="What `refine` gets and may ask; null where it is refused.")
    accepts_image: bool = Field(description="Whether a job may begin with an `image`; any may begin with a `video`.")
    limits: ModelLimits
    defaults: ModelDefaults
    profiles: dict[Profile, ModelProfile]
    example_prompts: list[str]
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
    preset = ports.catalog.get(name)
    facts, installed = preset.facts, preset.installed
    return Model(
        name=name,
        description=facts.description,
        engine=facts.engine,
        installed=installed,
        install_command=None if installed else preset.install_command,
        width=facts.width,
        height=facts.height,
        refine=_refiner(preset, settings, [worker for worker in workers if worker.model == name]),
        accepts_image=facts.accepts_image,
        limits=ModelLimits(
            max_prompt_tokens=facts.max_prompt_tokens,
            min_frames=MIN_FRAMES,
            max_frames=limit_of("max_frames", facts, settings).most,
        ),
        defaults=_defaults(facts, settings),
        profiles={name: _profile(profile, facts, settings) for name, profile in facts.profiles.items()},
        example_prompts=list(facts.example_prompts),
        workers=_workers([worker for worker in workers if worker.kind in GENERATING and worker.model == name]),
    )


def _defaults(facts: Preset, settings: Settings) -> ModelDefaults:
    return ModelDefaults(
        num_frames=min(settings.default_num_frames, limit_of("max_frames", facts, settings).most),
        fps=facts.fps,
        negative_prompt=facts.negative_prompt,
        profile=DEFAULT_PROFILE,
    )


def _profile(profile: ProfileDefaults, facts: Preset, settings: Settings) -> ModelProfile:
    windows, first = profile.windows, profile.first_chunk
    return ModelProfile(
        guidance_scale=windows.guidance_scale,
        num_inference_steps=windows.num_inference_steps,
        max_inference_steps=limit_of("max_inference_steps", facts, settings, windows.num_inference_steps).most,
        first_chunk=FirstChunkSampling(
            num_inference_steps=first.num_inference_steps, guidance_scale=first.guidance_scale
        ),
        max_first_chunk_steps=limit_of("max_first_chunk_steps", facts, settings, first.num_inference_steps).most,
    )


def _refiner(preset: PresetFolder, settings: Settings, workers: Sequence[WorkerStatus]) -> ModelRefiner | None:
    """None also where there is one that is not installed."""
    facts = preset.facts
    refiner = facts.refiner
    if refiner is None or not preset.refines:
        return None
    limits = refine_limits(facts, refiner, settings)
    return ModelRefiner(
        width=refiner.width,
        height=refiner.height,
        sizes=[f"{width}x{height}" for width, height in possible_sizes(facts, refiner, limits.pixels.most)],
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
