"""Judges the consumer group: its members, its lag, and whether what it is about to read is still there. Pure."""

from collections.abc import Iterator

from function.check.finding import Finding, Mark, failed, ok, warning
from function.kafka.cluster import Group, Progress

WHAT = "consumer group"
MUCH = 1000  # events; as in the alert MatrixAccountSyncConsumerLag


def judge(group: Group, *, consuming: bool) -> list[Finding]:
    """Returns the group's rows: one for each problem, and a description unless it has failed.

    Args:
        group: as Kafka describes it, with its progress in the main and the replay topic.
        consuming: whether the settings let the function consume.
    """
    problems = [*_members(group, consuming=consuming), *_lag(group), *(_gone(group))]
    if any(problem.mark is Mark.FAILED for problem in problems):
        return problems
    return [ok(WHAT, f"{group.state.lower()}, {group.members} members, {_total(group)} events wait"), *problems]


def _total(group: Group) -> int:
    return sum(place.lag for place in group.progress)


def _members(group: Group, *, consuming: bool) -> Iterator[Finding]:
    if not group.members:
        if consuming:
            yield failed(
                WHAT, f"has no members; {_total(group)} events wait",
                "daprd has not subscribed, or left since the function is not ready: see the other rows and daprd's log.",
            )  # fmt: skip
        return
    if group.state != "Stable":
        yield warning(WHAT, f"is in the state {group.state}", "Check again in a minute: it should be Stable.")


def _lag(group: Group) -> Iterator[Finding]:
    if (total := _total(group)) > MUCH:
        yield warning(
            WHAT, f"{total} events wait", "See docs/runbook.md, MatrixAccountSyncConsumerLag, if it does not fall."
        )


def _gone(group: Group) -> Iterator[Finding]:
    """Kafka no longer has the next record: what was there is lost, and daprd's claim of the partition is dead."""
    below = [at for at in group.progress if at.committed is not None and at.committed < at.beginning]
    if below:
        lost = sum(at.beginning - (at.committed or 0) for at in below)
        stuck = any(at.lag for at in below)
        yield (failed if stuck else warning)(
            WHAT, f"{_named(below)}: Kafka deleted {lost} records that were not processed",
            ("Restart the pods, so that daprd opens the partition again; then run" if stuck else "Run")
            + " `audit`: it finds what the lost events should have changed.",
        )  # fmt: skip
    if beyond := [at for at in group.progress if at.committed is not None and at.committed > at.end]:
        yield failed(
            WHAT, f"{_named(beyond)}: the committed offset is beyond the end: the topic was deleted and created again",
            "Stop the function and reset the group's offsets of this topic to the earliest.",
        )  # fmt: skip


def _named(places: list[Progress]) -> str:
    first = f"partition {places[0].partition} of {places[0].topic}"
    return first if len(places) == 1 else f"{first} and {len(places) - 1} more"
