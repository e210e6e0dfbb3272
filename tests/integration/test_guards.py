"""What holds the function back: its token, Synapse's rate limit, the brake, a dry run."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.identity_events import deleted, new_user, profile
from dev.servers.daprd import COMPONENTS, ROOT
from dev.servers.synapse import SERVER_NAME, secrets_file
from tests.integration.stack import StackUnderTest, wait_until

Tell = Callable[[str], None]


class Admin:
    """A second admin account of the homeserver, without the first one's freedom from the rate limit."""

    def __init__(self, world: StackUnderTest) -> None:
        self._synapse, self._api = world.stack.synapse, world.stack.synapse.admin
        self.id = f"@{new_user()}:{SERVER_NAME}"
        self.put({"admin": True})

    def put(self, body: dict[str, Any]) -> None:
        self._api("PUT", f"/_synapse/admin/v2/users/{self.id}", body).raise_for_status()

    def token(self) -> str:
        answer = self._api("POST", f"/_synapse/admin/v1/users/{self.id}/login", {})
        return str(answer.raise_for_status().json()["access_token"])

    def own_token(self) -> str:
        """Of a login of its own. What the first admin opened for it shares that one's freedom from the rate limit."""
        self.put({"password": "correct horse"})
        return self._synapse.login(self.id, "correct horse")

    def revoke(self, token: str) -> None:
        self._api("POST", "/_matrix/client/v3/logout", {}, token).raise_for_status()


class Guarded:
    """A function of its own with a secret of its own, which daprd reads again when its component changes."""

    def __init__(self, world: StackUnderTest, folder: Path, token: str, more: dict[str, str]) -> None:
        self._secrets, self._components, self._changes = folder / "secrets.json", folder / "components", 0
        shutil.copytree(COMPONENTS, self._components)
        secrets_file(self._secrets, token)
        environment = {"DEV_SECRETS_FILE": str(self._secrets), "MATRIX_SERVICE_USER": ""} | more
        self.world = StackUnderTest(world.stack, folder / "function", environment, components=self._components)

    def renew(self, token: str) -> None:
        """Puts another token into the secret."""
        secrets_file(self._secrets, token)
        self._changes += 1
        path = self._components / "secretstore.yaml"
        component = yaml.safe_load(path.read_text())
        component["spec"]["metadata"] += [{"name": f"changed{self._changes}", "value": "x"}]
        path.write_text(yaml.safe_dump(component))


@contextmanager
def guarded(world: StackUnderTest, folder: Path, token: str = "", **more: str) -> Iterator[Guarded]:
    """In place of the session's function, since they are of one consumer group."""
    world.settle()
    world.stop()
    other = Guarded(world, folder, token or world.stack.synapse.token, more)
    try:
        other.world.start()
        yield other
    finally:
        other.world.stop()
        world.start()


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


@pytest.mark.parametrize("how", ["no admin", "locked"])
def test_the_token_of_somebody_who_may_not_stops_the_flow(world: StackUnderTest, tmp_path: Path, how: str) -> None:
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
        wait_until(lambda: other.world.function.ready_body().get("reason") == "token_refused", f"refused, not {body}")
        checked = subprocess.run(
            [sys.executable, "-m", "function", "check"], env=_environment(other.world), cwd=ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert checked.returncode == 1
        assert "token_refused" in checked.stdout
        assert other.world.lag() == 1
        admin.put(right)
        other.world.settle()
        assert other.world.letters([event.event_id]) == []
    assert world.account(user)["displayname"] == "waited"  # type: ignore[index]


def _environment(world: StackUnderTest) -> dict[str, str]:
    kept = {"PATH": str(Path(sys.executable).parent), "COLUMNS": "300"}
    return kept | {name: value for name, value in world.environment.items() if not name.startswith("DEV_")}


def test_a_limited_admin_gets_everything_right_in_the_end(world: StackUnderTest, tmp_path: Path, tell: Tell) -> None:
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
    # same, but nobody can know.
    assert sum(map(len, calls.values())) <= 20 + 300 + refused


def test_the_brake_holds_deletions_back_and_a_replay_applies_them(world: StackUnderTest, tmp_path: Path) -> None:
    """Loudly: in the readiness, the log and the dead letters."""
    users = [new_user() for _ in range(5)]
    world.create(*users)
    events = [deleted(user) for user in users]
    with guarded(world, tmp_path, MATRIX_MAX_DELETIONS_PER_HOUR="2") as other:
        other.world.send(*events)
        other.world.settle()
        assert sum(other.world.account(user)["erased"] for user in users) == 2  # type: ignore[index]
        reasons = [letter.reason for letter in other.world.letters(event.event_id for event in events)]
        assert reasons == ["deletion_limit"] * 3
        assert "deletion_limit" in other.world.function.ready_body()["deletion_limit"]
        assert "deletion_limit" in {line["event"] for line in other.world.function.log_lines()}
    assert world.tool("replay", "--yes", "--reason", "deletion_limit").returncode == 0
    world.settle()
    assert all(world.account(user)["erased"] for user in users)  # type: ignore[index]


def test_a_dry_run_writes_nowhere_and_says_what_it_would_do(world: StackUnderTest, tmp_path: Path) -> None:
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
        logged = {line["operation"] for line in dry.function.log_lines() if line["event"] == "dry_run"}
    finally:
        dry.stop()
    assert {"set_display_name", "erase", "publish"} <= logged
    assert world.account(ada)["displayname"] == "before"  # type: ignore[index]
    assert not world.account(bob)["deactivated"]  # type: ignore[index]
    with sqlite3.connect(state) as database:
        assert database.execute("SELECT count(*) FROM state").fetchone() == (0,)
    database.close()
    world.start()
    world.settle()
    assert world.account(bob)["erased"]  # type: ignore[index]
