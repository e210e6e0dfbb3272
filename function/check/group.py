"""Judges the consumer group: its members, its lag, and whether what it is about to read is still there. Pure."""

from collections.abc import Iterator, Mapping

from function.check.finding import Finding, Mark, failed, ok, warning
from function.kafka.lag import NONE, Members, PartitionLag, Place

WHAT = "consumer group"
MUCH = 1000  # events; as in the alert MatrixAccountSyncConsumerLag

_Lag = Mapping[Place, PartitionLag]


def judge(members: Members, lag: _Lag, *, consuming: bool) -> list[Finding]:
    """Returns the group's rows: one for each problem, and a description unless it has failed.

    Args:
        members: of the group.
        lag: of each partition of the main and the replay topic.
        consuming: whether the settings let the function consume.
    """
    problems = [*_members(members, lag, consuming=consuming), *_lag(lag), *_gone(lag)]
    if any(problem.mark is Mark.FAILED for problem in problems):
        return problems
    found = f"{members.state.lower()}, {len(members.by_id)} members, {_total(lag)} events wait"
    return [ok(WHAT, found), *problems]


def _total(lag: _Lag) -> int:
    return sum(one.lag for one in lag.values())


def _members(members: Members, lag: _Lag, *, consuming: bool) -> Iterator[Finding]:
    if not members.by_id:
        if consuming:
            yield failed(
                WHAT, f"has no members; {_total(lag)} events wait",
                "daprd has not subscribed, or left since the function is not ready: see the other rows and daprd's log.",
            )  # fmt: skip
        return
    if not members.stable:
        yield warning(WHAT, f"is in the state {members.state}", "Check again in a minute: it should be Stable.")
        return
    owned = frozenset[Place]().union(*(member.owned for member in members.by_id.values()))
    if unread := sorted(lag.keys() - owned):
        yield failed(
            WHAT, f"{_named(unread)}: no member reads it",
            "A member has not subscribed to this topic: see the row of the subscriptions, and restart the pods.",
        )  # fmt: skip


def _lag(lag: _Lag) -> Iterator[Finding]:
    if (total := _total(lag)) > MUCH:
        yield warning(
            WHAT, f"{total} events wait", "See docs/runbook.md, MatrixAccountSyncConsumerLag, if it does not fall."
        )


def _gone(lag: _Lag) -> Iterator[Finding]:
    """Kafka no longer has the next record: what was there is lost, and daprd's claim of the partition is dead."""
    below = {place: one for place, one in lag.items() if NONE < one.committed < one.low}
    if below:
        lost = sum(one.low - one.committed for one in below.values())
        stuck = any(one.lag for one in below.values())
        yield (failed if stuck else warning)(
            WHAT, f"{_named(sorted(below))}: Kafka deleted {lost} records that were not processed",
            ("Restart the pods, so that daprd opens the partition again; then run" if stuck else "Run")
            + " `audit`: it finds what the lost events should have changed.",
        )  # fmt: skip
    if beyond := sorted(place for place, one in lag.items() if one.committed > one.end):
        yield failed(
            WHAT, f"{_named(beyond)}: the committed offset is beyond the end: the topic was deleted and created again",
            "Stop the function and reset the group's offsets of this topic to the earliest.",
        )  # fmt: skip


def _named(places: list[Place]) -> str:
    topic, partition = places[0]
    first = f"partition {partition} of {topic}"
    return first if len(places) == 1 else f"{first} and {len(places) - 1} more"
