"""Secrets that sign webhooks: `whsec_` + base64 of 24 to 64 random bytes (Standard Webhooks 1.0.0), or several of them
separated by spaces (rotation).
"""

from __future__ import annotations

import base64
import binascii
import secrets

from pydantic import SecretStr

from core.service.domain.errors import SetupError

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of every secret, not one
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64
_FORM = f"{SECRET_PREFIX} followed by base64 of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes"
_FIX = 'make one: python -c "from core.service.domain.webhook_secret import generate_secret; print(generate_secret())"'


def generate_secret() -> str:
    """A new signing secret of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def keys_of(secret: str) -> list[bytes]:
    """The key of each secret in `secret`. Raises SetupError for a malformed one."""
    keys = [key_of(part) for part in secret.split()]
    if not keys:
        raise MalformedSecret("is empty, not " + _FORM)
    return keys


def usable_secret(secret: SecretStr) -> SecretStr:
    """Validator of settings: `secret` unchanged. Raises ValueError, without the secret in it, if it is malformed."""
    try:
        keys_of(secret.get_secret_value())
    except MalformedSecret as error:
        raise ValueError(f"it {error.why} ({error.fix})") from None
    return secret


def key_of(secret: str) -> bytes:
    """The key of one secret. Raises MalformedSecret."""
    if not secret.startswith(SECRET_PREFIX):
        raise MalformedSecret(f"does not begin with {SECRET_PREFIX}; it must be {_FORM}")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedSecret(f"is not base64 after {SECRET_PREFIX}; it must be {_FORM}") from error
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise MalformedSecret(f"has a key of {len(key)} bytes; it must be {_FORM}")
    return key


class MalformedSecret(SetupError):
    """The webhook secret cannot be used; `why` says so without it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"LONGTAKE_WEBHOOK_SECRET is wrong: it {why}", field="webhook_secret", fix=_FIX)
        self.why = why
