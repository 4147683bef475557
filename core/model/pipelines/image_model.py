"""Makes the first frame from the prompt with a text-to-image pipeline, for image-to-video models.

Shapes: P, R picture rows and columns.
"""

import inspect
import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.auto_pipeline import AutoPipelineForText2Image
from torch import Tensor

from core.model.networks.pretrained import is_snapshot, loading, repository_folder, root_cause
from core.model.pipelines.loading import Placement, load_folder
from core.model.pipelines.sizes import nearest_multiple
from core.model.pipelines.steps import StepReporter, parameters_of
from core.model.presets.fingerprint import weights_digest
from core.service.domain.errors import PresetError

REQUIRED_ARGUMENTS = frozenset(
    {"prompt", "negative_prompt", "height", "width", "num_inference_steps", "generator", "output_type"}
)
MULTIPLE = 64
"""Of both sides of a picture, in pixels: what the known text-to-image networks take."""

logger = logging.getLogger(__name__)


class ImageGenerator:
    """A text-to-image pipeline with its default steps and guidance, loaded at its first use."""

    def __init__(self, load_pipeline: Callable[[], Any]) -> None:
        self._load_pipeline = load_pipeline

    @cached_property
    def _pipeline(self) -> Any:
        with torch.inference_mode(mode=False):  # weights made in inference mode could never be changed outside
            return self._load_pipeline()

    @property
    def num_steps(self) -> int:
        """Denoising steps of a picture. Raises PresetError, as loading does."""
        steps: int = inspect.signature(type(self._pipeline).__call__).parameters["num_inference_steps"].default
        return steps

    def __call__(
        self,
        prompt: str,
        negative_prompt: str,
        generator: torch.Generator,
        steps: StepReporter,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """A picture [1, 3, P, R] in [0, 1], float32 on the CPU. Raises what `steps` raises, NotFinite and PresetError.

        `size`: height and width of the video; the picture has their ratio and about as many pixels as the pipeline's
        own size. None: the pipeline's own size.
        """
        arguments = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "num_inference_steps": self.num_steps,
            "generator": generator,
            "output_type": "pt",
            **({} if size is None else self._size(*size)),
        }
        picture: Tensor = steps.run(self._pipeline, arguments).images
        return picture.float().cpu()

    def _size(self, height: int, width: int) -> dict[str, int]:
        side = own_side(self._pipeline)
        if side is None:
            return {"height": height, "width": width}
        rows, columns = (side * (a / b) ** 0.5 for a, b in ((height, width), (width, height)))
        return {"height": nearest_multiple(rows, MULTIPLE), "width": nearest_multiple(columns, MULTIPLE)}


def own_side(pipeline: Any) -> int | None:
    """Side in pixels of the square pictures that a pipeline makes by default; None if it does not tell."""
    latent_side = getattr(pipeline, "default_sample_size", None)
    if latent_side is None and hasattr(pipeline, "unet"):
        latent_side = pipeline.unet.config.sample_size
    return pipeline.vae_scale_factor * latent_side if isinstance(latent_side, int) else None


def fetch_image_model(repository: str, placement: Placement) -> str:
    """Download a text-to-image model before a job needs it: that can take longer than a job may stall.

    Returns what identifies it: its commit, or the digest of a folder. Logs a warning if it is not available: jobs with
    an image do not need it.
    """
    try:
        folder = repository_folder(repository, placement.variant)
    except (OSError, ValueError) as error:
        logger.warning("%s is not available, so requests need an image: %s", repository, root_cause(error))
        return "not available"
    return folder.name if is_snapshot(folder) else weights_digest(folder)


def load_image_model(repository: str, placement: Placement) -> Any:
    """The text-to-image pipeline of a Hub id ("ORG/NAME", "ORG/NAME@REVISION") or a folder. Raises PresetError."""
    what = f"the image model {repository}"
    with loading(what):
        folder: Path = repository_folder(repository, placement.variant)
    pipeline = load_folder(what, AutoPipelineForText2Image, folder, placement)
    missing = sorted(REQUIRED_ARGUMENTS - parameters_of(pipeline))
    if missing:
        raise PresetError(
            f"{what} ({type(pipeline).__name__}) does not take {', '.join(missing)}",
            fix="choose another text-to-image model",
        )
    return pipeline
