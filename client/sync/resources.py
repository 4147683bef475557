"""Uploads, models, API keys and webhooks."""

from __future__ import annotations

from pathlib import Path

from client.calls import keys as key_calls
from client.calls import uploads as upload_calls
from client.calls import webhooks as webhook_calls
from client.files import OnBytes, content_type_of, ignore_bytes, read_pieces
from client.models import Key, KeyLimits, KeyScope, ModelList, NewKey, NewWebhookSecret, Upload
from client.sync.connection import Connection
from core.service.domain.schema import WebhookPing


class Uploads:
    """`client.uploads`: files for `image`, `video` and `control` of jobs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, path: Path | str, content_type: str | None = None, on_bytes: OnBytes = ignore_bytes) -> str:
        """Upload a file; returns the id for `image`, `video` or `control` of a job.

        `content_type` is for example "video/mp4", by default what the file's name says. `on_bytes(done, total)` is
        called as the file is sent. If the object storage refuses it, this raises an ApiError without `code`.
        """
        file = Path(path)
        size_bytes = file.stat().st_size
        target = self._connection.send(upload_calls.create(content_type or content_type_of(file), size_bytes))
        call = upload_calls.send_file(target, lambda: read_pieces(file, size_bytes, on_bytes))
        return self._connection.send(call)

    def get(self, upload_id: str) -> Upload:
        """Whether the file has arrived, and until when it can be used."""
        return self._connection.send(upload_calls.get(upload_id))

    def delete(self, upload_id: str) -> None:
        """New jobs cannot use it; jobs that already use it are not affected."""
        self._connection.send(upload_calls.delete(upload_id))


class Models:
    """`client.models`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> ModelList:
        """The models of the service, and which is the default."""
        return self._connection.send(upload_calls.models())


class Keys:
    """`client.keys`: for the operator, all but `current`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, scope: KeyScope = "jobs", limits: KeyLimits | None = None) -> NewKey:
        """A new key. Its text and its webhook secret are in this answer only."""
        return self._connection.send(key_calls.create(name, scope, limits))

    def list(self) -> tuple[Key, ...]:
        """All keys, revoked ones too."""
        return self._connection.send(key_calls.all_keys())

    def get(self, key_id: str) -> Key:
        """One key, with what it has used of its limits. Raises NotFound."""
        return self._connection.send(key_calls.get(key_id))

    def current(self) -> Key:
        """The key of this client, with what it has used of its limits."""
        return self._connection.send(key_calls.current())

    def change(
        self,
        key_id: str,
        *,
        name: str | None = None,
        scope: KeyScope | None = None,
        limits: KeyLimits | None = None,
    ) -> Key:
        """Change what is given. Limits that are left out stay; None removes one."""
        return self._connection.send(key_calls.change(key_id, name, scope, limits))

    def revoke(self, key_id: str) -> None:
        """The key is refused from now on. It stays in the list."""
        self._connection.send(key_calls.revoke(key_id))

    def rotate(self, key_id: str, grace_seconds: int = 86400) -> NewKey:
        """A new text for the key; the old one is valid for `grace_seconds` still."""
        return self._connection.send(key_calls.rotate(key_id, grace_seconds))

    def rotate_webhook_secret(self, key_id: str, grace_seconds: int = 86400) -> NewWebhookSecret:
        """A new webhook secret; webhooks have the signature of the old one as well for `grace_seconds`."""
        return self._connection.send(key_calls.rotate_webhook_secret(key_id, grace_seconds))


class Webhooks:
    """`client.webhooks`. What became of a job's webhooks: `job.webhook_deliveries()`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ping(self, webhook_url: str, webhook_secret: str | None = None) -> WebhookPing:
        """Have a signed test event sent to a receiver; `ping_result` tells what became of it."""
        return self._connection.send(webhook_calls.ping(webhook_url, webhook_secret))

    def ping_result(self, ping_id: str) -> WebhookPing:
        """What became of a test event. It is kept for an hour."""
        return self._connection.send(webhook_calls.ping_result(ping_id))
