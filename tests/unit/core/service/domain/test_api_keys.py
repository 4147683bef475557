"""The text of a key, what it may do, and its changes."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

import pytest

from core.service.domain.api_keys import Scope, key_id_of, new_key
from core.service.domain.errors import KeyRevoked
from core.service.domain.key_changes import revoked, rotated, with_webhook_secret
from core.service.domain.key_schema import AskedScope
from core.service.domain.priority import Priority
from core.service.domain.webhook_secret import keys_of
from core.service.testing.clock import FAKE_START
from tests.helpers.customers import stored_key
from tests.helpers.jobs import queued_job

LATER = FAKE_START + timedelta(seconds=60)


def test_the_text_of_a_key_names_it() -> None:
    first, second = new_key(), new_key()
    assert key_id_of(first.text) == first.id != second.id
    assert len(first.text) == len("lt_") + 16 + 1 + 52
    assert key_id_of(new_key(first.id).text) == first.id
    assert new_key(first.id).text != first.text


@pytest.mark.parametrize("text", ["", "lt_", "lt_abc_def", "key_" + "a" * 16, "LT_" + "A" * 69])
def test_other_texts_name_no_key(text: str) -> None:
    assert key_id_of(text) is None


def test_a_key_has_its_own_text_only_until_it_is_revoked() -> None:
    new = new_key()
    key = stored_key(new)
    assert key.has_text(new.text, FAKE_START)
    assert not key.has_text(new_key(new.id).text, FAKE_START)
    assert not revoked(key, FAKE_START).has_text(new.text, FAKE_START)
    assert revoked(revoked(key, FAKE_START), LATER).revoked_at == FAKE_START


def test_each_scope_includes_those_before_it() -> None:
    may = {scope: [other for other in Scope if stored_key(scope=scope).may(other)] for scope in Scope}
    assert may == {
        Scope.READ: [Scope.READ],
        Scope.JOBS: [Scope.READ, Scope.JOBS],
        Scope.ADMIN: [Scope.READ, Scope.JOBS, Scope.ADMIN],
    }
    assert set(get_args(AskedScope)) == set(Scope)


def test_a_key_may_have_a_normal_priority_and_an_admin_s_a_high_one_unless_its_limits_say_otherwise() -> None:
    assert {scope: stored_key(scope=scope).max_priority for scope in Scope} == {
        Scope.READ: Priority.NORMAL,
        Scope.JOBS: Priority.NORMAL,
        Scope.ADMIN: Priority.HIGH,
    }
    for scope in Scope:
        for most in Priority:
            assert stored_key(scope=scope, max_priority=most).max_priority is most


def test_keys_share_alike_unless_their_limits_say_otherwise() -> None:
    assert (stored_key().share, stored_key(share=2.5).share, stored_key(share=0.01).share) == (1, 2.5, 0.01)


def test_only_the_newest_old_text_stays_valid() -> None:
    texts = [new_key("key_" + "a" * 16) for _ in range(3)]
    key = stored_key(texts[0])
    for new in texts[1:]:
        key = rotated(key, new.text, FAKE_START, 60)
    assert [key.has_text(new.text, FAKE_START) for new in texts] == [False, True, True]
    assert [key.has_text(new.text, LATER) for new in texts] == [False, False, True]


def test_a_change_that_is_applied_twice_is_applied_once() -> None:
    old, new = new_key(), new_key()
    once = rotated(stored_key(old), new.text, FAKE_START, 60)
    assert rotated(once, new.text, FAKE_START, 60) == once
    signed = with_webhook_secret(once, "whsec_new", FAKE_START, 60)
    assert with_webhook_secret(signed, "whsec_new", FAKE_START, 60) == signed


def test_a_new_key_signs_with_a_secret_of_its_own() -> None:
    assert len(keys_of(stored_key().webhook_secret)[0]) == 32
    assert stored_key().webhook_secret != stored_key().webhook_secret


def test_a_revoked_key_is_not_rotated() -> None:
    with pytest.raises(KeyRevoked):
        rotated(revoked(stored_key(), FAKE_START), new_key().text, FAKE_START, 60)


def test_no_secret_is_in_the_text_of_a_key_or_of_a_record() -> None:
    secrets = {"whsec_newer", "whsec_older", "link-secret", "whsec_of_request"}
    key = with_webhook_secret(
        stored_key().model_copy(update={"webhook_secret": "whsec_older"}), "whsec_newer", LATER, 60
    )
    record = queued_job(1).model_copy(update={"link_secret": "link-secret", "webhook_secret": "whsec_of_request"})
    assert all(secret in f"{key.model_dump()} {record.model_dump()}" for secret in secrets)
    assert not [secret for secret in secrets if secret in f"{key!r} {record!r} {key} {record}"]
