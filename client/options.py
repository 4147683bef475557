"""Keyword arguments of `jobs.create`, for type checkers and editors. The API has the rules (docs/http-api.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from core.service.domain.schema import WebhookEvent

PriorityName = Literal["low", "normal", "high"]
"""Which jobs a free worker takes first: those with high."""


class TimedText(TypedDict):
    """One entry of `prompts`: what the video shows from a frame on."""

    start_frame: int
    text: str


class FirstChunk(TypedDict, total=False):
    """`first_chunk`."""

    num_inference_steps: int
    guidance_scale: float


class Refine(TypedDict, total=False):
    """`refine`, if it is more than True."""

    strength: float
    steps: int
    guidance_scale: float
    size: str
    schedule: Literal["streaming", "lockstep"]


class _ControlNeeded(TypedDict):
    type: str
    video: str


class Control(_ControlNeeded, total=False):
    """`control`: `type` and `video` are needed."""

    scale: float
    start: float
    end: float


class JobOptions(TypedDict, total=False):
    """The fields of a job. What is left out takes the model's default. `num_frames` None: without end, or as long as
    the input that the model follows."""

    prompt: str
    prompts: Sequence[TimedText]
    enhance_prompt: bool
    negative_prompt: str
    num_frames: int | None
    seconds: float
    fps: float | str
    seed: int
    model: str
    guidance_scale: float
    num_inference_steps: int
    profile: Literal["fast", "reference"]
    first_chunk: FirstChunk
    size: str
    parameters: Mapping[str, Any]
    image: str
    video: str
    control: Control
    refine: bool | Refine
    measure: bool
    webhook_url: str
    webhook_events: Sequence[WebhookEvent]
    webhook_secret: str
    metadata: Mapping[str, str]
    priority: PriorityName
