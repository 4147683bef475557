"""API keys in a real Redis: the contract, concurrent changes, and a Redis that loses its data."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
import redis

from core.service.domain.api_keys import ApiKey, new_key
from core.service.domain.errors import KeyNotFound, StorageError, StorageUnavailable, StoreDamaged
from core.service.domain.key_changes import changed, revoked, rotated, with_webhook_secret
from core.service.domain.key_schema import KeyChange
from core.service.redis import keys as names
from core.service.redis.api_keys import (
    READ,
    READ_AT_ONCE,
    UNKNOWN_TIME,
    StoredApiKeys,
    object_key,
    revocation_key,
)
from core.service.testing.clock import FAKE_START
from core.service.testing.storage import FakeStorage
from tests.helpers.api_keys_contract import ApiKeysContract, rename
from tests.helpers.customers import stored_key

NUM_RACERS = 8
MUCH_LATER = FAKE_START + timedelta(days=10_000)


@pytest.fixture
def storage() -> FakeStorage:
    return FakeStorage()


@pytest.fixture
def keys(client: redis.Redis, storage: FakeStorage) -> StoredApiKeys:
    return StoredApiKeys(client, storage)


class TestStoredApiKeys(ApiKeysContract):
    """The whole contract, on a real Redis."""


def test_keys_are_read_again_after_redis_has_lost_its_data(keys: StoredApiKeys, client: redis.Redis) -> None:
    valid, dead = stored_key(), stored_key()
    keys.create(valid)
    keys.create(dead)
    keys.change(dead.id, lambda key: revoked(key, FAKE_START))
    client.flushall()
    assert keys.find([dead.id, "key_none", valid.id]) == [revoked(dead, FAKE_START), None, valid]
    client.flushall()
    assert keys.get(valid.id) == valid
    client.flushall()
    assert {key.id for key in keys.list()} == {valid.id, dead.id}
    client.flushall()
    assert keys.change(valid.id, lambda key: changed(key, rename("Other Ltd"))).name == "Other Ltd"


def test_a_revoked_key_stays_revoked_if_an_older_write_of_its_object_arrives_late(
    keys: StoredApiKeys, client: redis.Redis, storage: FakeStorage
) -> None:
    key = stored_key()
    keys.create(key)
    late = storage.objects[object_key(key.id)]
    keys.change(key.id, lambda key: revoked(key, FAKE_START))
    storage.objects[object_key(key.id)] = late
    client.flushall()
    assert keys.get(key.id) == revoked(key, FAKE_START)


def test_a_key_that_is_created_before_the_others_are_read_again_hides_none(
    keys: StoredApiKeys, client: redis.Redis
) -> None:
    old, new = stored_key(age_seconds=60), stored_key()
    keys.create(old)
    client.flushall()
    keys.create(new)
    assert keys.find([new.id]) == [new]
    assert keys.list() == [old, new]


def test_unknown_ids_read_no_objects_once_all_keys_are_there(keys: StoredApiKeys, storage: FakeStorage) -> None:
    keys.list()
    storage.broken = True
    assert keys.find(["key_none"]) == [None]
    with pytest.raises(KeyNotFound):
        keys.get("key_none")


def test_a_redis_that_is_lost_again_while_objects_are_read_is_not_taken_for_whole(
    keys: StoredApiKeys, client: redis.Redis, storage: FakeStorage
) -> None:
    key = stored_key()
    keys.create(key)
    client.flushall()
    losses = iter([client.flushall])

    class Losing(FakeStorage):
        def get(self, key: str) -> bytes:
            data = super().get(key)
            for lose in losses:
                storage.objects[object_key(dead.id)] = dead.model_dump_json().encode()
                lose()
            return data

    losing = Losing()
    losing.objects, dead = storage.objects, revoked(key, FAKE_START)
    assert StoredApiKeys(client, losing).get(key.id) == dead, "what was read before the loss is not written after it"
    assert client.get(names.API_KEYS_READ) == READ


def test_lost_keys_are_read_several_at_a_time_but_not_all_at_once(client: redis.Redis) -> None:
    """Requests wait meanwhile: a thousand keys one by one take seconds."""
    at_work, most = 0, 0
    lock, second = threading.Lock(), threading.Event()

    class Slow(FakeStorage):
        def get(self, key: str) -> bytes:
            nonlocal at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            if at_work > 1:
                second.set()
            second.wait(5)
            second.set()
            with lock:
                at_work -= 1
            return super().get(key)

    keys = StoredApiKeys(client, Slow())
    for _ in range(3 * READ_AT_ONCE):
        keys.create(stored_key())
    client.flushall()
    assert len(keys.list()) == 3 * READ_AT_ONCE
    assert 1 < most <= READ_AT_ONCE


def test_a_storage_that_fails_while_lost_keys_are_read_ends_the_reading(
    keys: StoredApiKeys, client: redis.Redis, storage: FakeStorage
) -> None:
    made = [stored_key() for _ in range(20 * READ_AT_ONCE)]
    for key in made:
        keys.create(key)
    client.flushall()
    asked = list[str]()

    class Failing(FakeStorage):
        def get(self, key: str) -> bytes:
            asked.append(key)
            threading.Event().wait(0.01)
            raise StorageError(f"no answer about {key}")

    failing = Failing()
    failing.objects = storage.objects
    with pytest.raises(StorageError):
        StoredApiKeys(client, failing).find([made[0].id])
    assert len(asked) < len(made)
    assert keys.find([made[0].id]) == [made[0]], "the next request reads them again"


def test_a_redis_restored_from_an_older_backup_gets_what_it_lacks(
    keys: StoredApiKeys, client: redis.Redis, storage: FakeStorage
) -> None:
    valid, dead, new, new_dead = (stored_key() for _ in range(4))
    keys.create(valid)
    keys.create(dead)
    keys.list()
    backup = {key.id: str(client.hget(names.API_KEYS, key.id)) for key in (valid, dead)}
    keys.change(dead.id, lambda key: revoked(key, FAKE_START))
    keys.create(new)
    keys.create(revoked(new_dead, FAKE_START))
    client.delete(names.API_KEYS)
    for key_id, row in backup.items():
        client.hset(names.API_KEYS, key_id, row)
    assert keys.get(dead.id).revoked_at is None
    assert keys.catch_up() == 3
    assert keys.find([valid.id, dead.id, new.id]) == [valid, revoked(dead, FAKE_START), new]
    assert keys.get(new_dead.id).revoked_at == FAKE_START
    storage.get = no_object_is_read
    assert keys.catch_up() == 0, "a look without a finding reads no object"


def test_rows_that_are_deleted_after_a_restoration_are_read_as_they_were_last(
    keys: StoredApiKeys, client: redis.Redis
) -> None:
    key, new = stored_key(), new_key()
    keys.create(key)
    keys.list()
    backup = str(client.hget(names.API_KEYS, key.id))
    last = keys.change(key.id, lambda key: rotated(key, new.text, FAKE_START, 0))
    client.hset(names.API_KEYS, key.id, backup)
    client.delete("longtake:api_keys", "longtake:api_keys:read")
    assert keys.find([key.id]) == [last]


def no_object_is_read(key: str) -> bytes:
    raise AssertionError(key)


def test_a_key_of_another_version_does_not_stop_what_is_taken_from_the_objects(
    keys: StoredApiKeys, client: redis.Redis
) -> None:
    key = stored_key()
    keys.create(key)
    keys.list()
    keys.create(revoked(stored_key(), FAKE_START))
    (dead,) = set(client.hkeys(names.API_KEYS)) - {key.id}
    client.hset(names.API_KEYS, dead, '{"id": "key_newer"}')
    client.hdel(names.API_KEYS, key.id)
    assert keys.catch_up() == 1
    assert keys.get(key.id) == key


def test_changes_at_once_are_all_kept_in_redis_and_in_the_objects(keys: StoredApiKeys, storage: FakeStorage) -> None:
    key = stored_key()
    keys.create(key)
    gate = threading.Barrier(NUM_RACERS)

    def append(number: int) -> ApiKey:
        gate.wait()
        return keys.change(key.id, lambda key: changed(key, KeyChange(name=f"{key.name} {number}")))

    with ThreadPoolExecutor(NUM_RACERS) as pool:
        list(pool.map(append, range(NUM_RACERS)))
    assert sorted(keys.get(key.id).name.split()[2:]) == [str(number) for number in range(NUM_RACERS)]
    assert ApiKey.model_validate_json(storage.objects[object_key(key.id)]) == keys.get(key.id)


def test_a_change_that_is_not_stored_is_not_made(keys: StoredApiKeys, storage: FakeStorage) -> None:
    """Or a key that was revoked would come back with the next loss of Redis."""
    key = stored_key()
    keys.create(key)
    keys.list()
    storage.broken = True
    with pytest.raises(StorageError):
        keys.change(key.id, lambda key: revoked(key, FAKE_START))
    assert keys.get(key.id) == key


def test_a_key_of_another_version_is_left_out_and_told(
    keys: StoredApiKeys, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    key = stored_key()
    keys.create(key)
    client.hset(names.API_KEYS, "key_newer", '{"id": "key_newer"}')
    assert keys.find(["key_newer", key.id]) == [None, key]
    assert keys.list() == [key]
    assert "key_newer cannot be read" in caplog.text
    with pytest.raises(StoreDamaged):
        keys.get("key_newer")


class LateStorage(FakeStorage):
    """While `late`, what is written arrives after it was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.late = ""
        """Ending of the keys of objects that are late."""
        self.arrives: dict[str, bytes] = {}

    def put(self, key: str, data: bytes, content_type: str) -> None:
        if self.late and key.endswith(self.late):
            self.arrives[key] = data
            raise StorageUnavailable
        super().put(key, data, content_type)

    def arrive(self) -> None:
        self.objects |= self.arrives
        self.late = ""


