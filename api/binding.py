"""Where the API may listen: without keys everybody who reaches it may everything, so only on this machine."""

from __future__ import annotations

from core.service.domain.addresses import is_loopback
from core.service.domain.errors import SetupError
from core.service.settings import Settings


def check_binding(host: str, settings: Settings) -> None:
    """Raises SetupError if other machines would reach an API without keys and LONGTAKE_OPEN does not allow it."""
    if settings.admin_key is None and not settings.open and not is_loopback(host):
        raise SetupError(
            f"without API keys the API would be open to everybody who reaches {host}",
            fix="set LONGTAKE_ADMIN_KEY (openssl rand -hex 32), or LONGTAKE_OPEN=true if it shall be open",
        )
