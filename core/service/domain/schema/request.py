"""JobRequest: the body of POST /jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from core.service.domain.frame_rate import AskedFrameRate
from core.service.domain.priority import AskedPriority, Priority
from core.service.domain.schema.base import Frozen
from core.service.domain.schema.status import WebhookEvent

NOISE_LEVELS = 1000
"""Levels of the refiner's noise schedule. Its steps go down from `strength` of them, each on a level of its own."""


Profile = Literal["fast", "reference"]


DEFAULT_PROFILE: Profile = "fast"


MIN_FRAMES = 16


MAX_SEED = 2**53 - 1
"""Largest integer that every JSON client keeps exact (RFC 8259, section 6). Stored jobs of older versions may have
seeds up to 2**63 - 1."""


MAX_PROMPTS = 100
"""Most entries of `prompts`."""


MAX_CHUNK = 999_999
"""Largest index of a chunk."""


MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]


MetadataValue = Annotated[str, StringConstraints(max_length=512)]


SizeText = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,4}x[1-9]\d{0,4}$")]
"""WIDTHxHEIGHT in pixels."""
MediaReference = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
"""An http(s) URL, or an id from POST /uploads."""


class FirstChunkOptions(Frozen):
    """Overrides of how the first 16 frames are sampled."""

    num_inference_steps: int | None = Field(default=None, ge=1, le=1000, description="Denoising steps.")
    guidance_scale: float | None = Field(
        default=None, ge=1.0, le=30.0, description="How strongly the prompt is followed."
    )


RefineSchedule = Literal["streaming", "lockstep"]


Variant = Literal["preview", "refined"]


class RefineOptions(Frozen):
    """Overrides of how the video is refined.

    The minimum of `strength` depends on `steps` and the maximum of `steps` on `strength`; `admission.refine_request`
    checks both. The limits here only appear in the JSON Schema.
    """

    strength: float | None = Field(
        default=None,
        le=1,
        allow_inf_nan=False,
        description="How much may change, above 0 and at most 1; 1 redraws everything.",
        json_schema_extra={"exclusiveMinimum": 0},
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="Denoising steps per refinement window.",
        json_schema_extra={"exclusiveMaximum": NOISE_LEVELS},
    )
    guidance_scale: float | None = Field(
        default=None, ge=1.0, le=30.0, description="How strongly the prompt is followed in the details."
    )
    size: SizeText | None = Field(
        default=None, description="WIDTHxHEIGHT in pixels, with the aspect ratio of the preview."
    )
    schedule: RefineSchedule | None = Field(
        default=None,
        description="streaming (default): window by window while the video grows; lockstep: all windows together,"
        " once the last frame is generated.",
    )


REFINE_TAGS = ("[flag]", "[options]")
"""The two forms of `refine`, as they appear in the `loc` of pydantic's errors."""


def _form_of_refine(value: object) -> str:
    return "[options]" if isinstance(value, dict | RefineOptions) else "[flag]"


RefineAsked = Annotated[
    Annotated[bool, Tag("[flag]")] | Annotated[RefineOptions, Tag("[options]")], Discriminator(_form_of_refine)
]