def rotate(keys: StoredApiKeys, key: ApiKey, grace_seconds: int = 0) -> str:
    """The new text."""
    text = new_key(key.id).text
    keys.change(key.id, lambda key: rotated(key, text, FAKE_START, grace_seconds))
    return text


@pytest.mark.parametrize("ending", [".json", ".next"])
def test_a_rotation_that_was_refused_and_arrives_late_ends_no_text(client: redis.Redis, ending: str) -> None:
    storage = LateStorage()
    keys, new = StoredApiKeys(client, storage), new_key()
    keys.create(stored_key(new))
    first = rotate(keys, keys.get(new.id))
    storage.late = ending
    refused = ""
    with suppress(StorageError):
        refused = rotate(keys, keys.get(new.id))
    assert keys.get(new.id).has_text(refused or first, FAKE_START)
    storage.arrive()
    client.flushall()
    assert keys.get(new.id).has_text(refused or first, MUCH_LATER)
    last = rotate(keys, keys.get(new.id))
    client.flushall()
    assert keys.get(new.id).has_text(last, FAKE_START)
    assert not keys.get(new.id).has_text(first, FAKE_START)
    storage.arrive()
    client.flushall()
    assert keys.get(new.id).has_text(last, MUCH_LATER), "what arrives after a later change harms it as little"


