"""Keeps what the stand-in knows in a file while it does not run. A killed one loses it."""

import pickle
from pathlib import Path

from dev.servers.mas_stand_in.jobs import Job
from dev.servers.mas_stand_in.state import State


def load(file: str) -> tuple[State, list[Job]]:
    """Returns the state and the jobs of the last run; empty ones at the first."""
    if not file or not Path(file).exists():
        return State(), []
    state, jobs = pickle.loads(Path(file).read_bytes())
    return state, jobs


def save(file: str, state: State, jobs: list[Job]) -> None:
    if file:
        content, path = pickle.dumps((state, jobs)), Path(file)
        path.touch(mode=0o600)
        path.write_bytes(content)
