"""Judges a run: which events were lost, whose account is not as it should be. Pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.expected import apply, expected
from benchmarks.workloads import Event, Kind, State, Workload


@dataclass(frozen=True, slots=True)
class Write:
    """One write that the homeserver took: what (`displayname`, `avatar_url`, `deactivate`), whose, its value."""

    what: str
    user_id: str
    value: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    lost: events that never took effect, though nothing newer of their user did; and poison that is in no dead letter.
    wrong: users whose account is not as the events say.
    spoilt: ids of nobody that were written to, and can't become accounts any more; they count as wrong too.
    """

    lost: int
    wrong: int
    spoilt: int

    @property
    def clean(self) -> bool:
        return not (self.lost or self.wrong)


def judge(
    workload: Workload, found: Mapping[str, State], writes: Sequence[Write] | None, *,
    spoilt: Collection[str] = (), letters: Collection[str] | None = None,
) -> Judgement:  # fmt: skip
    """Judges a finished run.

    Args:
        found: the accounts as they are now, by user id.
        writes: what the homeserver took; None where it does not say: an event is then lost with its user's state.
        spoilt: user ids without an account that were written to.
        letters: ids of the events in the dead letters; None for a system that has none.
    """
    should = expected(workload)
    wrong = {user for user, state in should.items() if found.get(user) != state} | set(spoilt)
    lost = len(wrong - set(spoilt)) if writes is None else _never_applied(workload, writes)
    if letters is not None:
        lost += sum(event.kind is Kind.POISON and event.id not in letters for event in workload.events)
    return Judgement(lost, len(wrong), len(spoilt))


def _never_applied(workload: Workload, writes: Sequence[Write]) -> int:
    taken = set(writes)
    of_user: dict[str, list[bool]] = defaultdict(list)
    now: dict[str, State | None] = dict(workload.accounts)
    for event in [*workload.primer, *workload.everything]:
        before = now.get(event.user_id)
        after = now[event.user_id] = apply(before, event)
        if before and after and after != before:
            of_user[event.user_id].append(_took(event, before, after, taken))
    # What is older than an event that took effect was overtaken, not lost.
    return sum(
        next((n for n, took in enumerate(reversed(effects)) if took), len(effects)) for effects in of_user.values()
    )


def _took(event: Event, before: State, after: State, taken: Collection[Write]) -> bool:
    if event.kind is not Kind.PROFILE:
        return any(Write("deactivate", event.user_id, value) in taken for value in ("erase", ""))
    name = after.name == before.name or Write("displayname", event.user_id, after.name) in taken
    return name and (after.avatar == before.avatar or Write("avatar_url", event.user_id, after.avatar) in taken)