ControlScale = Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)]
StepShare = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class ControlOptions(Frozen):
    """A video that says where things are: the result follows its edges, depth, poses or lines (ControlNet)."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="What the control video shows to the model, one of the model's `capabilities.control`. `canny`:"
        " any video, whose edges are found here. All others, such as `depth`, `pose` or `scribble`: a video of such"
        " maps.",
        examples=["canny"],
    )
    video: MediaReference = Field(
        description="The control video, as a URL or upload id; at least as long as the result at its `fps`."
    )
    scale: ControlScale | None = Field(default=None, description="How strongly it is followed; default 1.")
    start: StepShare | None = Field(default=None, description="Share of the steps after which it acts; default 0.")
    end: StepShare | None = Field(default=None, description="Share of the steps until which it acts; default 1.")


Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]

Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


WebhookEvents = Annotated[list[WebhookEvent], Field(max_length=16)]
"""An event that is named twice counts once."""
WebhookSecret = Annotated[str, StringConstraints(max_length=100), Field(json_schema_extra={"writeOnly": True})]
"""whsec_ + base64 of 24 to 64 random bytes (Standard Webhooks 1.0.0)."""


class TimedPrompt(Frozen):
    """A prompt that begins at a frame."""

    start_frame: int = Field(
        ge=0, description="The first is 0. It acts from the first window that begins there or later."
    )
    text: Prompt = Field(description="What the video shows from there on.")


class JobRequest(Frozen):
    """Body of POST /jobs. Missing fields take the preset's defaults. Give prompt or prompts, num_frames or seconds."""

    prompt: Prompt | None = Field(
        default=None,
        description="What the video shows, in plain English. Required without `prompts`.",
        examples=["a red circle moving left over a striped background"],
    )
    prompts: Annotated[list[TimedPrompt], Field(min_length=1, max_length=MAX_PROMPTS)] | None = Field(
        default=None,
        description="Instead of `prompt`: what the video shows from which frame on, in order.",
    )
    enhance_prompt: bool | None = Field(
        default=None,
        description="Let the operator's language model write a longer prompt, shown as `prompt_used`.",
    )
    negative_prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)] | None = Field(
        default=None, description="What the video should not show."
    )
    num_frames: int | None = Field(
        default=None,
        description="Length in frames: any number from 16. null, written out, is a video without end; leave it out for"
        " the default length. Both mean the input's length where a model with `length_of_input` follows one.",
    )
    seconds: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Length in seconds of playback, instead of num_frames."
    )
    fps: AskedFrameRate | None = Field(
        default=None,
        description='Playback rate in frames per second, 1 to 60: a number, or a fraction such as "30000/1001". 23.976,'
        " 29.97, 47.952 and 59.94 mean the NTSC rates; other decimals are exact (12.5 is 25/2).",
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="Same seed and request, same video. Random if left out. At most 2^53 - 1: larger integers are"
        " rounded by JavaScript.",
    )
    model: str | None = Field(default=None, description="A name from GET /models.")
    guidance_scale: float | None = Field(
        default=None, ge=1.0, le=30.0, description="How strongly the prompt is followed."
    )
    num_inference_steps: int | None = Field(default=None, ge=1, le=1000, description="Denoising steps per window.")
    profile: Profile | None = Field(
        default=None, description="fast (default), or reference: sampling exactly as published, slower."
    )
    first_chunk: FirstChunkOptions | None = Field(
        default=None,
        description="Steps and guidance of the first 16 frames; the fields above act on everything after them.",
    )
    size: SizeText | None = Field(
        default=None,
        description="WIDTHxHEIGHT in pixels, for models whose `capabilities.size` says which are possible; by default"
        " the model's own.",
    )
    parameters: dict[str, Any] | None = Field(
        default=None, description="Fields that only the model's engine has; GET /models has their schema."
    )
    image: MediaReference | None = Field(
        default=None, description="The first frame of the video: an http(s) URL, or an id from POST /uploads."
    )
    video: MediaReference | None = Field(
        default=None,
        description="A video, as a URL or upload id. `capabilities.video` of the model says what it is for: its last 16"
        " frames are the first of the result, or all of it is what the result is made from.",
    )
    control: ControlOptions | None = Field(
        default=None, description="A control video that the result follows, for models that say `control`."
    )
    refine: RefineAsked | None = Field(
        default=None, description="Also refine the video to a higher resolution; true for the model's defaults."
    )
    measure: bool = Field(
        default=False,
        description="Also measure the video once the job has ended: GET /jobs/{id}/metrics. `succeeded` does not wait.",
    )
    webhook_url: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None, description="Receives a signed POST for each of webhook_events."
    )
    webhook_events: WebhookEvents | None = Field(
        default=None,
        description="Default: job.succeeded, job.failed, job.canceled. Also possible: chunk.completed, chunk.refined,"
        " job.prompt_changed, job.measured.",
    )
    webhook_secret: WebhookSecret | None = Field(
        default=None,
        repr=False,
        description="Signs the webhooks of this job, in place of the secrets of your API key or of the deployment."
        " No answer shows it.",
    )
    metadata: Metadata | None = Field(default=None, description="Up to 16 short strings, returned with the job.")
    priority: AskedPriority = Field(
        default=Priority.NORMAL,
        description="Which jobs a free worker takes first: high, normal or low. It changes when the video is made, not"
        " the video. The most that an API key may ask for is `max_priority` of its limits; if that is low, so is the"
        " default.",
    )

    @property
    def is_endless(self) -> bool:
        """Whether `num_frames` is null, rather than left out."""
        return self.num_frames is None and "num_frames" in self.model_fields_set


