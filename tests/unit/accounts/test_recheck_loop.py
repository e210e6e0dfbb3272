"""The recheck loop: runs the checks that are due, each on its own."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest

from function.accounts.recheck_loop import CONCURRENCY, IDLE, OUTAGE, Checked
from function.accounts.recheck_queue import LEASE, MAX_ATTEMPTS
from function.outcomes import Reason, Rejected, TryAgain
from tests.support.events import ALICE, BOB, CAROL
from tests.support.rechecks import Pod

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.DEBUG, "function")
    return lambda: [record.message for record in caplog.records if record.name == "function"]


async def test_a_user_is_checked_once_when_nothing_is_left_to_do() -> None:
    pod = Pod()
    await pod.add(ALICE, BOB)
    assert await pod.run(0.5) == []
    assert await pod.run(60) == [ALICE, BOB]


@pytest.mark.parametrize(
    "answer",
    [
        Checked.CHANGED,
        Rejected(Reason.SYNAPSE_REFUSED, "403"),
        TryAgain(Reason.RATE_LIMITED),
        ValueError(ALICE),
        TimeoutError(),
    ],
    ids=["changed", "rejected", "waits", "bug", "slow"],
)
async def test_a_user_that_is_not_settled_is_checked_again_less_and_less_often(
    answer: Checked | Exception, events: Callable[[], list[str]]
) -> None:
    """After 1, 2, 4 and 8 minutes; then it is given up, which is logged. The others are not held up."""
    pod = Pod()
    pod.answers[ALICE] = answer
    await pod.add(ALICE, BOB)
    assert await pod.run(1.5) == [ALICE, BOB]
    assert await pod.run(1) == [ALICE]
    assert await pod.run(2) == [ALICE]
    assert await pod.run(4) == [ALICE]
    assert "recheck_dropped" not in events()
    assert await pod.run(8) == [ALICE]
    assert events().count("recheck_dropped") == 1
    assert await pod.run(60) == []


async def test_the_number_of_users_is_told_at_each_read() -> None:
    """It is a metric."""
    pod = Pod()
    await pod.add(ALICE, BOB)
    await pod.run(0.5)
    assert set(pod.sizes) == {2}
    await pod.run(10)
    assert pod.sizes[-1] == 0


async def test_long_work_is_looked_at_until_its_end_less_and_less_often() -> None:
    """A redaction takes minutes or hours; no number of looks ends it."""
    pod = Pod()
    pod.answers[ALICE] = Checked.RUNNING
    await pod.add(ALICE, after=timedelta())
    first = len(await pod.run(10))
    later = len(await pod.run(100))
    assert 10 <= first <= 40
    assert 9 <= later <= 20
    pod.answers[ALICE] = Checked.SETTLED
    assert await pod.run(11) == [ALICE]
    assert await pod.run(60) == []


async def test_in_a_long_queue_long_work_is_looked_at_more_rarely() -> None:
    """As after a purge of inactive users: looks at what runs would leave no time for other users."""
    pod = Pod()
    pod.answers[ALICE] = Checked.RUNNING
    await pod.add(*(str(uuid.UUID(int=number)) for number in range(5_000)), after=timedelta(hours=12))
    await pod.add(ALICE, after=timedelta())
    assert await pod.run(15) == [ALICE]
    assert await pod.run(4) == [ALICE]


async def test_a_user_for_whom_long_work_runs_is_not_dropped(events: Callable[[], list[str]]) -> None:
    """Synapse fails on this user for hours; the end of a redaction is seen all the same."""
    pod = Pod()
    pod.answers[ALICE] = Rejected(Reason.SYNAPSE_ERROR, "500")
    pod.removing.add(ALICE)
    await pod.add(ALICE)
    assert len(await pod.run(600)) > 20
    assert "recheck_dropped" not in events()
    pod.answers.clear()
    assert await pod.run(11) == [ALICE]
    assert await pod.run(60) == []


async def test_an_outage_uses_up_no_attempt_and_pauses_the_checks() -> None:
    """Hours long; then everyone is checked."""
    pod = Pod()
    users = [ALICE, BOB, CAROL]
    for user in users:
        pod.answers[user] = TryAgain(Reason.SYNAPSE_UNAVAILABLE, "down")
    await pod.add(*users)
    checks = await pod.run(180)
    assert len(checks) <= 180 * len(users)
    pod.answers.clear()
    assert await pod.run(3) == users


async def test_an_outage_of_the_state_store_loses_no_user(events: Callable[[], list[str]]) -> None:
    pod = Pod()
    await pod.add(ALICE)
    pod.state.down = True
    assert await pod.run(10) == []
    assert "recheck_failed" not in events()
    pod.state.down = False
    assert await pod.run(2) == [ALICE]


async def test_a_failure_that_others_do_not_share_counts_even_if_it_looks_like_an_outage(
    events: Callable[[], list[str]],
) -> None:
    """A proxy that refuses one user's requests, say. The others are checked in time, and the user is given up."""
    pod = Pod()
    pod.answers[ALICE] = TryAgain(Reason.SYNAPSE_UNEXPECTED, "403")
    await pod.add(ALICE)
    for _ in range(20):
        await pod.add(BOB)
        assert BOB in await pod.run(2)
    assert events().count("recheck_dropped") == 1
    assert await pod.run(60) == []


