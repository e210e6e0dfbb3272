"""Workloads have the stated shape, and a wrong result is detected, however fast."""

from collections import defaultdict
from dataclasses import replace
from datetime import datetime

import pytest

from benchmarks.expected import expected, fewest_calls
from benchmarks.judge import Judgement, Write, judge
from benchmarks.workloads import WORKLOADS, Kind, State, Workload, make
from function.events.decode import decode
from function.events.types import ProfileUpdated, UserDeleted
from function.outcomes import Rejected

PARTITIONS = 3
EVENTS = 400


def made(name: str, seed: int = 1) -> Workload:
    return make(name, EVENTS, PARTITIONS, seed)


def perfect(workload: Workload) -> tuple[dict[str, State], list[Write]]:
    """Returns the result of a system that applies every event in order."""
    writes = [Write(*call) for calls in fewest_calls(workload) for call in calls if call[0] != "get"]
    return {user: state for user, state in expected(workload).items() if state}, writes


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_gives_the_same_workload_again_and_another_seed_another(name: str) -> None:
    assert made(name) == made(name)
    assert made(name) != made(name, seed=2)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_function_reads_every_event_as_the_workload_means_it(name: str) -> None:
    workload = made(name)
    times: dict[str, list[datetime]] = defaultdict(list)
    for event in [*workload.primer, *workload.everything]:
        read = decode(event.value, {name: text.decode() for name, text in event.headers.items()})
        if event.kind is Kind.POISON:
            assert isinstance(read, Rejected)
            continue
        assert isinstance(read, UserDeleted if event.kind in {Kind.SOFT, Kind.HARD} else ProfileUpdated)
        assert (read.user_id, read.id) == (event.user_id, event.id)
        if isinstance(read, ProfileUpdated):
            assert (read.display_name, read.avatar) == (event.name, event.avatar)
        else:
            assert read.erase is (event.kind is Kind.HARD)
        times[read.user_id].append(read.at)
    assert all(of_user == sorted(set(of_user)) for of_user in times.values()), "each is newer than the one before"


def test_a_profile_is_about_a_kilobyte() -> None:
    assert {len(event.value) for event in made("noise").events} <= set(range(1000, 1050))


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_partition_ends_with_an_event_that_changes_something(name: str) -> None:
    workload = made(name)
    assert [event.partition for event in workload.ends] == list(range(PARTITIONS))
    before = expected(replace(workload, events=(), ends=()))
    assert all(before[event.user_id] != expected(workload)[event.user_id] for event in workload.ends)


def test_noise_changes_one_event_in_twenty() -> None:
    workload = make("noise", 4_000, PARTITIONS)
    puts = [call for calls in fewest_calls(workload) for call in calls if call[0] != "get"]
    assert 0.03 < len(puts) / len(workload.events) < 0.07
    assert len(workload.accounts) == 400 + PARTITIONS


def test_every_event_of_changes_changes_name_and_avatar_unless_its_user_has_no_account() -> None:
    workload = made("changes")
    calls = fewest_calls(workload)
    assert {len([one for one in event if one[0] != "get"]) for event in calls} == {0, 2}
    without_account = {event.user_id for event in workload.events} - set(workload.accounts)
    assert len(without_account) == round(0.01 * EVENTS / 2)
    assert all(
        event.user_id in without_account for event, puts in zip(workload.events, calls, strict=False) if len(puts) < 2
    )


def test_deletions_end_every_account_and_erase_every_second() -> None:
    workload = made("deletions")
    states = [expected(workload)[event.user_id] for event in workload.events]
    assert [state == State(deactivated=True, erased=True) for state in states] == [True, False] * (EVENTS // 2)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_perfect_run_is_clean(name: str) -> None:
    workload = made(name)
    poison = {event.id for event in workload.events if event.kind is Kind.POISON}
    assert judge(workload, *perfect(workload), letters=poison) == Judgement(0, 0, 0)


def test_an_event_that_never_took_effect_is_lost_and_its_account_wrong() -> None:
    workload = made("changes")
    accounts, writes = perfect(workload)
    last = workload.events[-1]
    accounts[last.user_id] = workload.accounts[last.user_id]
    writes = [write for write in writes if write.value not in {last.name, last.avatar}]
    assert judge(workload, accounts, writes) == Judgement(lost=1, wrong=1, corrupted=0)


def test_an_event_that_a_newer_one_overtook_is_not_lost() -> None:
    workload = made("hot")
    accounts, writes = perfect(workload)
    ended = {(end.user_id, value) for end in workload.ends for value in (end.name, end.avatar)}
    newest = {(user, value) for user, state in accounts.items() for value in (state.name, state.avatar)}
    kept = [write for write in writes if (write.user_id, write.value) in newest | ended]
    assert len(kept) < len(writes)
    assert judge(workload, accounts, kept).clean


def test_a_value_that_is_older_than_the_newest_is_wrong_but_nothing_is_lost() -> None:
    """As after a consumer that reorders a user's events."""
    workload = made("hot")
    accounts, writes = perfect(workload)
    user = workload.events[-1].user_id
    accounts[user] = State("Ada before", accounts[user].avatar)
    assert judge(workload, accounts, writes) == Judgement(lost=0, wrong=1, corrupted=0)


def test_an_erased_account_with_a_name_is_wrong() -> None:
    workload = made("deletions")
    accounts, writes = perfect(workload)
    user = workload.events[0].user_id
    accounts[user] = State("Ada", "", deactivated=True, erased=True)
    assert judge(workload, accounts, writes).wrong == 1


def test_an_id_that_was_written_to_without_an_account_is_corrupted_and_wrong() -> None:
    workload = made("changes")
    assert judge(workload, *perfect(workload), corrupted={"no-account"}) == Judgement(lost=0, wrong=1, corrupted=1)


def test_poison_that_is_in_no_dead_letter_is_lost_where_there_are_dead_letters() -> None:
    workload = make("faults", 2_000, PARTITIONS)
    accounts, writes = perfect(workload)
    poison = [event for event in workload.events if event.kind is Kind.POISON]
    assert poison
    assert judge(workload, accounts, writes, letters=set()).lost == len(poison)
    assert judge(workload, accounts, writes, letters=None).lost == 0


def test_a_homeserver_that_tells_no_writes_is_judged_by_its_accounts() -> None:
    workload = made("deletions")
    accounts, _ = perfect(workload)
    user = workload.events[0].user_id
    accounts[user] = workload.accounts[user]
    assert judge(workload, accounts, None) == Judgement(lost=1, wrong=1, corrupted=0)
