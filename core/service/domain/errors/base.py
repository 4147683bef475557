"""LongtakeError, the base class of every named error, and how client values are quoted in messages."""

from __future__ import annotations

MAX_ECHO = 200
"""Maximum number of characters of a client's value that an answer repeats."""


def shortened(value: str, most: int = MAX_ECHO) -> str:
    """A client's value as one safe line for messages and logs: at most `most` characters; unprintable ones (control
    characters, bidirectional formatting, lone surrogates) are escaped."""
    cut = value if len(value) <= most else f"{value[: most - 1]}…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


class LongtakeError(Exception):
    """Something went wrong in Longtake."""

    code = "internal_error"

    def __init__(self, message: str | None = None, *, field: str | None = None, fix: str | None = None) -> None:
        super().__init__(message or title_of(self))
        self.field = field
        self.fix = fix

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def public_message(self) -> str:
        """The message as clients may read it."""
        return self.message

    @property
    def public_fix(self) -> str | None:
        """What to do about it, for clients; None if the message is not for clients."""
        return self.fix if self.public_message == self.message else None

    @property
    def with_fix(self) -> str:
        """Message and fix in one line, for a terminal."""
        return f"{self.message} ({self.fix})" if self.fix else self.message


def title_of(error: LongtakeError) -> str:
    """First line of the error class's docstring: a sentence that is safe to show to clients."""
    return (type(error).__doc__ or "").strip().splitlines()[0]


class OperatorError(LongtakeError):
    """Something failed inside the service; the message is for operators."""

    @property
    def public_message(self) -> str:
        """Title of the class. `message` may hold addresses, folders and keys, so only operators read it."""
        return title_of(self)