async def test_a_failure_that_looks_like_an_outage_is_given_up_in_the_end(events: Callable[[], list[str]]) -> None:
    """With no other user to compare with."""
    pod = Pod()
    pod.answers[ALICE] = TryAgain(Reason.SYNAPSE_UNEXPECTED, "403")
    await pod.add(ALICE)
    assert 50 <= len(await pod.run(60)) <= 60
    pod.clock.now += OUTAGE
    await pod.run(20)
    assert events().count("recheck_dropped") == 1


async def test_a_check_whose_result_is_not_stored_is_repeated() -> None:
    """The state store fails after the user was taken."""
    pod = Pod()
    await pod.add(ALICE)
    pod.during[ALICE] = lambda: setattr(pod.state, "losing", 1)
    assert await pod.run(1) == [ALICE]
    pod.during.clear()
    assert await pod.run(2) == [ALICE]
    assert await pod.run(60) == []


async def test_a_check_of_a_killed_pod_is_repeated() -> None:
    pod = Pod()
    await pod.add(ALICE)
    pod.clock.now += MINUTE
    [one] = await pod.queue.due()
    assert await pod.queue.take(one)  # and the pod is killed
    pod.clock.now += LEASE
    assert await Pod(pod.state, pod.clock).run(1) == [ALICE]


async def test_a_few_checks_run_at_once() -> None:
    pod = Pod()
    await pod.add(*(f"{n:02}{ALICE[2:]}" for n in range(30)))
    assert len(await pod.run(2)) == 30
    assert pod.most == CONCURRENCY


async def test_an_idle_pod_reads_twice_a_minute_and_writes_nothing() -> None:
    """Ten pods must not cost the state store anything worth noticing."""
    pod = Pod()
    await pod.run(10)
    assert pod.state.reads <= 10 * (60 / IDLE.total_seconds() + 1) + 2  # and one for the previous release's key
    assert pod.state.writes == 0


async def test_a_pod_that_knows_of_pending_users_reads_when_they_are_due() -> None:
    pod = Pod()
    await pod.add(ALICE, after=timedelta(seconds=20))
    await pod.run(0.2)
    reads = pod.state.reads
    assert await pod.run(0.1) == []
    assert pod.state.reads == reads
    assert await pod.run(0.1) == [ALICE]


async def test_another_pod_checks_what_a_killed_one_added() -> None:
    pod = Pod()
    await pod.add(ALICE, after=timedelta(seconds=5))
    assert await Pod(pod.state, pod.clock).run(1) == [ALICE]


async def test_pods_check_a_user_once() -> None:
    pod = Pod()
    other = Pod(pod.state, pod.clock)
    await pod.add(ALICE, BOB, CAROL)
    pod.clock.now += MINUTE
    await asyncio.gather(pod.loop.run_due(), other.loop.run_due())
    assert sorted(pod.checked + other.checked) == [ALICE, BOB, CAROL]


async def test_the_loop_goes_on_until_it_is_cancelled() -> None:
    """Its first round is at the start."""
    pod = Pod()
    await pod.add(ALICE, after=-MINUTE)
    watching = asyncio.create_task(pod.loop.watch())
    await asyncio.wait_for(pod.checked_one.wait(), 5)
    assert not watching.done()
    watching.cancel()
    await asyncio.wait([watching])
    assert watching.cancelled()


async def test_a_user_given_up_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "function")
    pod = Pod()
    pod.answers[ALICE] = ValueError(ALICE)
    await pod.add(ALICE)
    await pod.run(60)
    dropped = [record for record in caplog.records if record.message == "recheck_dropped"]
    assert [record.__dict__["fields"] for record in dropped] == [{"size": MAX_ATTEMPTS}]
