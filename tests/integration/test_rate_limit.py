"""An admin account that Synapse rate limits."""

from collections.abc import Callable
from pathlib import Path

from dev.identity_events import new_user, profile
from tests.integration.second_function import Admin, guarded
from tests.integration.stack import StackUnderTest

Tell = Callable[[str], None]


def test_a_rate_limited_admin_applies_every_event_in_the_end(world: StackUnderTest, tmp_path: Path, tell: Tell) -> None:
    """300 events for 20 users, 15 changes of each name: Synapse limits each user after ten."""
    admin = Admin(world)
    users = [new_user() for _ in range(20)]
    world.create(*users)
    with guarded(world, tmp_path, admin.own_token()) as other:
        rounds = [[profile(user, f"name {minute}", minute) for user in users] for minute in range(1, 16)]
        for events in rounds:
            other.world.send(*events)
            other.world.settle(120)
        sent = [event for events in rounds for event in events]
        assert other.world.letters(event.event_id for event in sent) == []
        calls = {user: other.world.calls(user) for user in users}
        refused = other.world.refusals(users)
        tell(f"rate limited: {other.world.tally(sent)}; {sum(map(len, calls.values()))} calls, {refused} answered 429")
    for user in users:
        assert world.account(user)["displayname"] == "name 15"  # type: ignore[index]
    assert refused > 0
    # A look at each user and a write for each change, and again what was limited: a limited write was applied all the
    # same, but the function cannot know that.
    assert sum(map(len, calls.values())) <= 20 + 300 + refused
