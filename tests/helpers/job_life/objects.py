"""The object store, which notes whose manifest was overtaken and keeps the picture that jobs begin with."""

from __future__ import annotations

from core.service.domain.manifest import job_id_of_manifest
from core.service.domain.uploads import upload_key
from core.service.testing.storage import FakeStorage
from tests.helpers.clips import picture
from tests.helpers.job_life.jobs import PICTURE, SIDE
from tests.helpers.manifests import record_from_manifest


class ObjectStore(FakeStorage):
    """Notes the jobs whose manifest was overtaken: a worker that stood still has put an older one over a newer one.

    It puts the newest right afterwards. Only if it dies in between, or Redis is lost then, the older one stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self.overtaken = set[str]()

    def delete_prefix(self, prefix: str) -> int:
        """The upload with which jobs begin is never too old."""
        count = super().delete_prefix(prefix)
        put_picture(self)
        return count

    def put(self, key: str, data: bytes, content_type: str) -> None:
        if (job_id := job_id_of_manifest(key)) is not None:
            before = record_from_manifest(self.objects[key]) if key in self.objects else None
            older = before is not None and record_from_manifest(data).revision < before.revision
            (self.overtaken.add if older else self.overtaken.discard)(job_id)
        super().put(key, data, content_type)


def put_picture(storage: FakeStorage) -> None:
    """What jobs of the kind `picture` begin with."""
    storage.put(upload_key(PICTURE), picture((200, 100, 50), size=(SIDE, SIDE)), "image/png")
