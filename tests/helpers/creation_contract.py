"""What IdempotencyKeys and Speeds promise. The fakes and the real ones pass the same tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from core.service.domain.ports import IdempotencyKeys, Speeds


@dataclass(frozen=True)
class CreationPorts:
    """`expire_locks`: a minute passes for requests in flight. `expire_keys`: a day passes."""

    keys: IdempotencyKeys
    speeds: Speeds
    expire_locks: Callable[[], None]
    expire_keys: Callable[[], None]

    def reserve(self, token: str, fingerprint: str = "f", scope: str = "", key: str = "k") -> tuple[str, bool, bool]:
        """job id, is mine, is new. Each call suggests a job id of its own."""
        reserved = self.keys.reserve(scope, key, fingerprint, token, f"job of {token}")
        return reserved.job_id, reserved.is_mine, reserved.is_new


class CreationContract:
    """Subclass it with a fixture `ports`."""

    def test_the_first_request_has_a_key_and_the_next_one_waits(self, ports: CreationPorts) -> None:
        assert ports.reserve("one") == ("job of one", True, True)
        assert ports.reserve("two") == ("job of one", False, False)

    def test_a_call_that_is_repeated_because_its_answer_was_lost_has_the_key(self, ports: CreationPorts) -> None:
        ports.reserve("one")
        assert ports.reserve("one")[:2] == ("job of one", True)

    def test_another_request_with_the_key_learns_whose_it_is(self, ports: CreationPorts) -> None:
        ports.reserve("one")
        reserved = ports.keys.reserve("", "k", "g", "two", "job of two")
        assert (reserved.fingerprint, reserved.is_mine) == ("f", False)
        ports.keys.release("", "k", "one")
        assert not ports.keys.reserve("", "k", "g", "two", "job of two").is_mine

    def test_scopes_and_keys_are_apart(self, ports: CreationPorts) -> None:
        for number, (scope, key) in enumerate(
            [("", "k"), ("", "l"), ("a", "k"), ("", "k:lock"), ("", "schl\u00fcssel")]
        ):
            assert ports.reserve(f"{number}", scope=scope, key=key) == (f"job of {number}", True, True)

    def test_a_request_that_died_is_taken_over_with_its_job_id(self, ports: CreationPorts) -> None:
        ports.reserve("one")
        ports.expire_locks()
        assert ports.reserve("two") == ("job of one", True, False)
        assert ports.reserve("three") == ("job of one", False, False)

    def test_a_released_key_is_taken_over_at_once(self, ports: CreationPorts) -> None:
        ports.reserve("one")
        ports.keys.release("", "k", "one")
        assert ports.reserve("two") == ("job of one", True, False)

    def test_a_forgotten_key_is_new(self, ports: CreationPorts) -> None:
        ports.reserve("one")
        ports.keys.forget("", "k", "one")
        assert ports.reserve("two", "g") == ("job of two", True, True)

    def test_a_request_that_was_taken_over_ends_nothing(self, ports: CreationPorts) -> None:
        ports.reserve("one")
        ports.expire_locks()
        ports.reserve("two")
        ports.keys.release("", "k", "one")
        ports.keys.forget("", "k", "one")
        assert ports.reserve("three") == ("job of one", False, False)

    def test_a_key_is_new_after_a_day(self, ports: CreationPorts) -> None:
        ports.reserve("one")
        ports.expire_keys()
        assert ports.reserve("two", "g") == ("job of two", True, True)

    def test_the_newest_chunks_count_most(self, ports: CreationPorts) -> None:
        assert ports.speeds.of("a") == {}
        ports.speeds.report("a", "next", 1.0)
        ports.speeds.report("a", "next", 2.0)
        ports.speeds.report("a", "first", 5.0)
        ports.speeds.report("b", "next", 7.0)
        assert ports.speeds.of("a") == pytest.approx({"first": 5.0, "next": 1.2})
        assert ports.speeds.of("b") == {"next": 7.0}
