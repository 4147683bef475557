"""No receiver, address or kind of try takes all the room there is."""

from __future__ import annotations

import pytest

from worker.webhook_shares import AddressBusy, Line, Lines, Shares

SHARES = Shares(total=8, per_receiver=3, per_address=2)


def lines_of(**waiting: int) -> Lines[str]:
    """So many wait for each receiver; a name that ends in _again is of tries after the first."""
    lines = Lines[str](SHARES)
    for name, count in waiting.items():
        for number in range(count):
            lines.add((name.removesuffix("_again"), name.endswith("_again")), f"{name}{number}")
    return lines


def started(lines: Lines[str]) -> list[str]:
    return [item for _, item in lines.start_next()]


def test_one_receiver_gets_its_share_and_no_more() -> None:
    lines = lines_of(slow=1000, good=2)
    assert sorted(started(lines)) == ["good0", "good1", "slow0", "slow1", "slow2"]
    assert started(lines) == []


def test_room_that_is_given_back_goes_to_the_next_in_line() -> None:
    lines = lines_of(slow=5)
    started(lines)
    lines.end(("slow", False))
    assert started(lines) == ["slow3"]


def test_receivers_are_served_in_turn() -> None:
    lines = lines_of(a=3, b=3, c=3)
    assert started(lines) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2"]


def test_tries_after_the_first_leave_half_of_the_room_to_new_ones() -> None:
    lines = lines_of(x_again=3, y_again=3, z_again=3)
    assert len(started(lines)) == 4
    lines.add(("new", False), "new0")
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
    line: Line = ("a", False)
    assert (len(lines), lines.length(line)) == (3, 2)
    assert sorted(lines.remove_all()) == ["a0", "a1", "b0"]
    assert (len(lines), started(lines)) == (0, [])
