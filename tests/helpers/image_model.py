"""An image model with few steps, for speed."""

from collections.abc import Callable
from typing import Any

from core.model.pipelines.image_model import ImageGenerator


class QuickImageGenerator(ImageGenerator):
    """Makes pictures in so many steps, whatever the pipeline's default is."""

    def __init__(self, load_pipeline: Callable[[], Any], num_steps: int) -> None:
        super().__init__(load_pipeline)
        self._num_steps = num_steps

    @property
    def num_steps(self) -> int:
        return self._num_steps
