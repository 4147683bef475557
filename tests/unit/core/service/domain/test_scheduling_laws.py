"""Laws of the scheduling policy, on random queues."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.service.domain.scheduling import (
    QUANTUM_SECONDS,
    UNAGED_PICKS,
    URGENT_LAG_SECONDS,
    Choice,
    Entry,
    Group,
    Policy,
    Pool,
    choose,
)
from core.service.domain.schema import Lane

NOW, POLICY = 1000.0, Policy()
OWNERS = ("a", "b", "c")
KEY = st.tuples(st.sampled_from(OWNERS), st.sampled_from(range(3)))


@st.composite
def queue(draw: st.DrawFn) -> list[Entry]:
    """1 to 12 free entries of three owners and classes."""
    return [draw(entry(f"job-{number}")) for number in range(draw(st.integers(1, 12)))]


@st.composite
def entry(draw: st.DrawFn, job_id: str) -> Entry:
    owner, priority = draw(KEY)
    begun = draw(st.booleans())
    stalls_at = NOW + draw(st.integers(-10, 40)) if begun and draw(st.booleans()) else None
    came = NOW - draw(st.integers(0, 900))
    return Entry(job_id, Lane.GENERATE, owner, priority, begun, came, came, stalls_at)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    served = {owner: float(draw(st.integers(0, 800))) for owner in OWNERS}
    top_pace, longest = draw(st.none() | st.floats(0, 0.5)), draw(st.floats(0, 20))
    unaged = draw(st.integers(0, UNAGED_PICKS))
    return Pool(served, dict.fromkeys(OWNERS, 1), unaged=unaged, top_pace=top_pace, longest=longest)


def enough(entries: list[Entry], pool: Pool) -> float:
    """How far ahead begun jobs let a new one begin, where one worker, which asks, is all there is."""
    return POLICY.enough_seconds(sum(one.begun for one in entries), 1, pool)


def group_of(entry: Entry, enough: float) -> Group:
    """The group of one entry alone."""
    if not entry.begun:
        return Group.NEW
    if entry.is_urgent(NOW, POLICY.urgent_seconds):
        return Group.URGENT
    return Group.AHEAD if entry.is_ahead(NOW, enough) else Group.BEGUN


@given(queue(), pools(), st.data())
def test_a_free_worker_never_idles_and_the_order_of_the_entries_does_not_matter(
    entries: list[Entry], pool: Pool, data: st.DataObject
) -> None:
    own = frozenset({data.draw(st.sampled_from(entries)).key})
    choice = choose(entries, pool, POLICY, NOW, own)
    assert choice is not None
    assert choice.entry in entries
    assert choice == choose(data.draw(st.permutations(entries)), pool, POLICY, NOW, own)
    assert choose([], pool, POLICY, NOW) is None


@given(queue(), pools())
def test_the_best_class_goes_first_unless_another_has_waited_too_long(entries: list[Entry], pool: Pool) -> None:
    choice = choose(entries, pool, POLICY, NOW)
    assert choice is not None
    first = min(one.priority for one in entries)
    if choice.aged:
        waited = [one.waits_since for one in entries if one.priority > first]
        assert choice.entry.waits_since == min(waited) <= NOW - POLICY.ageing_seconds
        assert pool.unaged == UNAGED_PICKS
    else:
        assert choice.entry.priority == first


@given(queue(), pools())
def test_among_equals_of_a_class_the_group_decides(entries: list[Entry], pool: Pool) -> None:
    choice = choose(entries, pool, POLICY, NOW)
    assert choice is not None
    if choice.aged:
        return
    of_class = [one for one in entries if one.priority == choice.entry.priority]
    least = min(pool.served[one.owner] for one in of_class)
    allowed = URGENT_LAG_SECONDS if choice.group is Group.URGENT else QUANTUM_SECONDS
    assert pool.served[choice.entry.owner] <= least + allowed
    near = [one for one in of_class if pool.served[one.owner] <= least + URGENT_LAG_SECONDS]
    urgent = [one.stalls_at for one in near if group_of(one, 0) is Group.URGENT]
    assert (choice.group is Group.URGENT) == bool(urgent)
    if urgent:
        assert choice.entry.stalls_at == min(at for at in urgent if at is not None)
    equal = [one for one in of_class if pool.served[one.owner] <= least + QUANTUM_SECONDS]
    assert choice.group <= min(group_of(one, enough(entries, pool)) for one in equal)


@given(queue(), pools(), st.data())
def test_a_worker_goes_on_with_what_it_holds_among_equals_only(
    entries: list[Entry], pool: Pool, data: st.DataObject
) -> None:
    held = data.draw(st.sampled_from(entries))
    without = choose(entries, pool, POLICY, NOW)
    kept = choose(entries, pool, POLICY, NOW, frozenset({held.key}))
    assert without is not None
    assert kept is not None
    assert kept.entry in (without.entry, held)
    assert kept.group == without.group
    assert kept.entry.priority == without.entry.priority


@given(queue(), st.integers(0, 3))
def test_what_waits_too_long_gets_every_fourth_pick(entries: list[Entry], unaged: int) -> None:
    """Endless work of the best class; the rest is of the lowest and has waited too long."""
    endless = replace(entries[0], job_id="endless", priority=0)
    low = [replace(one, priority=2, waits_since=0.0) for one in entries]
    pool = Pool(unaged=unaged)
    aged = list[bool]()
    for _ in range(4 * len(low)):
        choice = choose([endless, *low], pool, POLICY, NOW)
        assert choice is not None
        pool.pick(choice, NOW)
        aged.append(choice.aged)
        low = [one for one in low if one != choice.entry]
    picks = [number for number, was_aged in enumerate(aged) if was_aged]
    assert picks == [UNAGED_PICKS - unaged + 4 * number for number in range(len(entries))]


@given(st.lists(st.tuples(st.sampled_from(OWNERS), st.floats(0.2, 4)), min_size=300, max_size=300))
def test_owners_get_worker_seconds_by_their_shares(pieces: list[tuple[str, float]]) -> None:
    """All always have new jobs; shares are 1, 2 and 4. What one got more is never more than the quantum and a piece."""
    shares, pool = {"a": 1.0, "b": 2.0, "c": 4.0}, Pool()
    entries = [Entry(each, Lane.GENERATE, each, 1, False, 0.0, NOW, share=shares[each]) for each in OWNERS]
    for owner in OWNERS:
        pool.join(owner)
    for _, seconds in pieces:
        choice = choose(entries, pool, POLICY, NOW)
        assert choice is not None
        pool.pick(choice, NOW)
        pool.claim(choice.entry, NOW)
        pool.settle(choice.entry.key, NOW + seconds, is_made=True)
        served = list(pool.served.values())
        assert max(served) - min(served) <= QUANTUM_SECONDS + 4


def test_an_owner_that_was_away_neither_saves_up_nor_pays() -> None:
    pool, job = Pool(), Entry("j", Lane.GENERATE, "a", 1, False, 0.0, 0.0)
    pool.join("a")
    pool.claim(job, NOW)
    pool.settle(job.key, NOW + 500, is_made=True)
    pool.pick(Choice(job, Group.NEW), NOW)
    pool.join("b")
    assert pool.served["b"] == 500.0
    pool.leave("b")
    pool.claim(job, NOW)
    pool.settle(job.key, NOW + 100, is_made=False)
    pool.pick(Choice(job, Group.NEW), NOW)
    pool.join("b")
    assert pool.served["b"] == 600.0


def test_viewers_of_another_owner_do_not_stall_for_a_job_that_is_well_ahead() -> None:
    ahead = Entry("ahead", Lane.GENERATE, "a", 1, True, 0.0, NOW, NOW + 100)
    urgent = Entry("urgent", Lane.GENERATE, "b", 1, True, 1.0, NOW, NOW + 1)
    pool = Pool({"a": 0.0, "b": 100.0}, {"a": 1, "b": 1})
    choice = choose([ahead, urgent], pool, POLICY, NOW)
    assert choice == Choice(urgent, Group.URGENT)


def test_where_nobody_waits_all_begin_again_as_equals() -> None:
    pool = Pool({"a": 0.0, "b": 100.0}, {"a": 1, "b": 1}, clock=80.0)
    pool.pick(None, NOW)
    assert [pool.served_of(owner) for owner in ("a", "b", "c")] == [0.0, 0.0, 0.0]
    assert pool.waiting["b"] == 1


def test_a_begun_job_without_a_chunk_goes_before_new_ones_and_those_well_ahead() -> None:
    """Its worker died with the first chunk; an older job of its owner is well ahead."""
    older = Entry("older", Lane.GENERATE, "a", 1, True, 0.0, NOW, NOW + 100)
    begun = Entry("begun", Lane.GENERATE, "a", 1, True, 1.0, NOW)
    new = Entry("new", Lane.GENERATE, "a", 1, False, 2.0, NOW)
    assert choose([older, begun, new], Pool(), POLICY, NOW) == Choice(begun, Group.BEGUN)


def test_workers_have_room_while_viewers_and_one_more_leave_half_their_square_root_to_spare() -> None:
    """Half of one worker, 3 of 4, 14 of 16."""
    room = [((0, 1), (1, 1)), ((10, 4), (11, 4)), ((54, 16), (55, 16))]
    for last, first_without in room:
        assert POLICY.enough_seconds(*last, Pool(top_pace=0.25)) == 5.0
        assert POLICY.enough_seconds(*first_without, Pool(top_pace=0.25)) == 20.0
    assert POLICY.enough_seconds(0, 1, Pool()) == 20.0, "nobody knows yet how fast they are"


def test_where_workers_have_room_viewers_are_ahead_of_the_longest_piece_too() -> None:
    enough = [POLICY.enough_seconds(1, 32, Pool(top_pace=0.25, longest=longest)) for longest in (0.0, 3.0, 60.0)]
    assert enough == [5.0, 8.0, 20.0]


def test_pieces_in_work_are_viewers_and_workers_and_a_kept_one_counts_once() -> None:
    """Four viewers on two workers, one of which asks whether to go on with `held`."""
    held = Entry("held", Lane.GENERATE, "a", 1, True, 0.0, NOW, NOW + 10, plays_seconds=2.0)
    others = [replace(held, job_id=name, order=1.0) for name in ("b", "c", "d")]
    new = Entry("new", Lane.GENERATE, "a", 1, False, 9.0, NOW)
    for pace, expected in ((0.258, new), (0.259, held)):
        pool = Pool(top_pace=pace)
        pool.claim(held, NOW)
        pool.claim(others[0], NOW)
        choice = choose([held, *others[1:], new], pool, POLICY, NOW, [held.key])
        assert choice is not None
        assert choice.entry == expected


def test_the_pace_follows_what_is_watched() -> None:
    pool, chunk = Pool(), Entry("a", Lane.GENERATE, "a", 1, True, 0.0, NOW, plays_seconds=2.0)
    refined = replace(chunk, lane=Lane.REFINE, plays_seconds=0.0)
    for entry, seconds in ((chunk, 1.0), (refined, 100.0), (chunk, 2.0)):
        pool.claim(entry, NOW)
        pool.settle(entry.key, NOW + seconds, is_made=True)
    assert pool.pace == pytest.approx(0.6)
    assert pool.top_pace == 1.0
    assert pool.longest == pytest.approx(100.0, rel=0.01), "of any lane"


def test_one_dear_piece_is_remembered_at_once_and_for_hundreds_of_cheap_ones() -> None:
    pool, chunk = Pool(), Entry("a", Lane.GENERATE, "a", 1, True, 0.0, NOW, plays_seconds=2.0)

    def make(seconds: float, times: int) -> float:
        for _ in range(times):
            pool.claim(chunk, NOW)
            pool.settle(chunk.key, NOW + seconds, is_made=True)
        return pool.top_pace or 0.0

    assert make(0.2, 100) == pytest.approx(0.1)
    assert make(2.0, 1) == 1.0
    assert make(0.2, 350) == pytest.approx(0.55, abs=0.01)
    assert make(0.2, 3000) == pytest.approx(0.1, abs=0.01)


def test_only_pieces_that_are_made_tell_how_long_they_take_and_all_are_charged() -> None:
    pool, chunk = Pool(), Entry("a", Lane.GENERATE, "a", 1, True, 0.0, NOW, plays_seconds=2.0)
    pool.claim(chunk, NOW)
    pool.settle(chunk.key, NOW + 8, is_made=True)
    known = (dict(pool.mean_seconds), pool.pace, pool.top_pace, pool.longest)
    for seconds in (0.05, 600.0):  # given back at once; lost with its worker
        pool.claim(chunk, NOW)
        pool.settle(chunk.key, NOW + seconds, is_made=False)
    assert (pool.mean_seconds, pool.pace, pool.top_pace, pool.longest) == known
    assert pool.served["a"] == pytest.approx(608.05)
