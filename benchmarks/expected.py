"""Computes the accounts that a workload must lead to, and the fewest calls that do it. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from benchmarks.workloads import Event, Kind, State, Workload


def apply(state: State | None, event: Event) -> State | None:
    """Returns the account after the event. A missing account stays missing, a deleted one stays deleted."""
    if state is None or event.kind is Kind.POISON:
        return state
    if event.kind is Kind.HARD:
        return State(deactivated=True, erased=True)
    if event.kind is Kind.SOFT:
        return replace(state, deactivated=True)
    return state if state.deactivated else replace(state, name=event.name, avatar=event.avatar)


def expected(workload: Workload) -> dict[str, State | None]:
    """Returns each user's account after all events; None for a user without an account."""
    found: dict[str, State | None] = dict(workload.accounts)
    for event in [*workload.primer, *workload.everything]:
        found[event.user_id] = apply(found.get(event.user_id), event)
    return found


Call = tuple[str, str, str]  # what, user, value


def fewest_calls(workload: Workload) -> list[list[Call]]:
    """Returns for each event the Synapse calls that it needs at least: a lookup of a user not seen before, then the
    changes. Does not coalesce events of one user."""
    now: dict[str, State | None] = dict(workload.accounts)
    seen: set[str] = set()
    found = []
    for event in workload.everything:
        before = now.get(event.user_id)
        after = now[event.user_id] = apply(before, event)
        found.append([*_look(event, seen), *_steps(event, before, after)])
        seen.add(event.user_id)
    return found


def _look(event: Event, seen: Iterable[str]) -> list[Call]:
    """Returns the lookup, which a deactivation does not need: its answer tells whether there is an account."""
    return [("get", event.user_id, "")] if event.kind is Kind.PROFILE and event.user_id not in seen else []


def _steps(event: Event, before: State | None, after: State | None) -> list[Call]:
    if after is None or before is None or after == before:
        return []
    if event.kind is not Kind.PROFILE:
        return [("deactivate", event.user_id, "erase" if event.kind is Kind.HARD else "")]
    names = [("displayname", event.user_id, after.name)] if after.name != before.name else []
    return names + ([("avatar_url", event.user_id, after.avatar)] if after.avatar != before.avatar else [])
