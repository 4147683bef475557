"""The environment's settings for a command, with a sentence instead of a traceback where a variable is wrong."""

from __future__ import annotations

from pydantic import ValidationError

from core.service.errors import SetupError
from core.service.settings import Settings


def read_settings() -> Settings:
    """Settings from the environment. Raises SetupError naming the first variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        what = first["msg"].removeprefix("Value error, ")  # pydantic's word for our own validators
        raise SetupError(f"the environment variable LONGTAKE_{name} is wrong: {what}") from error
