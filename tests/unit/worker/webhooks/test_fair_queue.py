"""No receiver, address or kind of attempt can use the whole limit."""

from __future__ import annotations

import pytest

from worker.webhooks.fair_queue import (
    ALL_RETURNS_PER_SECOND,
    MAX_RETURN_SECONDS,
    MAX_WAITING,
    RETURNS_PER_SECOND,
    WAITING_PER_RUNNING,
    AddressBusy,
    FairQueue,
    Limits,
    QueueKey,
    ReturnTimes,
)

LIMITS = Limits(total=8, per_receiver=3, per_domain=4, per_address=2)


def queue_of(**waiting: int) -> FairQueue[str]:
    """So many wait for each receiver; a name that ends in _again is of tries after the first."""
    queue = FairQueue[str](LIMITS)
    for name, count in waiting.items():
        for number in range(count):
            queue.add(key(name.removesuffix("_again"), is_retry=name.endswith("_again")), f"{name}{number}")
    return queue


def key(host: str, *, is_retry: bool = False) -> QueueKey:
    return QueueKey.of(host, 443, is_retry=is_retry)


def filled(queue: FairQueue[str], hosts: list[str], count: int = 100) -> None:
    """As many of each host wait as there is room for."""
    for host in hosts:
        for number in range(count):
            if queue.full(key(host)) is None:
                queue.add(key(host), f"{host} {number}")


def started(queue: FairQueue[str]) -> list[str]:
    return [item for _, item in queue.start()]


def test_one_receiver_gets_its_share_and_no_more() -> None:
    queue = queue_of(slow=1000, good=2)
    assert sorted(started(queue)) == ["good0", "good1", "slow0", "slow1", "slow2"]
    assert started(queue) == []


def test_a_released_slot_goes_to_the_next_waiting() -> None:
    queue = queue_of(slow=5)
    started(queue)
    queue.finish(key("slow"))
    assert started(queue) == ["slow3"]


def test_receivers_are_served_in_turn() -> None:
    queue = queue_of(a=3, b=3, c=3)
    assert started(queue) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2"]


def test_tries_after_the_first_leave_half_of_the_room_to_new_ones() -> None:
    queue = queue_of(x_again=3, y_again=3, z_again=3)
    assert len(started(queue)) == 4
    queue.add(key("new"), "new0")
    assert started(queue) == ["new0"]


def test_new_tries_and_later_ones_of_a_receiver_share_its_share() -> None:
    queue = queue_of(a=2, a_again=2)
    assert len(started(queue)) == 3


@pytest.mark.parametrize(
    ("held", "asked", "is_free"),
    [("192.0.2.1", "192.0.2.1", False), ("192.0.2.1", "192.0.2.2", True), ("2001:db8::1", "2001:db8::2", False),
     ("2001:db8::1", "2001:db8:0:1::1", True)],
)  # fmt: skip
def test_an_address_has_a_share_whatever_names_lead_to_it(held: str, asked: str, is_free: bool) -> None:
    queue = FairQueue[str](LIMITS)
    with queue.hold_addresses([held, "198.51.100.1"]), queue.hold_addresses([held]):
        if is_free:
            with queue.hold_addresses([asked]):
                pass
        else:
            with pytest.raises(AddressBusy), queue.hold_addresses([asked]):
                pass
    with queue.hold_addresses([held]):
        pass


def test_what_waits_can_be_taken_back() -> None:
    queue = queue_of(a=2, b=1)
    queue.remove(key("a"), "a0")
    queue.remove(key("b"), "b0")
    queue.remove(key("b"), "b0")
    assert queue.remove_all() == ["a1"]
    assert (queue.remove_all(), started(queue)) == ([], [])


def test_names_of_one_domain_share_what_one_domain_has() -> None:
    queue = FairQueue[str](LIMITS)
    filled(queue, [f"host{number}.dead.example" for number in range(30)])
    assert len(started(queue)) == LIMITS.per_domain
    filled(queue, ["good.example"], 2)
    assert started(queue) == ["good.example 0", "good.example 1"]


def test_addresses_without_a_name_share_what_one_address_has() -> None:
    queue = FairQueue[str](LIMITS)
    filled(queue, ["2001:db8::1", "2001:db8::2", "192.0.2.1"])
    assert len(started(queue)) == 2 * LIMITS.per_address


def test_few_wait_for_one_receiver_and_for_one_domain() -> None:
    queue = FairQueue[str](LIMITS)
    filled(queue, ["a.dead.example"])
    assert queue.full(key("a.dead.example")) == "a.dead.example:443"
    assert queue.full(key("b.dead.example")) is None
    filled(queue, ["b.dead.example", "c.dead.example"])
    assert queue.full(key("d.dead.example")) == "dead.example"
    assert len(queue.remove_all()) == WAITING_PER_RUNNING * LIMITS.per_domain


def test_where_all_are_full_each_domain_may_have_one_that_waits() -> None:
    queue = FairQueue[str](LIMITS)
    filled(queue, [f"dead{number}.example" for number in range(MAX_WAITING)], 1)
    assert queue.full(key("dead7.example")) == ""
    assert queue.full(key("good.example")) is None


def test_a_free_slot_goes_to_the_domain_that_uses_fewest() -> None:
    queue = FairQueue[str](LIMITS)
    filled(queue, ["dead1.example", "dead2.example", "dead3.example"])
    assert len(started(queue)) == LIMITS.total
    filled(queue, ["good.example"])
    queue.finish(key("dead1.example"))
    assert started(queue) == ["good.example 0"]


def test_what_has_no_room_comes_back_at_a_steady_rate_however_much_it_is() -> None:
    return_times = ReturnTimes()
    delays = [return_times.delay_seconds("dead.example", now=0.0) for _ in range(50_000)]
    assert sum(delay < 2.0 for delay in delays) == pytest.approx(RETURNS_PER_SECOND, abs=2)
    assert max(delays) == MAX_RETURN_SECONDS


def test_what_many_have_no_room_for_comes_back_at_a_steady_rate_too() -> None:
    return_times = ReturnTimes()
    delays = [return_times.delay_seconds(f"dead{number % 10_000}.example", now=0.0) for number in range(30_000)]
    assert sum(delay < 2.0 for delay in delays) == pytest.approx(ALL_RETURNS_PER_SECOND, abs=2)


def test_one_that_finds_no_room_for_once_comes_back_soon() -> None:
    return_times = ReturnTimes()
    assert return_times.delay_seconds("busy.example", now=0.0) == 1.0
    assert return_times.delay_seconds("busy.example", now=100.0) == 1.0
