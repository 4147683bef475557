"""The names of all training stages, and which stage needs the weights of which."""

from __future__ import annotations

DISTILLATION_STAGES = ("window_guidance", "window_steps", "first_chunk_guidance", "first_chunk_steps")
"""The stages that train adapters; a recipe may do without them. The *_steps ones continue those before them."""
BEFORE_DISTILLATION = ("clip", "tower", "vae", "image", "video", "sight", "cam", "apm", "decoder", "refiner")
SPRITES_STAGES = (*BEFORE_DISTILLATION, *DISTILLATION_STAGES)
IMAGE_STAGES = ("image2d", "controlnet", "editor")
STAGES = (*SPRITES_STAGES, *IMAGE_STAGES)
"""All stages in training order."""
NEEDS: dict[str, tuple[str, ...]] = {
    "clip": (),
    "tower": ("clip",),
    "vae": (),
    "image": ("clip", "vae"),
    "video": ("clip", "vae", "image"),
    "sight": ("vae", "video"),
    "cam": ("clip", "vae", "video", "sight"),
    "apm": ("clip", "tower", "vae", "video", "cam"),
    "decoder": ("vae",),
    "refiner": ("clip", "vae"),
    "window_guidance": ("clip", "tower", "vae", "video", "cam", "apm"),
    "window_steps": ("clip", "tower", "vae", "video", "cam", "apm", "window_guidance"),
    "first_chunk_guidance": ("clip", "vae", "video"),
    "first_chunk_steps": ("clip", "vae", "video", "first_chunk_guidance"),
    "image2d": (),
    "controlnet": ("image2d",),
    "editor": (),
}
"""Stage -> the earlier stages whose weights it needs, if the recipe has them."""
MEMORY_STAGES = ("cam", "apm")
"""The stages that train the memories of a preset; on the user's own clips too."""
CLIPS_STAGES = (*MEMORY_STAGES, *DISTILLATION_STAGES)
WITH_DROPOUTS = (*MEMORY_STAGES, "window_guidance", "window_steps")


def continued_stage(name: str) -> str | None:
    """The stage whose adapter a stage continues, if it is a *_steps stage of distillation."""
    return name.replace("_steps", "_guidance") if name in ("window_steps", "first_chunk_steps") else None
