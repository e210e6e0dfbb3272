"""Runs some thousand seeds of the simulation, and checks that a seed always runs the same and that a failing one is shrunk."""

import pytest

from tests.simulation.__main__ import patch_of, run_seeds
from tests.simulation.generate import generate
from tests.simulation.run import run
from tests.simulation.shrink import shrink

CHUNKS, SEEDS = 10, 170


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_rule_holds(chunk: int) -> None:
    found = run_seeds(range(1 + chunk * SEEDS, 1 + (chunk + 1) * SEEDS))
    assert found.seeds == SEEDS
    seeds = {rule: broken[:3] for rule, broken in found.broken.items()}
    assert not seeds, "the shortest form of a seed: python -m tests.simulation --seed X"


def test_a_seed_always_runs_the_same() -> None:
    for seed in range(40):
        first, second = run(generate(seed)), run(generate(seed))
        assert (first.steps, first.requests, first.seconds) == (second.steps, second.requests, second.seconds)
        assert first.complaints == second.complaints


def test_a_failing_scenario_is_shrunk_to_what_shows_the_fault() -> None:
    patch = patch_of("fold-last-arrival")
    failed = next(
        done
        for seed in range(1, 500)
        if (done := run(generate(seed), patch)).complaints and len(done.scenario.events) > 6
    )
    short = shrink(failed, patch)
    assert short.complaints[0].rule == failed.complaints[0].rule
    assert len(short.scenario.events) <= 4
