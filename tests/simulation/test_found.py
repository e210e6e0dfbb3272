"""Scenarios that a seed has found, in their shortest form: each was a fault of the code."""

import pytest

from tests.simulation.events import Event, Kind
from tests.simulation.run import run
from tests.simulation.scenario import Blow, Hit, PodFault, RequestFault, Scenario, StoreFault, User, Verb

FOUND = {
    # A retry succeeds, and what was sent before it is carried out after a newer write.
    "late_effect_of_a_request_whose_retry_succeeded": Scenario(
        771,
        (User(),),
        pods=1,
        events=(Event(9.5, 0, Kind.PROFILE, 9.4, "Ann"), Event(13.9, 0, Kind.PROFILE, 13.9, "Cid")),
        requests=(RequestFault(0, Verb.NAME, 0, Hit.LATE, 110.0),),
    ),
    # The claim of a deletion is refused by the store, and lands later: the next pod ends the account without a permit.
    "permit_of_a_claim_that_was_saved_unseen": Scenario(
        112993,
        (User(), User()),
        pods=2,
        components=1,
        partitions=4,
        batch=1,
        limit=1,
        events=(
            Event(2.7, 1, Kind.PROFILE, 2.6702283223357464, "Cid"),
            Event(9.5, 1, Kind.HARD, 9.447499920718876),
            Event(103.8, 0, Kind.HARD, 103.7545959608149),
        ),
        stores=(StoreFault(1, True, 4, Hit.LATE, 40.0),),
        blows=(PodFault(9.9, 1, Blow.MOVE, 500.0),),
    ),
}


@pytest.mark.parametrize("scenario", FOUND.values(), ids=FOUND.keys())
def test_it_holds(scenario: Scenario) -> None:
    assert run(scenario).complaints == []
