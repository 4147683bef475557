"""Cleans the prompts of a request, counts their tokens and checks their words: refused, or accepted with warnings."""

from __future__ import annotations

from dataclasses import dataclass

from core.service.admission.catalog import PresetFolder
from core.service.admission.request_body import prompt_missing
from core.service.domain.errors import FieldNotSupported, InvalidField, PromptNotUnderstood, PromptTooLong
from core.service.domain.schema import JobRequest, JobWarning, PromptChange, TimedPrompt, WarningCode
from core.service.domain.text import CleanText, clean
from core.service.engines.capabilities import Capabilities
from core.service.engines.preset import Preset
from core.service.engines.vocabulary import foreign_syntax

_NAMED_WORDS, _NAMED_LETTERS = 5, 32


@dataclass(frozen=True)
class ReadPrompt:
    """The text for the model, and warnings about the text that was sent."""

    text: str
    warnings: tuple[JobWarning, ...]


@dataclass(frozen=True)
class ReadPrompts:
    """The prompt at frame 0, those that begin later, in order, and warnings about what was sent."""

    first: str
    changes: tuple[PromptChange, ...]
    warnings: tuple[JobWarning, ...]

    @property
    def texts(self) -> dict[str, str]:
        """All texts, by the field that they came from. None if the video has no prompt."""
        if not self.first:
            return {}
        if not self.changes:
            return {"prompt": self.first}
        return {text_field(index): text for index, text in enumerate((self.first, *(one.text for one in self.changes)))}


def read_prompts(request: JobRequest, folder: PresetFolder) -> ReadPrompts:
    """`prompt` or `prompts` of a request; an empty one if its video has none. Raises FieldNotSupported, what
    `read_prompt` raises, and InvalidField for neither, both, or frames out of order."""
    if not takes_prompt(request, folder.preset.capabilities):
        return _no_prompt(request, folder)
    _check_enhancement(request, folder.preset)
    if request.prompts is None:
        if request.prompt is None:
            raise prompt_missing()
        only = read_prompt(request.prompt, folder)
        return ReadPrompts(only.text, (), only.warnings)
    if request.prompt is not None:
        raise InvalidField("both prompt and prompts are given", field="prompts", fix="give one of them")
    require_prompt_changes(folder, "prompts", "give one prompt")
    _check_order(request.prompts)
    read = [read_prompt(one.text, folder, text_field(index)) for index, one in enumerate(request.prompts)]
    pairs = list(zip(request.prompts, read, strict=True))[1:]
    changes = tuple(PromptChange(start_frame=sent.start_frame, text=one.text) for sent, one in pairs)
    return ReadPrompts(read[0].text, changes, tuple(warning for one in read for warning in one.warnings))


def takes_prompt(request: JobRequest, takes: Capabilities) -> bool:
    """Whether the model reads a prompt for such a request. If so, the request must have one."""
    return takes.prompt == "required" or (takes.prompt == "without_image" and request.image is None)


def _no_prompt(request: JobRequest, folder: PresetFolder) -> ReadPrompts:
    """Raises FieldNotSupported for a prompt that nothing would read, and ModelNotInstalled."""
    beside = " beside an image" if folder.preset.capabilities.prompt == "without_image" else ""
    for field in ("prompt", "prompts", "negative_prompt", "enhance_prompt"):
        if getattr(request, field):
            message = f"{folder.preset.name} takes no {field}{beside}"
            raise FieldNotSupported(message, field=field, fix="leave it out")
    folder.require_installed()
    return ReadPrompts("", (), ())


def _check_enhancement(request: JobRequest, preset: Preset) -> None:
    """Raises FieldNotSupported for an editor's instruction: what a longer one names, it would change."""
    takes = preset.capabilities
    if request.enhance_prompt and takes.video == "whole" and takes.needs_input:
        message = f"a prompt for {preset.name} is an instruction, and says what changes; a longer one would change more"
        raise FieldNotSupported(message, field="enhance_prompt", fix="leave it out")


def text_field(index: int) -> str:
    """Path of the text of an entry of `prompts`."""
    return f"prompts[{index}].text"


def require_prompt_changes(folder: PresetFolder, field: str, fix: str) -> None:
    """Raises FieldNotSupported if a video of this model has one prompt."""
    if not folder.preset.capabilities.prompt_changes:
        message = f"a video of {folder.preset.name} has one prompt, which cannot change"
        raise FieldNotSupported(message, field=field, fix=fix)


