"""Which secrets sign a webhook: that of the job's request, else those of the API key that owns the job, else the
deployment's.
"""

from __future__ import annotations

import logging

from core.service.domain.api_keys import ADMIN_ID
from core.service.domain.errors import KeyNotFound, StorageError, StoreUnavailable
from core.service.domain.ports import ApiKeys, Clock, Delivery
from core.service.settings import Settings

logger = logging.getLogger(__name__)


class SigningSecrets:
    """A key's secrets are read for every attempt, so that a rotation acts on retries, too."""

    def __init__(self, keys: ApiKeys, settings: Settings, clock: Clock) -> None:
        self._keys = keys
        self._settings = settings
        self._clock = clock

    def of(self, delivery: Delivery) -> str:
        """The secrets, separated by spaces; "" if there is none. Those of a revoked key still sign. Raises StoreError,
        also if the storage cannot be asked for keys that Redis has lost."""
        known = self.known(delivery)
        return self._of_key(delivery) if known is None else known

    def known(self, delivery: Delivery) -> str | None:
        """`of` if no key has to be read for it, else None. No I/O."""
        if delivery.secret is not None:
            return delivery.secret
        return self._of_deployment() if delivery.owner in (None, ADMIN_ID) else None

    def _of_key(self, delivery: Delivery) -> str:
        try:
            return " ".join(self._keys.get(str(delivery.owner)).webhook_secrets(self._clock.now()))
        except KeyNotFound as error:
            logger.error("webhook %s: %s", delivery.id, error.message)
            return ""
        except StorageError as error:
            raise StoreUnavailable("API keys cannot be read now") from error

    def _of_deployment(self) -> str:
        secret = self._settings.webhook_secret
        return "" if secret is None else secret.get_secret_value()
