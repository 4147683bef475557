"""Checks characters of client text, and removes invisible ones from prompts.

Sources: Unicode 16, DerivedCoreProperties
(Default_Ignorable_Code_Point) and UAX #9 (the explicit bidirectional formatting characters).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from core.service.domain.errors import InvalidField

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tab, newline and carriage return; lone surrogates."""
_BIDI_FORMATTING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
"""They reorder the text after them, also that of others."""
_BLANKS = re.compile(r"[\u115f\u1160\u2800\u3164\uffa0]")
"""Letters and a symbol that look like a space."""
_RUNS_OF_SPACE = re.compile(r"\s{2,}")
_ZERO_WIDTH = re.compile(
    r"[\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u2065\u206a-\u206f\ufe00-\ufe0f\ufeff"
    r"\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True)
class CleanText:
    """A cleaned prompt, and the number of characters that were removed or replaced."""

    text: str
    num_removed: int


def check_characters(field: str, text: str) -> None:
    """Raise InvalidField if `text` has control characters, lone surrogates or bidirectional formatting."""
    for pattern, what in ((_CONTROLS, "control characters"), (_BIDI_FORMATTING, "bidirectional formatting characters")):
        if found := pattern.search(text):
            message = f"{field} has {what} (U+{ord(found[0]):04X} at character {found.start() + 1})"
            raise InvalidField(message, field=field, fix="leave them out")


def clean(text: str) -> CleanText:
    """`text` in NFC, without zero-width characters, invisible letters replaced by spaces, stripped.

    Runs of white space become one space; they are not counted, since they mean the same.
    """
    shown, num_zero_width = _ZERO_WIDTH.subn("", text)
    shown, num_blanks = _BLANKS.subn(" ", shown)
    spaced = _RUNS_OF_SPACE.sub(" ", unicodedata.normalize("NFC", shown).strip())
    return CleanText(spaced, num_zero_width + num_blanks)
