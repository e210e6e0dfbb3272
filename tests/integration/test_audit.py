"""The audit on the real servers: each kind of drift made by hand, found, repaired, and gone.

The accounts of this module are the newest; a token leads past those of other tests, among which some drift is left on
purpose.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from dapr.proto import api_v1

from dev.identity_events import deleted, new_user, profile
from dev.running_stack import mxid
from function.audit.drift import Kind
from tests.integration.stack import StackUnderTest, wait_until
from tests.support.images import PNG

Tell = Callable[[str], None]
NOT_HERE = {
    Kind.MISSING,
    Kind.ACTIVE_IN_MAS,
    Kind.OWN_MESSAGES,
    Kind.OWN_MEDIA,
}  # `lost` is missing; the others need settings
COMMAND = [sys.executable, "-m", "function", "audit"]


@dataclass(frozen=True)
class Hand:
    """Changes that an admin or another service makes while the function runs."""

    world: StackUnderTest

    def admin(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.world.stack.synapse.admin(method, path, body).raise_for_status().json()
        return found

    def change(self, user: str, **fields: Any) -> None:
        self.admin("PUT", f"/_synapse/admin/v2/users/{mxid(user)}", fields)

    def reactivate(self, user: str) -> None:
        """A Synapse on a new SQLite database refuses this until its indexes are made, which takes some 15 s."""
        path = f"/_synapse/admin/v2/users/{mxid(user)}"
        admin = self.world.stack.synapse.admin
        wait_until(lambda: admin("PUT", path, {"deactivated": False}).is_success, "the account is active again")

    def deactivate(self, user: str) -> None:
        self.admin("POST", f"/_synapse/admin/v1/deactivate/{mxid(user)}", {"erase": False})

    def join(self, user: str, rooms: int) -> None:
        for _ in range(rooms):
            room = self.admin("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})["room_id"]
            self.admin("POST", f"/_synapse/admin/v1/join/{quote(room)}", {"user_id": mxid(user)})

    def rooms(self, user: str) -> int:
        return int(self.admin("GET", f"/_synapse/admin/v1/users/{mxid(user)}/joined_rooms")["total"])

    def upload(self, user: str) -> str:
        synapse = self.world.stack.synapse
        headers = {"Authorization": f"Bearer {synapse.token}", "Content-Type": "image/png"}
        url = f"{synapse.url}/_matrix/media/v3/upload?filename=nova-{user}"
        return str(httpx.post(url, content=PNG, headers=headers).raise_for_status().json()["content_uri"])

    def delete(self, mxc: str) -> None:
        self.admin("DELETE", f"/_synapse/admin/v1/media/{mxc.removeprefix('mxc://')}")

    def has_media(self, mxc: str) -> bool:
        path = f"/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}"
        return self.world.stack.synapse.admin("GET", path).is_success

    def edit_record(self, user: str, **fields: Any) -> None:
        """As the function would have left it, had it died or been refused at that moment."""
        with self.world.state() as (dapr, token):
            found = dapr.GetState(api_v1.GetStateRequest(store_name="statestore", key=user), metadata=token)
        self.world.save_state(user, json.dumps(json.loads(found.data) | fields).encode())

    def newest(self) -> int:
        """How many accounts there are: the offset of the next."""
        path = "/_synapse/admin/v2/users?user_id=%40nova-&deactivated=true&locked=true&limit=1"
        return int(self.admin("GET", path)["total"])


@dataclass(frozen=True)
class Drifted:
    """Users by their drift. `fine` is in step; `unknown` has no record, and an account that is deactivated and in a room;
    `lost` has a record that knows an account, and none."""

    hand: Hand
    users: dict[Kind, str]
    images: dict[Kind, str]
    fine: str
    unknown: str
    lost: str
    start: str

    def audit(self, *options: str, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | self.hand.world.environment | changes
        command = [*COMMAND, "--from", self.start, "--media-age", "0", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def audit_users(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Audits a list of the users, from standard input."""
        lines = "".join(f"{user}\n" for user in (*self.users.values(), self.fine, self.unknown, self.lost))
        command = [*COMMAND, "--users", "-", *options]
        environment = os.environ | self.hand.world.environment
        return subprocess.run(
            command, env=environment, input=lines, capture_output=True, text=True, timeout=120, check=False
        )

    def found(self, done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
        """The drift of our users, by user."""
        drifts = [json.loads(line).get("drift") for line in done.stdout.splitlines()]
        ours = {mxid(user) for user in (*self.users.values(), self.fine, self.unknown, self.lost)}
        return {drift["user"]: drift for drift in drifts if drift and drift["user"] in ours}

    def expected(self) -> dict[str, str]:
        return {mxid(user): kind.value for kind, user in self.users.items()}

    def accounts(self) -> dict[str, object]:
        return {u: self.hand.world.account(u) for u in (*self.users.values(), self.fine, self.unknown)}


@pytest.fixture(scope="module")
def drifted(world: StackUnderTest) -> Drifted:
    hand = Hand(world)
    start = f"accounts:{hand.newest()}"
    users: dict[Kind, str] = {kind: new_user() for kind in Kind if kind not in NOT_HERE}
    fine, unknown, lost = new_user(), new_user(), new_user()
    made_later = users[Kind.ACTIVE]
    world.create(*(set(users.values()) - {made_later}), fine, unknown)
    erased = [users[kind] for kind in (Kind.REACTIVATED, Kind.NOT_ERASED, Kind.PERSONAL_DATA, Kind.LEFTOVER_MEDIA)]
    named = [users[kind] for kind in (Kind.DISPLAY_NAME, Kind.AVATAR)]
    face, gone = hand.upload(users[Kind.AVATAR]), hand.upload(users[Kind.AVATAR_GONE])
    world.send(*(profile(user, "Ada", 1, face) for user in (*erased, *named, fine)))
    world.send(profile(users[Kind.AVATAR_GONE], "Ada", 1, gone), profile(lost, "Ada", 1))
    world.settle()
    world.send(*(deleted(user) for user in (*erased, made_later)), deleted(users[Kind.IN_ROOMS], soft=True))
    world.settle()

    world.create(made_later)
    hand.reactivate(users[Kind.REACTIVATED])
    hand.reactivate(users[Kind.NOT_ERASED])
    hand.deactivate(users[Kind.NOT_ERASED])
    hand.change(users[Kind.PERSONAL_DATA], displayname="Ada Lovelace")
    hand.join(users[Kind.IN_ROOMS], 3)
    hand.change(users[Kind.DISPLAY_NAME], displayname="Mallory")
    hand.change(users[Kind.AVATAR], avatar_url="mxc://staging.nova.app/another")
    hand.delete(gone)
    hand.deactivate(unknown)
    hand.join(unknown, 1)
    images = {kind: hand.upload(users[kind]) for kind in (Kind.LEFTOVER_MEDIA, Kind.ORPHANED_MEDIA)}
    hand.edit_record(users[Kind.LEFTOVER_MEDIA], uploads=[images[Kind.LEFTOVER_MEDIA]])
    hand.edit_record(users[Kind.AVATAR], uploads=[face])
    hand.edit_record(lost, known={"display_name": "Ada"})
    return Drifted(hand, users, images, fine, unknown, lost, start)


def test_each_kind_of_drift_is_found_and_nothing_is_changed(drifted: Drifted, tell: Tell) -> None:
    """The function runs at the same time. Accounts in step and accounts without a record are not drift."""
    before = drifted.accounts()
    done = drifted.audit("--json")
    assert done.returncode == 1, done.stderr
    found = drifted.found(done)
    assert {user: drift["kind"] for user, drift in found.items()} == drifted.expected()
    assert {drift["result"] for drift in found.values()} == {"found"}
    assert json.loads(done.stdout.splitlines()[-1])["summary"]["no_record"] >= 1
    assert drifted.accounts() == before
    assert drifted.hand.rooms(drifted.users[Kind.IN_ROOMS]) == 3
    tell(f"found: {', '.join(sorted(drift['kind'] for drift in found.values()))}")


def test_a_list_of_users_finds_what_the_lists_of_synapse_do(drifted: Drifted, tell: Tell) -> None:
    """But for an orphaned image, which only Synapse's list of uploads has; and an account that is missing too."""
    done = drifted.audit_users("--json")
    assert done.returncode == 1, done.stderr
    of_accounts = {mxid(user): kind.value for kind, user in drifted.users.items() if kind is not Kind.ORPHANED_MEDIA}
    found = {user: drift["kind"] for user, drift in drifted.found(done).items()}
    assert found == of_accounts | {mxid(drifted.lost): "missing"}
    tell(f"found: {', '.join(sorted(found.values()))}")


def test_the_summary_says_what_each_drift_means_and_what_a_repair_does(drifted: Drifted, tell: Tell) -> None:
    """A line for each, then what it means and what --repair would do; no user id is logged."""
    done = drifted.audit("--repair", "--dry-run")
    assert done.returncode == 1
    for kind, user in drifted.users.items():
        assert any(line.split()[:2] == [kind, mxid(user)] for line in done.stdout.splitlines())
    assert all(user not in done.stderr for user in drifted.users.values())
    assert drifted.fine not in done.stdout + done.stderr
    tell(done.stdout)


def test_an_interrupted_repair_goes_on_where_it_stopped(drifted: Drifted) -> None:
    """Ctrl-C: what is in hand is finished, a cursor is printed, nothing is half done."""
    environment = os.environ | drifted.hand.world.environment
    kinds = ["--kind", "display_name", "--kind", "avatar"]  # a recheck of the function repairs neither
    command = [*COMMAND, "--from", drifted.start, "--repair", "--yes", "--rate", "0.01", "--json", *kinds]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    first = json.loads(process.stdout.readline())["drift"]
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)  # it does not wait for its rate, which is 100 s
    assert process.returncode == 130
    assert "Traceback" not in errors
    summary = json.loads(rest.splitlines()[-1])["summary"]
    assert f"go on with --from {summary['next']}" in errors
    both = {mxid(drifted.users[kind]) for kind in (Kind.DISPLAY_NAME, Kind.AVATAR)}
    left = drifted.found(drifted.audit("--json", "--from", summary["next"], *kinds))
    assert left.keys() == both - {first["user"]} == drifted.found(drifted.audit("--json", *kinds)).keys()


