"""What is allowed in the environment and hardly meant: told at the start of the API and of `longtake worker`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from core.service.domain.errors import StoreMisconfigured, shortened
from core.service.redis.urls import same_database
from core.service.settings import Settings

logger = logging.getLogger(__name__)

PREFIX = "LONGTAKE_"
_OF_THE_COMMAND_LINE = ("URL", "KEY")
_SERVICE_LINK = re.compile(r"_SERVICE_(?:HOST|PORT\w*)$|_PORT_\d+_(?:TCP|UDP|SCTP)\w*$")
"""What Kubernetes puts into the environment for a service with such a name, unless enableServiceLinks is false."""


def warn_of_settings(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """A line in the log for each thing. Called once in a process, after the logs are set up."""
    for warning in setting_warnings(settings, environment):
        logger.warning("%s", warning)


def setting_warnings(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """`settings` are those of this environment. Values are not repeated: they may be secrets."""
    known = [name.upper() for name in Settings.model_fields] + [*_OF_THE_COMMAND_LINE]
    for given in sorted(environment):
        prefix, name = given[: len(PREFIX)].upper(), given[len(PREFIX) :].upper()
        if prefix == PREFIX and name not in known and not _is_service_link(given, environment[given]):
            nearest = get_close_matches(name, known, n=1)
            meant = f": do you mean {PREFIX}{nearest[0]}?" if nearest else ""
            yield f"the environment variable {shortened(given)} is no setting and has no effect{meant}"
    if _share_a_database(settings):
        yield (
            "LONGTAKE_REDIS_URL and LONGTAKE_BROKER_URL name the same database: give each its own, such as "
            "redis://HOST:6379/0 and redis://HOST:6379/1, so that messages can be dropped without the records"
        )


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.search(name)) or (name.endswith("_PORT") and value.startswith(("tcp://", "udp://")))


def _share_a_database(settings: Settings) -> bool:
    try:
        return same_database(settings.redis_url, settings.broker_url)
    except StoreMisconfigured:
        return False  # connecting will say so
