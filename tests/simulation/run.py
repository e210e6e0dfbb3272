"""Runs one scenario and says what was wrong."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from tests.simulation.oracle import Complaint
from tests.simulation.rules import complaints
from tests.simulation.scenario import Scenario
from tests.simulation.world import World

Patch = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one run, and how much happened in it."""

    scenario: Scenario
    complaints: list[Complaint]
    steps: int
    seconds: float  # of virtual time
    requests: int
    deliveries: int


def run(scenario: Scenario, patch: Patch = nullcontext) -> Run:
    """Plays a scenario on the code, changed by `patch`."""
    with patch():
        world = World(scenario)
        world.play()
    return Run(
        scenario,
        complaints(world),
        world.steps,
        world.loop.time(),
        world.network.by_user.total(),
        len(world.kafka.deliveries),
    )
