"""What the running function says of itself at /metrics."""

from dev.identity_events import ProducerRecord, deleted, new_user, profile
from tests.integration.stack import StackUnderTest
from tests.support.metrics_page import shown


def test_the_metrics_count_a_run_and_name_no_user(world: StackUnderTest) -> None:
    user, unknown = new_user(), new_user()
    world.create(user)
    before = shown(world)[1]
    world.send(
        profile(user, "Ada Lovelace"), profile(unknown, "no account"), ProducerRecord(user, b"not json"), deleted(user)
    )
    world.settle()
    text, after = shown(world)
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    assert grown["events_total{outcome=applied,type=identity.user.deleted}"] == 1
    assert grown["events_total{outcome=no_account,type=identity.user.profile_updated}"] == 1
    assert grown["dead_letters_total{reason=not_json}"] == 1
    assert grown["synapse_calls_total{operation=erase,status=2xx}"] == 1
    assert grown["synapse_calls_total{operation=account,status=4xx}"] >= 1
    assert after["token_reads_total{result=renewed}"] >= 1
    assert grown["event_age_seconds_count{}"] == 4  # daprd hands the records' timestamps over
    assert 0 <= grown["event_age_seconds_sum{}"] < 60
    assert all(value == 1 for name, value in after.items() if name.startswith("ready{"))
    assert (after["consuming{}"], after["deletion_limit{}"]) == (1, 0)
    for word in (user, unknown, "Lovelace", "staging.nova.app", "http"):
        assert word not in text
