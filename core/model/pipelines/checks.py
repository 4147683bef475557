"""Whether the networks of a Stable Diffusion model fit its preset and each other."""

from typing import Any, TypeVar

from core.model.pipelines.preset import PipelinePreset
from core.model.pipelines.sizes import nearest_multiple, require_multiple
from core.model.pipelines.stable_diffusion import TextReader
from core.model.presets.files import FIX
from core.model.sampling.vae import downsampling
from core.service.domain.errors import PresetError
from core.service.engines.load_context import LoadContext

PresetT = TypeVar("PresetT", bound=PipelinePreset)


def check_sizes(context: LoadContext[PresetT], vae: Any) -> None:
    """Raises PresetError unless all sizes of the preset are whole latents; the UNet takes any number of these."""
    preset, file, step = context.preset, context.folder / "preset.json", downsampling(vae)
    try:
        require_multiple(preset.width, preset.height, step)
    except ValueError as error:
        raise PresetError(f"{file}: {error}", fix="change width and height") from error
    if preset.size is not None and preset.size.multiple_of % step:
        message = f"{file}: size.multiple_of is {preset.size.multiple_of}, which is no multiple of {step}"
        raise PresetError(message, fix=f"the nearest is {nearest_multiple(preset.size.multiple_of, step)}")


def check_texts(context: LoadContext[PresetT], unet: Any, texts: TextReader) -> None:
    """Raises PresetError unless the text encoders read as much as the preset says, and fit the UNet."""
    check_prompt_tokens(context, texts.max_prompt_tokens)
    width, wanted = sum(each.config.hidden_size for each in texts.networks), unet.config.cross_attention_dim
    if width != wanted:
        raise PresetError(f"{context.part('text_encoder')} is {width} wide; the UNet reads {wanted}", fix=FIX)


def check_prompt_tokens(context: LoadContext[PresetT], most: int) -> None:
    """Raises PresetError unless the text encoder, which reads `most` tokens, reads as much as the preset says."""
    if context.preset.max_prompt_tokens > most:
        file = context.folder / "preset.json"
        raise PresetError(f"{file}: max_prompt_tokens: the text encoder reads {most}", fix=f"give {most} or less")
