"""A dry run on the real servers."""

import sqlite3
from pathlib import Path

from dev.identity_events import deleted, new_user, profile
from tests.integration.stack import StackUnderTest


def test_a_dry_run_writes_nowhere_and_logs_what_it_would_do(world: StackUnderTest, tmp_path: Path) -> None:
    """Neither to Synapse nor to the state store, nor to the dead letters; in a consumer group of its own."""
    ada, bob = new_user(), new_user()
    world.create(ada, bob)
    state = tmp_path / "state.db"
    environment = {
        "MATRIX_DRY_RUN": "true",
        "KAFKA_CONSUMER_GROUP_ID": f"{new_user()}-dry-run",
        "DEV_STATE_DATABASE": str(state),
    }
    world.settle()
    world.stop()
    dry = StackUnderTest(world.stack, tmp_path / "function", environment)
    broken = profile(ada, "n" * 300, 2)
    events = [profile(ada, "Ada", 1), deleted(bob), broken]
    try:
        dry.start()
        dry.send(*events)
        dry.settle(180)
        assert dry.letters([broken.event_id]) == []
        would = {line["operation"] for line in dry.function.log_lines() if line["event"] == "dry_run"}
    finally:
        dry.stop()
    assert {"set_display_name", "erase", "publish"} <= would
    assert world.account(ada)["displayname"] == "before"  # type: ignore[index]
    assert not world.account(bob)["deactivated"]  # type: ignore[index]
    with sqlite3.connect(state) as database:
        assert database.execute("SELECT count(*) FROM state").fetchone() == (0,)
    database.close()
    world.start()
    world.settle()
    assert world.account(bob)["erased"]  # type: ignore[index]
