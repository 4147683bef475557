"""A model for people: what it is, what it takes and gives, what it needs, and how to install it."""

from __future__ import annotations

from collections.abc import Iterator

from core.service.admission.catalog import PresetFolder
from core.service.admission.limits import limit_of
from core.service.engines.capabilities import Capabilities, SizeRule
from core.service.engines.preset import Preset
from core.service.settings import Settings

_LABEL_WIDTH = 12


def model_lines(folder: PresetFolder, settings: Settings) -> list[str]:
    """Its name and description, then a line for each fact. Raises PresetError."""
    default = " (default)" if folder.path.name == settings.default_model else ""
    facts = [*_use(folder.preset, settings), *_needs(folder), *_extras(folder), *_examples(folder.preset)]
    return [f"{folder.path.name}{default}: {folder.preset.description}", *(_line(*fact) for fact in facts)]


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL_WIDTH}}{text}"


def _use(preset: Preset, settings: Settings) -> Iterator[tuple[str, str]]:
    takes = preset.capabilities
    yield "inputs", "; ".join(_inputs(takes, preset.max_prompt_tokens))
    rate = f"{preset.fps} frames per second{', or another rate' if 'fps' in takes.fields else ''}"
    yield "video", f"{preset.width}x{preset.height}{_sizes(takes.size)}, {rate}"
    most = limit_of("max_frames", preset, settings).most
    yield "length", f"{preset.effective_limits.min_frames} to {most} frames{_end(takes)}"


def _inputs(takes: Capabilities, max_prompt_tokens: int) -> Iterator[str]:
    if takes.prompt != "no":
        instead = ", or an image" if takes.prompt == "without_image" else ""
        yield f"prompt of up to {max_prompt_tokens} tokens{instead}"
    if takes.image and takes.prompt != "without_image":
        yield "image"
    if takes.video != "no":
        yield "video, all of it" if takes.video == "whole" else "video, whose last 16 frames it continues"
    if takes.control:
        yield f"control video: {', '.join(takes.control)}"
    if takes.needs_input and takes.prompt != "no":
        yield "not by prompt alone"


def _sizes(rule: SizeRule | None) -> str:
    if rule is None:
        return ""
    return f" (or sides of {rule.min_side} to {rule.max_side} in steps of {rule.multiple_of})"


def _end(takes: Capabilities) -> str:
    as_long = ", or as long as its input" if takes.length_of_input else ""
    return as_long + (", or without end" if takes.endless else "")


def _needs(folder: PresetFolder) -> Iterator[tuple[str, str]]:
    card = folder.preset.card
    if card is not None:
        memory = "a CPU is enough" if card.gpu_memory_gb is None else f"GPU with {card.gpu_memory_gb:g} GB"
        yield "needs", f"{card.disk_gb:g} GB of disk; {memory}"
        yield "licence", card.licence
        yield "source", card.source
        if card.notes:
            yield "note", card.notes
    missing = f"no: `{folder.install_command}` downloads its weights"
    yield "installed", missing if not folder.installed else "yes" if folder.preset.download else "shipped"


def _extras(folder: PresetFolder) -> Iterator[tuple[str, str]]:
    for control in folder.preset.capabilities.control:
        command = folder.control_command(control)
        missing = "not installed" if command is None else f"`{command}`"
        yield "control", f"{control}: {'installed' if folder.control_weights(control).is_dir() else missing}"
    if (refiner := folder.preset.refiner) is not None:
        yield "refiner", f"to {refiner.width}x{refiner.height}, at most {refiner.max_side} pixels a side"
        if not folder.refines:
            yield "", f"its refiner is not installed: `{folder.refiner_command}` downloads it"


def _examples(preset: Preset) -> Iterator[tuple[str, str]]:
    for number, prompt in enumerate(preset.example_prompts):
        yield "" if number else "prompts", repr(prompt)
