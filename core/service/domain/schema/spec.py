"""JobSpec: a JobRequest with every default filled in."""

from __future__ import annotations

from pydantic import Field

from core.service.domain.frame_rate import FrameRate
from core.service.domain.schema.base import Stored
from core.service.domain.schema.request import Profile, RefineSchedule
from core.service.domain.schema.status import DEFAULT_WEBHOOK_EVENTS, WebhookEvent


class FirstChunkSampling(Stored):
    """How the first 16 frames are sampled."""

    num_inference_steps: int
    guidance_scale: float


class RefineSpec(Stored):
    """How a video is refined, every default filled in."""

    strength: float = Field(description="How far back to noise, in (0, 1]; 0 would leave the frames as they are.")
    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int
    schedule: RefineSchedule = Field(
        description="streaming: window by window while the video grows; lockstep: all windows together, at the end."
    )


class JobSpec(Stored):
    """A JobRequest with every default filled in: what the engine reads and what decides the video's bytes."""

    prompt: str
    negative_prompt: str
    num_frames: int
    fps: FrameRate = Field(description='A number where it is whole, else "numerator/denominator" in lowest terms.')
    seed: int
    model: str
    guidance_scale: float
    num_inference_steps: int
    profile: Profile
    first_chunk: FirstChunkSampling
    image: str | None = None
    video: str | None = None
    refine: RefineSpec | None = None
    webhook_url: str | None = None
    webhook_events: tuple[WebhookEvent | str, ...] = Field(
        default=DEFAULT_WEBHOOK_EVENTS, description="Those asked for; one that only a newer version knows is kept."
    )
    metadata: dict[str, str] = Field(default_factory=dict)
