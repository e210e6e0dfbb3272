"""Finds the shortest form of a failing scenario: leaves out parts while the same rule is still broken."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

from tests.simulation.run import Patch, Run, run
from tests.simulation.scenario import Scenario

TRIES = 600  # runs at most
_SIMPLE = (
    ("pods", 1),
    ("pods", 2),
    ("components", 1),
    ("partitions", 1),
    ("batch", 1),
    ("latency", 1.0),
    ("limit", 0),
    ("skew", 0.0),
    ("mas", False),
)
_PLAIN: tuple[tuple[str, str, Any], ...] = (
    ("users", "rooms", 0),
    ("users", "at_mas", True),
    ("events", "avatar", ""),
    ("requests", "times", 1),
    ("requests", "doom", False),
)
_PARTS = [one.name for one in fields(Scenario) if str(one.type).startswith("tuple") and one.name != "users"]


def shrink(failed: Run, patch: Patch = nullcontext) -> Run:
    """Returns the run of the shortest scenario found that breaks the same rule as the first complaint of `failed`."""
    rule, best, tries = failed.complaints[0].rule, failed, 0
    improved = True
    while improved and tries < TRIES:
        improved = False
        for candidate in _smaller(best.scenario):
            tries += 1
            if tries > TRIES:
                break
            found = run(candidate, patch)
            kept = [one for one in found.complaints if one.rule == rule]
            if kept:
                best, improved = replace(found, complaints=kept), True
                break
    return best


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yields scenarios with less in them, the largest steps first."""
    yield from _fewer_parts(scenario)
    yield from _fewer_users(scenario)
    for name, value in _SIMPLE:
        if getattr(scenario, name) > value:
            yield _changed(scenario, name, value)
    for name, field, plain in _PLAIN:
        for place, part in enumerate(getattr(scenario, name)):
            if getattr(part, field) != plain:
                yield _with(scenario, name, place, **{field: plain})
    for name in ("events", "actions", "blows"):
        for place, part in enumerate(getattr(scenario, name)):
            if part.when != (later := math.ceil(part.when * 10) / 10):
                yield _with(scenario, name, place, when=later)


def _fewer_parts(scenario: Scenario) -> Iterator[Scenario]:
    for name in _PARTS:
        parts = getattr(scenario, name)
        size = len(parts)
        while size:
            for start in range(0, len(parts), size):
                yield _changed(scenario, name, parts[:start] + parts[start + size :])
            size //= 2


def _fewer_users(scenario: Scenario) -> Iterator[Scenario]:
    """Yields the scenario without each user, whose number the last one takes."""
    last = len(scenario.users) - 1
    for gone in range(last):
        yield _without(scenario, gone)
    if last:
        yield _without(scenario, last)


def _without(scenario: Scenario, gone: int) -> Scenario:
    last = len(scenario.users) - 1
    users = list(scenario.users)
    users[gone] = users[last]
    scenario = replace(scenario, users=tuple(users[:last]))
    for name in ("events", "requests", "actions"):
        kept = [part for part in getattr(scenario, name) if part.user != gone]
        moved = tuple(replace(part, user=gone) if part.user == last else part for part in kept)
        scenario = _changed(scenario, name, moved)
    return scenario


def _changed(scenario: Scenario, name: str, value: object) -> Scenario:
    change: dict[str, Any] = {name: value}
    return replace(scenario, **change)


def _with(scenario: Scenario, name: str, place: int, **changes: Any) -> Scenario:
    """Returns the scenario with one part of a list changed."""
    parts = getattr(scenario, name)
    return _changed(scenario, name, (*parts[:place], replace(parts[place], **changes), *parts[place + 1 :]))
