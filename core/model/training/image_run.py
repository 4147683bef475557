"""Train the stages of an image recipe, with samples of what they can do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from core.model.networks.encoders import ClipTextEncoder
from core.model.sampling.vae import scaling_factor
from core.model.training import samples
from core.model.training.image_models import ImageModels
from core.model.training.image_samples import PictureMaker, controlled_rows, edited_rows, picture_rows
from core.model.training.loop.train import train
from core.model.training.sprites import world
from core.model.training.stages.controlnet import ControlNetTask
from core.model.training.stages.editor import EditorTask
from core.model.training.stages.image2d import Image2DTask


class ImageTrainingRun(ImageModels):
    """One recipe in one working folder, trained stage by stage."""

    def run(self, stage: str) -> int:
        """Train a stage, continuing from its checkpoint, and write samples; returns the total steps done."""
        task = self.task(stage)
        plan, pinned = self.recipe.stages[stage].plan, self.recipe.pinned(stage)
        sampler = samples.file_sampler(self.folder / stage, world.FPS, self._sample_rows(task))
        return train(task, plan, self.folder / stage, sampler, pinned)

    def task(self, stage: str) -> Image2DTask | ControlNetTask | EditorTask:
        """The stage's task at step 0, with the weights of earlier stages."""
        batch, seed, scale = self.recipe.stages[stage].batch, self.recipe.seed, scaling_factor(self.vae)
        if stage == "image2d":
            return Image2DTask(self.first_unet(), self.text_encoder, self.tokenizer, self.bank, seed, batch, scale)
        if stage == "controlnet":
            controlnet, unet = self.first_controlnet(), self.unet
            return ControlNetTask(controlnet, unet, self.text_encoder, self.tokenizer, self.bank, seed, batch, scale)
        unet, text_encoder = self.first_editor()
        return EditorTask(unet, text_encoder, self.edit_tokenizer, self.bank, seed, batch, scale)

    def _sample_rows(self, task: Image2DTask | ControlNetTask | EditorTask) -> Callable[[], list[samples.Row]]:
        if isinstance(task, EditorTask):
            encode_texts = ClipTextEncoder(task.tokenizer, task.text_encoder)
            return partial(edited_rows, PictureMaker(self.vae, encode_texts, task.unet))
        maker = PictureMaker(self.vae, ClipTextEncoder(task.tokenizer, task.text_encoder), task.unet)
        if isinstance(task, ControlNetTask):
            return partial(controlled_rows, maker, task.controlnet)
        return partial(picture_rows, maker)
