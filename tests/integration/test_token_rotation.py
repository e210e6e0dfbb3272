"""Rotation of the admin token while the function runs, and a token without admin rights."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.identity_events import new_user, profile
from dev.servers.daprd import ROOT
from tests.integration.second_function import Admin, guarded
from tests.integration.stack import StackUnderTest, wait_until

Tell = Callable[[str], None]


def test_a_token_that_is_rotated_while_running_loses_nothing(world: StackUnderTest, tmp_path: Path, tell: Tell) -> None:
    """No restart of the function, no dead letter: it reads the secret again when Synapse refuses the old one."""
    admin = Admin(world)
    old, new = admin.token(), admin.token()
    users = [new_user() for _ in range(20)]
    world.create(*users)
    with guarded(world, tmp_path, old) as other:
        first = [profile(user, "first", 1) for user in users]
        other.world.send(*first)
        other.world.settle()
        admin.revoke(old)
        second = [profile(user, "second", 2) for user in users]
        other.world.send(*second)
        wait_until(lambda: other.world.function.ready() is False, "not ready with the revoked token")
        other.renew(new)
        other.world.settle(120)
        assert other.world.letters(event.event_id for event in first + second) == []
        tell(f"token rotated: {other.world.tally(first + second)}")
    for user in users:
        assert world.account(user)["displayname"] == "second"  # type: ignore[index]


@pytest.mark.parametrize(("how", "reason"), [("no admin", "token_refused"), ("locked", "admin_suspended")])
def test_a_token_without_admin_rights_stops_the_flow(
    world: StackUnderTest, tmp_path: Path, how: str, reason: str
) -> None:
    """Not ready, nothing dead-lettered, `check` says why; on again by itself."""
    admin = Admin(world)
    token = admin.token()
    wrong: dict[str, Any] = {"admin": False} if how == "no admin" else {"locked": True}
    right: dict[str, Any] = {"admin": True} if how == "no admin" else {"locked": False}
    user = new_user()
    world.create(user)
    admin.put(wrong)
    with guarded(world, tmp_path, token) as other:
        event = profile(user, "waited", 1)
        other.world.send(event)
        body = other.world.function.ready_body()
        wait_until(lambda: other.world.function.ready_body().get("reason") == reason, f"refused, not {body}")
        checked = subprocess.run(
            [sys.executable, "-m", "function", "check"], env=_environment(other.world), cwd=ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert checked.returncode == 1
        assert reason in checked.stdout
        assert other.world.lag() == 1
        admin.put(right)
        other.world.settle()
        assert other.world.letters([event.event_id]) == []
    assert world.account(user)["displayname"] == "waited"  # type: ignore[index]


def _environment(world: StackUnderTest) -> dict[str, str]:
    kept = {"PATH": str(Path(sys.executable).parent), "COLUMNS": "300"}
    return kept | {name: value for name, value in world.environment.items() if not name.startswith("DEV_")}