def check_within(changes: tuple[PromptChange, ...], num_frames: int | None) -> None:
    """Raises InvalidField for a prompt that begins after the video's last frame. None: it has no last frame."""
    if num_frames is None:
        return
    late = [index for index, change in enumerate(changes, 1) if change.start_frame >= num_frames]
    if late:
        message = f"the video has {num_frames} frames, so the last begins at {num_frames - 1}"
        fix = f"give at most {num_frames - 1}, or a longer video"
        raise InvalidField(message, field=_frame_field(late[0]), fix=fix)


def _check_order(prompts: list[TimedPrompt]) -> None:
    frames = [prompt.start_frame for prompt in prompts]
    if frames[0] != 0:
        message = f"the first prompt begins at frame {frames[0]}, so frame 0 has none"
        raise InvalidField(message, field=_frame_field(0), fix="give 0")
    for index in range(1, len(frames)):
        if frames[index] <= frames[index - 1]:
            message = f"{_frame_field(index)} is {frames[index]}, after {frames[index - 1]}"
            raise InvalidField(message, field=_frame_field(index), fix="sort prompts by start_frame, each frame once")


def _frame_field(index: int) -> str:
    return f"prompts[{index}].start_frame"


def read_prompt(sent: str, folder: PresetFolder, field: str = "prompt") -> ReadPrompt:
    """Raises InvalidField for text without visible characters, PromptTooLong, and PromptNotUnderstood if the model
    knows none of its words. They name `field`."""
    cleaned = clean(sent)
    if not cleaned.text:
        raise InvalidField(f"{field} has no visible text", field=field, fix="say what the video shows")
    check_length(field, cleaned.text, folder)
    check = folder.tokenizer.check_words(cleaned.text)
    if not check.understood:
        raise _not_understood(field, check.unknown, folder)
    return ReadPrompt(cleaned.text, _warnings(field, cleaned, check.unknown))


def read_negative_prompt(sent: str, folder: PresetFolder) -> ReadPrompt:
    """Like `read_prompt`, but it may be empty, and unknown words only give warnings."""
    cleaned = clean(sent)
    check_length("negative_prompt", cleaned.text, folder)
    check = folder.tokenizer.check_words(cleaned.text)
    return ReadPrompt(cleaned.text, _warnings("negative_prompt", cleaned, check.unknown))


def check_length(field: str, text: str, folder: PresetFolder) -> None:
    """Raises PromptTooLong if the text encoder would truncate the text."""
    limit, num_tokens = folder.preset.max_prompt_tokens, folder.tokenizer.count(text)
    if num_tokens > limit:
        message = f"{field} has {num_tokens} tokens; this model reads {limit}"
        raise PromptTooLong(message, field=field, fix=f"shorten it to at most {limit} tokens; nothing is cut silently")


def _not_understood(field: str, unknown: tuple[str, ...], folder: PresetFolder) -> PromptNotUnderstood:
    preset = folder.preset
    message = f"{preset.name} knows no word of {'the prompt' if field == 'prompt' else field}"
    message += f": {_named(unknown)}" if unknown else "; no word of it says what the video shows"
    example = f', for example "{preset.example_prompts[0]}"' if preset.example_prompts else ""
    return PromptNotUnderstood(message, field=field, fix=f"say in plain English what the video shows{example}")


def _warnings(field: str, cleaned: CleanText, unknown: tuple[str, ...]) -> tuple[JobWarning, ...]:
    found = list[JobWarning]()
    if cleaned.num_removed:
        message = f"{cleaned.num_removed} invisible characters of {field} were removed"
        found.append(JobWarning(code=WarningCode.CHARACTERS_REMOVED, message=message, field=field))
    if kinds := foreign_syntax(cleaned.text):
        message = f"{field} has the syntax of other tools, which acts as plain text here or not at all: "
        found.append(JobWarning(code=WarningCode.FOREIGN_SYNTAX, message=message + "; ".join(kinds), field=field))
    if unknown:
        message = f"the model does not know these words of {field}: {_named(unknown)}"
        found.append(JobWarning(code=WarningCode.UNKNOWN_WORDS, message=message, field=field))
    return tuple(found)


def _named(words: tuple[str, ...]) -> str:
    named = ", ".join(word[:_NAMED_LETTERS] for word in words[:_NAMED_WORDS])
    more = len(words) - _NAMED_WORDS
    return f"{named} and {more} more" if more > 0 else named
