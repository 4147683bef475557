"""The contract of ports.ApiKeys, as one suite for the real one and the fake.

A module that wants it run has a fixture `keys` and a class `Test...(ApiKeysContract)`.
"""

from __future__ import annotations

import pytest

from core.service.domain.api_keys import ApiKey, new_key
from core.service.domain.errors import KeyNotFound, KeyRevoked
from core.service.domain.key_changes import changed, revoked, rotated
from core.service.domain.key_schema import KeyChange
from core.service.domain.ports import ApiKeys
from core.service.testing.clock import FAKE_START
from tests.helpers.customers import stored_key


def rename(name: str) -> KeyChange:
    return KeyChange(name=name)


class ApiKeysContract:
    """What every implementation does."""

    def test_a_key_is_read_as_it_was_created(self, keys: ApiKeys) -> None:
        key = stored_key(requests_per_minute=5)
        keys.create(key)
        assert keys.get(key.id) == key
        assert keys.get(key.id).limits.requests_per_minute == 5

    def test_a_key_that_does_not_exist_is_a_named_error(self, keys: ApiKeys) -> None:
        with pytest.raises(KeyNotFound, match="key_none"):
            keys.get("key_none")
        with pytest.raises(KeyNotFound):
            keys.change("key_none", lambda key: key)

    def test_many_are_found_at_once(self, keys: ApiKeys) -> None:
        one, other = stored_key(), stored_key()
        keys.create(one)
        keys.create(other)
        assert keys.find([other.id, "key_none", one.id]) == [other, None, one]

    def test_all_are_listed_oldest_first_revoked_ones_too(self, keys: ApiKeys) -> None:
        young, old = stored_key(), revoked(stored_key(age_seconds=60), FAKE_START)
        keys.create(young)
        keys.create(old)
        assert keys.list() == [old, young]

    def test_a_change_is_kept_and_returned(self, keys: ApiKeys) -> None:
        key, new = stored_key(), new_key()
        keys.create(key)
        keys.change(key.id, lambda key: changed(key, rename("Other Ltd")))
        after = keys.change(key.id, lambda key: rotated(key, new.text, FAKE_START, 60))
        assert keys.get(key.id) == after
        assert after.name == "Other Ltd"
        assert after.has_text(new.text, FAKE_START)

    def test_a_change_that_is_refused_changes_nothing(self, keys: ApiKeys) -> None:
        key = revoked(stored_key(), FAKE_START)
        keys.create(key)
        with pytest.raises(KeyRevoked, match=key.id):
            keys.change(key.id, lambda key: changed(key, rename("Other Ltd")))
        assert keys.get(key.id) == key

    def test_fields_of_a_newer_version_are_kept(self, keys: ApiKeys) -> None:
        newer = ApiKey.model_validate({**stored_key().model_dump(), "colour": "red"})
        keys.create(newer)
        keys.change(newer.id, lambda key: changed(key, rename("Other Ltd")))
        assert keys.get(newer.id).model_dump()["colour"] == "red"