class JobChange(Frozen):
    """Body of PATCH /jobs/{id}: what changes of a job that has not ended."""

    prompt: Prompt | None = Field(
        default=None,
        description="What the video shows from now on, until the next prompt of the job's `prompts`.",
        examples=["a blue circle moving left over a striped background"],
    )
    from_frame: int | None = Field(
        default=None,
        ge=0,
        description="The frame from which `prompt` acts; by default the first of the next chunk that is not begun.",
    )
    num_frames: int | None = Field(
        default=None,
        description="The video's new length in frames, not below what is made or begun. null, written out: no end.",
    )
    metadata: Metadata | None = Field(default=None, description="Replaces the job's `metadata`.")
    priority: AskedPriority | None = Field(
        default=None, description="Another priority from now on. A chunk that is begun is finished first."
    )

    @property
    def changes_length(self) -> bool:
        """Whether `num_frames` is given; it may be null."""
        return "num_frames" in self.model_fields_set


class JobExtension(Frozen):
    """Body of POST /jobs/{id}/extend: how an ended job goes on."""

    num_frames: int = Field(ge=1, description="How many frames are added to those that the job has.", examples=[48])
    prompt: Prompt | None = Field(
        default=None,
        description="What the added frames show, instead of all later prompts of the job. By default the job's prompts"
        " go on, also those that were to begin beyond its end.",
        examples=["a blue circle moving left over a striped background"],
    )


class JobBranch(Frozen):
    """Body of POST /jobs/{id}/branch: a new job from a chunk of another one. What is left out is as in that one."""

    from_chunk: int = Field(
        ge=1,
        le=MAX_CHUNK,
        description="The first chunk that is the branch's own; it shares those before.",
        examples=[3],
    )
    prompt: Prompt | None = Field(
        default=None,
        description="What the video shows from there on, instead of all later prompts of the source.",
        examples=["a blue circle moving left over a striped background"],
    )
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="Another seed from there on; by default the source's goes on."
    )
    num_frames: int | None = Field(
        default=None, description="Length of the whole video, shared chunks included. null, written out: no end."
    )
    metadata: Metadata | None = Field(default=None, description="As of POST /jobs. null, written out: none.")
    priority: AskedPriority | None = Field(default=None, description="As of POST /jobs; by default the source's.")
    measure: bool = Field(default=False, description="As of POST /jobs; by default as the source was asked.")
    webhook_url: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None, description="As of POST /jobs. null, written out: none, nor events."
    )
    webhook_events: WebhookEvents | None = Field(
        default=None, description="As of POST /jobs. null, written out: the default."
    )
    webhook_secret: WebhookSecret | None = Field(
        default=None, repr=False, description="As of POST /jobs. null, written out: none of its own."
    )

    @property
    def changes_length(self) -> bool:
        """Whether `num_frames` is given; it may be null."""
        return "num_frames" in self.model_fields_set
