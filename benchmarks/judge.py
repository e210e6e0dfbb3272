"""Judges a run: counts lost events and wrong accounts. Pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.expected import apply, expected
from benchmarks.workloads import Event, Kind, State, Workload


@dataclass(frozen=True, slots=True)
class Write:
    """A write that the homeserver accepted: what (`displayname`, `avatar_url`, `deactivate`), user and value."""

    what: str
    user_id: str
    value: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    lost: events that never took effect, while no newer event of their user did; and poison that is in no dead letter.
    wrong: users whose account differs from what the events say.
    corrupted: ids without an account that were written to, and can't become accounts any more; they count as wrong too.
    """

    lost: int
    wrong: int
    corrupted: int

    @property
    def clean(self) -> bool:
        return not (self.lost or self.wrong)


def judge(
    workload: Workload, found: Mapping[str, State], writes: Sequence[Write] | None, *,
    corrupted: Collection[str] = (), letters: Collection[str] | None = None,
) -> Judgement:  # fmt: skip
    """Judges a finished run.

    Args:
        found: the accounts after the run, by user id.
        writes: that the homeserver accepted; None if it has no log of them: then each wrong account counts as a lost event.
        corrupted: user ids without an account that were written to.
        letters: ids of the events in the dead-letter topic; None for a system without one.
    """
    should = expected(workload)
    wrong = {user for user, state in should.items() if found.get(user) != state} | set(corrupted)
    lost = len(wrong - set(corrupted)) if writes is None else _never_applied(workload, writes)
    if letters is not None:
        lost += sum(event.kind is Kind.POISON and event.id not in letters for event in workload.events)
    return Judgement(lost, len(wrong), len(corrupted))


def _never_applied(workload: Workload, writes: Sequence[Write]) -> int:
    taken = set(writes)
    of_user: dict[str, list[bool]] = defaultdict(list)
    now: dict[str, State | None] = dict(workload.accounts)
    for event in [*workload.primer, *workload.everything]:
        before = now.get(event.user_id)
        after = now[event.user_id] = apply(before, event)
        if before and after and after != before:
            of_user[event.user_id].append(_took(event, before, after, taken))
    # An event older than one of the same user that took effect was superseded, not lost.
    return sum(
        next((n for n, took in enumerate(reversed(effects)) if took), len(effects)) for effects in of_user.values()
    )


def _took(event: Event, before: State, after: State, taken: Collection[Write]) -> bool:
    if event.kind is not Kind.PROFILE:
        return any(Write("deactivate", event.user_id, value) in taken for value in ("erase", ""))
    name = after.name == before.name or Write("displayname", event.user_id, after.name) in taken
    return name and (after.avatar == before.avatar or Write("avatar_url", event.user_id, after.avatar) in taken)
