"""Cleans one prompt of a request, counts its tokens and checks its words: refused, or accepted with warnings."""

from __future__ import annotations

from dataclasses import dataclass

from core.service.admission.catalog import PresetFolder
from core.service.domain.errors import InvalidField, PromptNotUnderstood, PromptTooLong
from core.service.domain.schema import JobWarning, WarningCode
from core.service.domain.text import CleanText, clean
from core.service.engines.vocabulary import foreign_syntax

_NAMED_WORDS, _NAMED_LETTERS = 5, 32


@dataclass(frozen=True)
class ReadPrompt:
    """The text for the model, and warnings about the text that was sent."""

    text: str
    warnings: tuple[JobWarning, ...]


def read_prompt(sent: str, folder: PresetFolder) -> ReadPrompt:
    """Raises InvalidField for text without visible characters, PromptTooLong, and PromptNotUnderstood if the model
    knows none of its words."""
    cleaned = clean(sent)
    if not cleaned.text:
        raise InvalidField("prompt has no visible text", field="prompt", fix="say what the video shows")
    check_length("prompt", cleaned.text, folder)
    check = folder.tokenizer.check_words(cleaned.text)
    if not check.understood:
        raise _not_understood(check.unknown, folder)
    return ReadPrompt(cleaned.text, _warnings("prompt", cleaned, check.unknown))


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


def _not_understood(unknown: tuple[str, ...], folder: PresetFolder) -> PromptNotUnderstood:
    preset = folder.preset
    message = f"{preset.name} knows no word of the prompt"
    message += f": {_named(unknown)}" if unknown else "; no word of it says what the video shows"
    example = f', for example "{preset.example_prompts[0]}"' if preset.example_prompts else ""
    return PromptNotUnderstood(message, field="prompt", fix=f"say in plain English what the video shows{example}")


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
