"""Scenarios that a seed has found, in their shortest form: each was a fault of the code."""

import pytest

from tests.simulation.events import Event, Kind
from tests.simulation.run import run
from tests.simulation.scenario import Hit, RequestFault, Scenario, User, Verb

FOUND = {
    # A retry succeeds, and what was sent before it is carried out after a newer write.
    "late_effect_of_a_request_whose_retry_succeeded": Scenario(
        771,
        (User(),),
        pods=1,
        events=(Event(9.5, 0, Kind.PROFILE, 9.4, "Ann"), Event(13.9, 0, Kind.PROFILE, 13.9, "Cid")),
        requests=(RequestFault(0, Verb.NAME, 0, Hit.LATE, 110.0),),
    ),
}


@pytest.mark.parametrize("scenario", FOUND.values(), ids=FOUND.keys())
def test_it_holds(scenario: Scenario) -> None:
    assert run(scenario).complaints == []
