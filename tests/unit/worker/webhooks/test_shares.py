"""No receiver, address or kind of try takes all the room there is."""

from __future__ import annotations

import pytest

from worker.webhooks.shares import (
    ALL_RETURNS_PER_SECOND,
    LAST_RETURN_SECONDS,
    MAX_WAITING,
    RETURNS_PER_SECOND,
    WAITING_PER_RUNNING,
    AddressBusy,
    Line,
    Lines,
    Returns,
    Shares,
)

SHARES = Shares(total=8, per_receiver=3, per_domain=4, per_address=2)


def lines_of(**waiting: int) -> Lines[str]:
    """So many wait for each receiver; a name that ends in _again is of tries after the first."""
    lines = Lines[str](SHARES)
    for name, count in waiting.items():
        for number in range(count):
            lines.add(line(name.removesuffix("_again"), tried=name.endswith("_again")), f"{name}{number}")
    return lines


def line(host: str, *, tried: bool = False) -> Line:
    return Line.of(host, 443, tried=tried)


def filled(lines: Lines[str], hosts: list[str], count: int = 100) -> None:
    """As many of each host wait as there is room for."""
    for host in hosts:
        for number in range(count):
            if lines.full(line(host)) is None:
                lines.add(line(host), f"{host} {number}")


def started(lines: Lines[str]) -> list[str]:
    return [item for _, item in lines.start_next()]


def test_one_receiver_gets_its_share_and_no_more() -> None:
    lines = lines_of(slow=1000, good=2)
    assert sorted(started(lines)) == ["good0", "good1", "slow0", "slow1", "slow2"]
    assert started(lines) == []


def test_room_that_is_given_back_goes_to_the_next_in_line() -> None:
    lines = lines_of(slow=5)
    started(lines)
    lines.end(line("slow"))
    assert started(lines) == ["slow3"]


def test_receivers_are_served_in_turn() -> None:
    lines = lines_of(a=3, b=3, c=3)
    assert started(lines) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2"]


def test_tries_after_the_first_leave_half_of_the_room_to_new_ones() -> None:
    lines = lines_of(x_again=3, y_again=3, z_again=3)
    assert len(started(lines)) == 4
    lines.add(line("new"), "new0")
    assert started(lines) == ["new0"]


def test_new_tries_and_later_ones_of_a_receiver_share_its_share() -> None:
    lines = lines_of(a=2, a_again=2)
    assert len(started(lines)) == 3


@pytest.mark.parametrize(
    ("held", "asked", "is_free"),
    [("192.0.2.1", "192.0.2.1", False), ("192.0.2.1", "192.0.2.2", True), ("2001:db8::1", "2001:db8::2", False),
     ("2001:db8::1", "2001:db8:0:1::1", True)],
)  # fmt: skip
def test_an_address_has_a_share_whatever_names_lead_to_it(held: str, asked: str, is_free: bool) -> None:
    lines = Lines[str](SHARES)
    with lines.at_addresses([held, "198.51.100.1"]), lines.at_addresses([held]):
        if is_free:
            with lines.at_addresses([asked]):
                pass
        else:
            with pytest.raises(AddressBusy), lines.at_addresses([asked]):
                pass
    with lines.at_addresses([held]):
        pass


def test_what_waits_can_be_taken_back() -> None:
    lines = lines_of(a=2, b=1)
    lines.remove(line("a"), "a0")
    lines.remove(line("b"), "b0")
    lines.remove(line("b"), "b0")
    assert lines.remove_all() == ["a1"]
    assert (lines.remove_all(), started(lines)) == ([], [])


def test_names_of_one_domain_share_what_one_domain_has() -> None:
    lines = Lines[str](SHARES)
    filled(lines, [f"host{number}.dead.example" for number in range(30)])
    assert len(started(lines)) == SHARES.per_domain
    filled(lines, ["good.example"], 2)
    assert started(lines) == ["good.example 0", "good.example 1"]


def test_addresses_without_a_name_share_what_one_address_has() -> None:
    lines = Lines[str](SHARES)
    filled(lines, ["2001:db8::1", "2001:db8::2", "192.0.2.1"])
    assert len(started(lines)) == 2 * SHARES.per_address


def test_few_wait_for_one_receiver_and_for_one_domain() -> None:
    lines = Lines[str](SHARES)
    filled(lines, ["a.dead.example"])
    assert lines.full(line("a.dead.example")) == "a.dead.example:443"
    assert lines.full(line("b.dead.example")) is None
    filled(lines, ["b.dead.example", "c.dead.example"])
    assert lines.full(line("d.dead.example")) == "dead.example"
    assert len(lines.remove_all()) == WAITING_PER_RUNNING * SHARES.per_domain


def test_where_all_are_full_each_domain_may_have_one_that_waits() -> None:
    lines = Lines[str](SHARES)
    filled(lines, [f"dead{number}.example" for number in range(MAX_WAITING)], 1)
    assert lines.full(line("dead7.example")) == ""
    assert lines.full(line("good.example")) is None


def test_room_goes_to_the_domain_that_has_least_of_it() -> None:
    lines = Lines[str](SHARES)
    filled(lines, ["dead1.example", "dead2.example", "dead3.example"])
    assert len(started(lines)) == SHARES.total
    filled(lines, ["good.example"])
    lines.end(line("dead1.example"))
    assert started(lines) == ["good.example 0"]


def test_what_has_no_room_comes_back_at_a_steady_rate_however_much_it_is() -> None:
    returns = Returns()
    delays = [returns.delay_seconds("dead.example", now=0.0) for _ in range(50_000)]
    assert sum(delay < 2.0 for delay in delays) == pytest.approx(RETURNS_PER_SECOND, abs=2)
    assert max(delays) == LAST_RETURN_SECONDS


def test_what_many_have_no_room_for_comes_back_at_a_steady_rate_too() -> None:
    returns = Returns()
    delays = [returns.delay_seconds(f"dead{number % 10_000}.example", now=0.0) for number in range(30_000)]
    assert sum(delay < 2.0 for delay in delays) == pytest.approx(ALL_RETURNS_PER_SECOND, abs=2)


def test_one_that_finds_no_room_for_once_comes_back_soon() -> None:
    returns = Returns()
    assert returns.delay_seconds("busy.example", now=0.0) == 1.0
    assert returns.delay_seconds("busy.example", now=100.0) == 1.0
