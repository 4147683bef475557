"""JobSpec: a JobRequest with every default filled in."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import Field

from core.service.domain.frame_rate import FrameRate
from core.service.domain.media_types import MediaKind
from core.service.domain.priority import Priority
from core.service.domain.schema.base import Stored
from core.service.domain.schema.request import Profile, RefineSchedule
from core.service.domain.schema.status import DEFAULT_WEBHOOK_EVENTS, WebhookEvent


class FirstChunkSampling(Stored):
    """How the first 16 frames are sampled."""

    num_inference_steps: int
    guidance_scale: float


class RefineSpec(Stored):
    """How a video is refined, with every default filled in."""

    strength: float = Field(description="How much noise is added first, in (0, 1]; 1 redraws everything.")
    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int
    schedule: RefineSchedule = Field(
        description="streaming: window by window while the video grows; lockstep: all windows together, at the end."
    )


class ControlSpec(Stored):
    """A control video, with every default filled in."""

    type: str
    video: str
    scale: float = Field(description="How strongly it is followed, 0 to 2.")
    start: float = Field(description="Share of the steps after which it acts, below `end`.")
    end: float = Field(description="Share of the steps until which it acts.")


CONTROL_VIDEO = "control.video"
"""Path of the field."""


class InputMediaReference(NamedTuple):
    """The input media of a job: kind, URL or upload id, and the field with it."""

    kind: MediaKind
    reference: str
    field: str


class PromptChange(Stored):
    """From this frame on the video shows something else."""

    start_frame: int = Field(description="At least 1. It acts from the first window that begins there or later.")
    text: str


class SeedChange(Stored):
    """From this chunk on the video is made with another seed: the job is a branch."""

    start_chunk: int
    seed: int


class JobSpec(Stored):
    """A JobRequest with every default filled in: the engine's input, which decides the video's bytes. What webhooks,
    `metadata`, `priority` and `measure` say does not change them."""

    prompt: str = Field(description="The prompt at frame 0.")
    prompt_changes: tuple[PromptChange, ...] = Field(
        default=(), description="Later prompts, by frame: those of `prompts`, and those that PATCH added."
    )
    prompt_used: str | None = Field(
        default=None, description="What the model reads instead of `prompt`, if `enhance_prompt` was asked for."
    )
    negative_prompt: str
    num_frames: int | None = Field(
        description="null: without end, until it is canceled, gets an end, or has endless_limit; or as long as the"
        " input video, which is not read yet."
    )
    endless_limit: int | None = Field(
        default=None, description="Frames that a job has at most whose num_frames is null; null for others."
    )
    fps: FrameRate = Field(description='An integer, or "numerator/denominator" in lowest terms.')
    seed: int
    seed_changes: tuple[SeedChange, ...] = Field(
        default=(), description="Later seeds, by chunk: those with which the job was branched."
    )
    model: str
    guidance_scale: float | None = Field(default=None, description="null, as the next three: the engine takes none.")
    num_inference_steps: int | None = None
    profile: Profile | None = None
    first_chunk: FirstChunkSampling | None = None
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Fields that only the model's engine has, with its defaults filled in."
    )
    height: int | None = Field(default=None, description="Pixels; null, as `width`: the preset's.")
    width: int | None = None
    image: str | None = None
    video: str | None = None
    control: ControlSpec | None = None
    refine: RefineSpec | None = None
    measure: bool = Field(default=False, description="Whether the video is measured once the job has ended.")
    webhook_url: str | None = None
    webhook_events: tuple[WebhookEvent | str, ...] = Field(
        default=DEFAULT_WEBHOOK_EVENTS, description="Events that are sent; names from a newer version are kept."
    )
    metadata: dict[str, str] = Field(default_factory=dict)
    priority: Priority = Field(
        default=Priority.NORMAL, description="Which jobs a free worker takes first: high, normal or low."
    )

    @property
    def input_media(self) -> InputMediaReference | None:
        """The job's image, video or control video; None if it has none."""
        if self.image is not None:
            return InputMediaReference(MediaKind.IMAGE, self.image, "image")
        if self.video is not None:
            return InputMediaReference(MediaKind.VIDEO, self.video, "video")
        if self.control is not None:
            return InputMediaReference(MediaKind.VIDEO, self.control.video, CONTROL_VIDEO)
        return None

    @property
    def is_endless(self) -> bool:
        return self.num_frames is None

    @property
    def length(self) -> int:
        """Frames of the whole video; of a job without end, of all that it may get."""
        if self.num_frames is not None:
            return self.num_frames
        assert self.endless_limit is not None, "a job without an end has a limit"
        return self.endless_limit

    def new_seed(self, chunk_index: int) -> int | None:
        """The seed with which this chunk begins; None if it goes on with the one before."""
        return next((change.seed for change in self.seed_changes if change.start_chunk == chunk_index), None)

    def for_engine(self) -> JobSpec:
        """The spec that an engine is given: `prompt` is what it shall read, and `num_frames` is a number."""
        if self.prompt_used is None and not self.is_endless:
            return self
        return self.model_copy(update={"prompt": self.prompt_used or self.prompt, "num_frames": self.length})
