"""The deletion limit on the real servers, and the replay of what it held back."""

from pathlib import Path

from dev.identity_events import deleted, new_user
from function.dead_letters.publish import REPLAYS
from function.processing.deletion_limit import KEY
from tests.integration.second_function import guarded
from tests.integration.stack import StackUnderTest


def test_deletions_over_the_limit_are_held_back_and_a_replay_applies_them(
    world: StackUnderTest, tmp_path: Path
) -> None:
    """Readiness, log and dead letters show it."""
    users = [new_user() for _ in range(5)]
    world.create(*users)
    events = [deleted(user) for user in users]
    world.settle()
    world.save_state(KEY, b'{"v":1,"minutes":{}}')  # other tests delete too, and the count is one for all pods
    with guarded(world, tmp_path, MATRIX_MAX_DELETIONS_PER_HOUR="2") as other:
        other.world.send(*events)
        other.world.settle()
        assert sum(other.world.account(user)["erased"] for user in users) == 2  # type: ignore[index]
        reasons = [letter.reason for letter in other.world.letters(event.event_id for event in events)]
        assert reasons == ["deletion_limit"] * 3
        assert "deletion_limit" in other.world.function.ready_body()["deletion_limit"]
        assert "deletion_limit" in {line["event"] for line in other.world.function.log_lines()}
        too_soon = other.world.tool("replay", "--yes", "--reason", "deletion_limit")
        assert too_soon.returncode == 0
        assert "held back by the limit; 0 will pass within this hour; the rest come back as new" in too_soon.stderr
        other.world.settle()
        back = other.world.letters(event.event_id for event in events)
        assert [letter.headers[REPLAYS] for letter in back] == [b"0"] * 6  # no failed replay: never stuck
    done = world.tool("replay", "--yes", "--reason", "deletion_limit")
    assert done.returncode == 0
    world.settle()
    assert all(world.account(user)["erased"] for user in users)  # type: ignore[index]