def test_a_webhook_secret_that_was_refused_and_arrives_late_replaces_none(client: redis.Redis) -> None:
    storage = LateStorage()
    keys, key = StoredApiKeys(client, storage), stored_key()
    keys.create(key)
    storage.late = ".next"
    with pytest.raises(StorageError):
        keys.change(key.id, lambda key: with_webhook_secret(key, "whsec_bmV3", FAKE_START, 0))
    storage.arrive()
    client.flushall()
    assert set(keys.get(key.id).webhook_secrets(MUCH_LATER)) == {key.webhook_secret, "whsec_bmV3"}


def test_a_change_that_is_stored_only_beside_the_key_is_kept_and_settled_by_the_next(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    storage = LateStorage()
    keys, new = StoredApiKeys(client, storage), new_key()
    keys.create(stored_key(new))
    storage.late = ".json"
    text = rotate(keys, keys.get(new.id))
    assert f"the API key {new.id} is changed" in caplog.text
    assert not keys.get(new.id).has_text(new.text, FAKE_START)
    with pytest.raises(StorageError):
        rotate(keys, keys.get(new.id))
    client.flushall()
    assert keys.get(new.id).has_text(text, MUCH_LATER)
    assert keys.get(new.id).has_text(new.text, MUCH_LATER), "whether it was replaced nobody knows"
    storage.late = ""
    keys.change(new.id, lambda key: changed(key, rename("Other Ltd")))
    assert ApiKey.model_validate_json(storage.objects[object_key(new.id)]) == keys.get(new.id)


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"", b"{}"])
def test_a_damaged_object_locks_nobody_else_out(
    keys: StoredApiKeys, client: redis.Redis, storage: FakeStorage, caplog: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    valid, hurt = stored_key(), stored_key()
    keys.create(valid)
    keys.create(hurt)
    storage.objects[object_key(hurt.id)] = damaged
    client.flushall()
    assert keys.find([hurt.id, valid.id]) == [None, valid]
    assert keys.list() == [valid]
    assert f"{hurt.id} cannot be read" in caplog.text


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"", b"yesterday"])
def test_a_revocation_that_cannot_be_read_counts(
    keys: StoredApiKeys, client: redis.Redis, storage: FakeStorage, caplog: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    valid, dead = stored_key(), stored_key()
    keys.create(valid)
    keys.create(dead)
    storage.objects[revocation_key(dead.id)] = damaged
    client.flushall()
    assert keys.find([dead.id, valid.id]) == [revoked(dead, UNKNOWN_TIME), valid]
    assert f"when the API key {dead.id} was revoked cannot be read" in caplog.text


def test_neither_redis_nor_the_objects_have_the_text_of_a_key(
    keys: StoredApiKeys, client: redis.Redis, storage: FakeStorage
) -> None:
    key = stored_key()
    keys.create(key)
    kept = f"{client.hgetall(names.API_KEYS)} {storage.objects}"
    assert key.text_sha256 in kept
    assert "lt_" not in kept