def test_the_limit_of_repairs_ends_a_run_and_says_where_the_next_begins(drifted: Drifted, tell: Tell) -> None:
    """A dry run, so that the rest of the module has its drift."""
    options = ["--repair", "--dry-run", "--max-repairs", "2", "--json"]
    first = drifted.audit(*options)
    assert first.returncode == 1, first.stderr
    summary = json.loads(first.stdout.splitlines()[-1])["summary"]
    assert summary["not_attempted"] >= 1
    second = drifted.audit(*options, "--from", summary["next"])
    found = [drifted.found(done) for done in (first, second)]
    assert [len(users) for users in found] == [2, 2]
    assert not found[0].keys() & found[1].keys()
    tell(first.stderr)


def test_a_closed_pipe_ends_the_audit_quietly(drifted: Drifted) -> None:
    """As after `| head`, here before the first line, so that none of it is in the pipe."""
    environment = os.environ | drifted.hand.world.environment
    command = [*COMMAND, "--from", drifted.start, "--repair", "--dry-run"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(30) == 4
    assert "go on with --from accounts:" in errors
    assert "Traceback" not in errors


def test_repaired_drift_is_not_found_again(drifted: Drifted, tell: Tell) -> None:
    """And is what the events say; exit code 0, then and in the second audit."""
    hand, users = drifted.hand, drifted.users
    hand.world.in_turn(
        profile(users.pop(Kind.AVATAR_GONE), "Ada", 5)
    )  # an avatar that only the events name is not repaired
    unknown = hand.world.account(drifted.unknown)
    done = drifted.audit("--repair", "--yes", "--rate", "0", "--max-repairs", "0", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {drift["result"] for drift in drifted.found(done).values()} == {"repaired"}

    account = hand.world.account
    for kind in (Kind.ACTIVE, Kind.REACTIVATED, Kind.NOT_ERASED, Kind.PERSONAL_DATA):
        found = account(users[kind])
        assert found
        assert (found["deactivated"], found["erased"], found["displayname"]) == (True, True, None), kind
    assert account(users[Kind.DISPLAY_NAME])["displayname"] == "Ada"  # type: ignore[index]
    assert account(users[Kind.AVATAR])["avatar_url"] == account(drifted.fine)["avatar_url"]  # type: ignore[index]
    assert not any(hand.has_media(mxc) for mxc in drifted.images.values())
    assert account(drifted.unknown) == unknown
    assert hand.rooms(drifted.unknown) == 1
    wait_until(lambda: hand.rooms(users[Kind.IN_ROOMS]) == 0, "every room is left")

    again = drifted.audit("--json")
    assert again.returncode == 0, again.stdout + again.stderr
    assert drifted.found(again) == {}
    tell(f"repaired: {done.stdout.splitlines()[-1]}; again: {again.stdout.splitlines()[-1]}")


def test_the_function_goes_on_from_the_repaired_records(drifted: Drifted) -> None:
    """The next event of such a user is applied, or stale, as ever."""
    world, users = drifted.hand.world, drifted.users
    renamed, late = profile(users[Kind.DISPLAY_NAME], "Grace", 2), profile(users[Kind.REACTIVATED], "Grace", 2)
    world.in_turn(renamed, late)
    outcomes = world.outcomes([renamed, late])
    assert (outcomes[renamed.event_id], outcomes[late.event_id]) == (["applied"], ["stale"])
    assert drifted.found(drifted.audit("--json")) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"MATRIX_HOMESERVER_URL": "http://127.0.0.1:9"}, "synapse_unavailable"),
        ({"MATRIX_SERVER_NAME": "other.example", "MATRIX_SERVICE_USER": ""}, "server_name_mismatch"),
        ({"SECRET_NAME": "another-secret"}, "secret_unavailable"),
        ({"STATE_STORE_NAME": "no-such-store"}, "state_unavailable"),
        ({"DAPR_HTTP_PORT": "9"}, "no sidecar"),
    ],
)
def test_a_dependency_failure_ends_the_audit_with_exit_code_3(
    drifted: Drifted, changes: dict[str, str], said: str
) -> None:
    """With what to do about it, and without a traceback."""
    done = drifted.audit(**changes)
    assert done.returncode == 3, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
