"""`parameters` of requests to the engine `text2video_zero`. Torch-free."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from core.service.engines.definition import Parameters

MAX_MOTION_PIXELS = 64
MOTION_PARAMETERS = ("motion_x", "motion_y", "motion_interpolation", "t0", "t1")
"""Those that act without `control` only."""


class TextToVideoZeroParameters(Parameters):
    """`parameters` of a request. Motion acts without `control`, background smoothing with it."""

    motion_x: float = Field(
        default=12.0,
        ge=-MAX_MOTION_PIXELS,
        le=MAX_MOTION_PIXELS,
        allow_inf_nan=False,
        description="Pixels by which the view moves to the right from frame to frame, so that things move to the left;"
        " of a video whose shorter side is 512 pixels, in proportion at other sizes. Acts without `control`.",
    )
    motion_y: float = Field(
        default=12.0,
        ge=-MAX_MOTION_PIXELS,
        le=MAX_MOTION_PIXELS,
        allow_inf_nan=False,
        description="As `motion_x`, for the view moving down.",
    )
    motion_interpolation: Literal["nearest", "bilinear"] = Field(
        default="nearest",
        description="How latents are moved by less than a latent pixel (8 pixels): nearest as published, or bilinear:"
        " smoother motion, softer pictures. Acts without `control`.",
    )
    t0: float = Field(
        default=0.88,
        ge=0.0,
        le=1.0,
        description="Noise level (share of the steps that are left) at which frame 0 is moved; 0.88 as published."
        " Lower: frames keep more of frame 0. Acts without `control`.",
    )
    t1: float = Field(
        default=0.94,
        validate_default=True,
        ge=0.0,
        le=1.0,
        description="Noise level, at least a step above `t0`, from which all frames are denoised together; 0.94 as"
        " published. Higher: more change between frames. Acts without `control`.",
    )
    background_smoothing: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="How far the background is held at that of frame 0: 0 not at all, 0.6 as published. The background"
        " is where the control video shows what its first frame shows. Acts with `control`.",
    )

    @field_validator("t1")
    @classmethod
    def _above_t0(cls, t1: float, others: ValidationInfo) -> float:
        t0 = others.data.get("t0")  # none if it is itself wrong
        if t0 is not None and t1 <= t0:
            raise ValueError(f"must be above t0, which is {t0:g}")
        return t1
