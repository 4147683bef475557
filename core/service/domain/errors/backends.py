"""Errors of what the service depends on: Redis, the object store, DNS, the machine."""

from __future__ import annotations

from core.service.domain.errors.base import LongtakeError, OperatorError


class NameServiceUnavailable(LongtakeError):
    """Host names cannot be looked up at the moment."""

    code = "name_service_unavailable"


class StoreError(OperatorError):
    """The store of the jobs did not answer."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The store of the jobs does not answer at the moment."""

    code = "store_unavailable"


class StoreReadOnly(StoreError):
    """The store of the jobs refuses writes."""

    code = "store_read_only"


class StoreFull(StoreError):
    """The store of the jobs is full."""

    code = "store_full"


class StoreDamaged(StoreError):
    """The store of the jobs holds something that cannot be read."""

    code = "store_damaged"


class StoreMisconfigured(StoreError):
    """The store of the jobs refuses what the service asks for."""

    code = "store_misconfigured"


class StorageError(OperatorError):
    """The object store refused or did not answer."""

    code = "storage_error"


class StorageUnavailable(StorageError):
    """The object store does not answer at the moment."""

    code = "storage_unavailable"


class StorageReadOnly(StorageError):
    """The object store refuses writes."""

    code = "storage_read_only"


class StorageFull(StorageError):
    """The object store is full."""

    code = "storage_full"


class StorageMisconfigured(StorageError):
    """The object store refuses what the service asks for."""

    code = "storage_misconfigured"


class ObjectNotFound(StorageError):
    """There is no object under this key."""

    code = "object_not_found"


class ObjectDamaged(StorageError):
    """The object's bytes are not those that were stored."""

    code = "object_damaged"


class SetupError(LongtakeError):
    """Something on this machine keeps Longtake from starting."""

    code = "setup_error"
