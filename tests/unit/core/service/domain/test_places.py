"""What queued jobs are told about their start."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.service.domain.places import COUNTED_OWNERS, Backlog, position, wait_seconds
from core.service.domain.scheduling import Charge, Entry, Pool
from core.service.domain.schema import Lane

SECONDS = 4.0
"""Of a piece."""


def pool_of(workers: int, carried: float) -> Pool:
    charges = {(f"job_{number}", Lane.GENERATE): Charge("", 1.0, SECONDS, 0.0) for number in range(workers)}
    return Pool(charges=charges, mean_seconds={Lane.GENERATE: SECONDS}, carried=carried)


def test_nothing_is_told_before_a_piece_was_measured() -> None:
    assert wait_seconds(1, Backlog(1, 10, 0, 0), Pool()) is None


@pytest.mark.parametrize("begun", [0, 3, 7])
def test_a_job_starts_at_once_while_the_workers_carry_more(begun: int) -> None:
    backlog = Backlog(new_jobs=1, new_pieces=10, begun_jobs=begun, begun_pieces=100)
    assert wait_seconds(1, backlog, pool_of(begun, carried=8)) == 0


def test_one_worker_makes_all_that_comes_before() -> None:
    backlog = Backlog(new_jobs=3, new_pieces=30, begun_jobs=1, begun_pieces=5)
    waits = [wait_seconds(place, backlog, pool_of(1, carried=1)) for place in (1, 2, 3)]
    assert waits == [5 * SECONDS, 15 * SECONDS, 25 * SECONDS]


def test_a_job_starts_when_the_first_of_many_ends_and_not_when_all_have_ended() -> None:
    backlog = Backlog(new_jobs=1, new_pieces=10, begun_jobs=9, begun_pieces=90)
    wait = wait_seconds(1, backlog, pool_of(9, carried=9))
    assert wait == pytest.approx(2 * 10 * SECONDS / 10)


def test_a_pool_without_experience_carries_one_job() -> None:
    assert wait_seconds(1, Backlog(1, 10, 1, 5), pool_of(1, carried=0)) == 5 * SECONDS


def test_a_pool_learns_how_many_jobs_its_workers_carry() -> None:
    pool = Pool()
    for begun in (1, 2, 3):
        pool.begin(begun, waiting=0)
    assert pool.carried == 3
    pool.begin(2, waiting=0)
    assert pool.carried > 2.9, "there may be room for another"
    for _ in range(40):
        pool.begin(8, waiting=5)
    assert pool.carried == pytest.approx(8, abs=0.01)
    for _ in range(40):
        pool.begin(2, waiting=5)
    assert pool.carried == pytest.approx(2, abs=0.01), "workers have gone"


def test_a_pool_forgets_in_a_quiet_night_the_workers_that_it_had() -> None:
    pool = Pool(carried=33.0)
    for _ in range(300):
        pool.begin(1, waiting=0)
        pool.rest(0)
    assert pool.carried < 3


def test_a_pool_notices_at_the_first_start_of_a_backlog_that_workers_have_gone() -> None:
    pool = Pool(carried=33.0)
    pool.begin(1, waiting=19)
    assert pool.carried == 1
    pool = Pool(carried=9.0)
    pool.begin(5, waiting=19)
    assert pool.carried == pytest.approx(8.2), "a few less may be chance"


def test_a_worker_that_finds_nothing_to_do_shows_that_there_is_room() -> None:
    pool = pool_of(3, carried=3)
    pool.rest(begun=3)
    assert wait_seconds(1, Backlog(1, 10, 3, 20), pool) == 0
    assert wait_seconds(2, Backlog(2, 20, 3, 20), pool) != 0


def test_the_backlog_counts_begun_and_new_jobs_with_their_pieces() -> None:
    def entry(number: int, pieces: int, *, begun: bool) -> Entry:
        return Entry(f"job_{number}", Lane.GENERATE, "", 1, begun, number, number, pieces=pieces)

    entries = [entry(1, 5, begun=True), entry(2, 7, begun=False), entry(3, 1, begun=False)]
    assert Backlog.of(entries) == Backlog(new_jobs=2, new_pieces=8, begun_jobs=1, begun_pieces=5)


def jobs_of(owner: str, count: int) -> list[Entry]:
    return [
        Entry(f"{owner}-{number}", Lane.GENERATE, owner, 1, begun=False, order=number, waits_since=number)
        for number in range(count)
    ]


def by_turns(entries: Sequence[Entry], pool: Pool) -> list[str]:
    """The jobs as they start if nothing else happens: in each round one of each owner that has another."""
    owners = sorted({entry.owner for entry in entries}, key=lambda owner: (pool.served_of(owner), owner))
    of_owner = {owner: [entry.job_id for entry in entries if entry.owner == owner] for owner in owners}
    rounds = range(max(map(len, of_owner.values())))
    return [of_owner[owner][turn] for turn in rounds for owner in owners if turn < len(of_owner[owner])]


@pytest.mark.parametrize("owners", [1, 5, COUNTED_OWNERS])
def test_places_are_the_order_of_turns(owners: int) -> None:
    pool = Pool(served={f"key_{number:03}": float(number * 37 % 11) for number in range(owners)})
    entries = [entry for number in range(owners) for entry in jobs_of(f"key_{number:03}", 1 + number * 7 % 4)]
    places = {entry.job_id: position(entry, entries, pool) for entry in entries}
    assert sorted(places, key=lambda job_id: places[job_id]) == by_turns(entries, pool)
    assert sorted(places.values()) == list(range(1, len(entries) + 1))


def test_behind_the_owners_that_are_counted_a_place_is_no_better_than_the_true_one() -> None:
    pool, owners = Pool(), 10 * COUNTED_OWNERS
    entries = [entry for number in range(owners) for entry in jobs_of(f"key_{number:03}", 1 + number * 7 % 4)]
    true = {job_id: place for place, job_id in enumerate(by_turns(entries, pool), 1)}
    for entry in entries[:: len(entries) // 20]:
        said = position(entry, entries, pool)
        assert true[entry.job_id] <= said <= len(entries)
        if entry.order == 0:
            assert said == true[entry.job_id], "each owner has one before it"
