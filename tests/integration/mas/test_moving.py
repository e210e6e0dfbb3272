"""The move from Synapse's own accounts to Matrix Authentication Service while events wait, as docs/mas.md describes it. The stand-in
takes the place of syn2mas too: it takes over the accounts that Synapse has, and of a deleted one not that it was deleted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from dev.identity_events import deleted, new_user, profile
from dev.processes import free_port
from dev.running_stack import mxid
from dev.servers.mas import Mas
from dev.servers.synapse import ADMIN, write_private
from dev.stack import Ports, Stack
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY
from tests.contract.mas.server import Person, Server
from tests.integration.checking import check
from tests.integration.stack import StackUnderTest, wait_until

SECRET = "realtime-chat-service-secret"


@dataclass(frozen=True)
class Move:
    """A stack whose Synapse hands its accounts over, and one function after another on it."""

    stack: Stack
    mas: Mas
    folder: Path

    @contextmanager
    def function(self, name: str, **changes: str) -> Iterator[StackUnderTest]:
        world = StackUnderTest(self.stack, self.folder / name, changes)
        try:
            world.start()
            yield world
        finally:
            world.stop()

    def hand_over(self, *users: str) -> Server:
        """Switches delegation on in Synapse's configuration, and takes the users over."""
        self.stack.synapse.stop()
        config = self.folder / "stack" / "synapse" / "homeserver.yaml"
        write_private(config, yaml.safe_dump(yaml.safe_load(config.read_text()) | self.mas.homeserver_config))
        self.mas.start()
        self.stack.synapse.start()
        for name in (ADMIN, *(f"nova-{user}" for user in users)):
            body = {"username": name, "skip_homeserver_check": True}
            self.mas.admin("POST", "users", body).raise_for_status()
        return Server(self.mas.url, self.stack.synapse.url, (self.mas.client_id, self.mas.client_secret), "")

    def settings(self) -> dict[str, str]:
        """Puts MAS's client into the secret, in place of the token; returns the settings for MAS."""
        keys = {MAS_CLIENT_ID_KEY: self.mas.client_id, MAS_CLIENT_SECRET_KEY: self.mas.client_secret}
        write_private(self.stack.secrets_file, json.dumps({SECRET: keys}))
        return {"MATRIX_MAS_URL": self.mas.url}


@pytest.fixture
def move(tmp_path: Path) -> Iterator[Move]:
    stack = Stack(tmp_path / "stack", Ports.free())
    mas = Mas(tmp_path / "stack", free_port(), stack.synapse.url)
    try:
        with stack:
            yield Move(stack, mas, tmp_path)
    finally:
        mas.stop()


def found(world: StackUnderTest, *options: str) -> tuple[int, list[tuple[str, str]]]:
    """Returns the exit code of an audit, and the drift that it found."""
    done = world.tool("audit", "--json", *options)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, [(one["drift"]["kind"], one["drift"]["user"]) for one in lines if "drift" in one]


def sides(server: Server, user: str) -> tuple[bool, bool, bool]:
    """Returns whether MAS and Synapse have the user deactivated, and whether Synapse has it erased."""
    account, of_mas = server.account(mxid(user)), server.user(f"nova-{user}")
    return of_mas["deactivated_at"] is not None, bool(account["deactivated"]), bool(account["erased"])


def as_person(server: Server, user: str) -> Person:
    """Gives the user a password."""
    known = server.user(f"nova-{user}")
    server.admin("POST", f"users/{known['id']}/set-password", {"password": "a long passphrase"}).raise_for_status()
    return Person(known["id"], known["username"], mxid(user), "a long passphrase")


def test_events_that_wait_during_the_move_are_applied_on_both_sides(move: Move) -> None:
    gone, leaving, staying = (new_user() for _ in range(3))
    with move.function("before") as before:
        before.create(gone, leaving, staying)
        before.in_turn(*(profile(user, "First Name", 1) for user in (gone, leaving, staying)), deleted(gone, soft=True))
        before.settle()
    waiting = [deleted(leaving, soft=False), profile(staying, "New Name", 2)]
    before.send(*waiting)

    server = move.hand_over(gone, leaving, staying)
    with move.function("forgotten") as forgotten:
        reason = "mas_not_configured"
        wait_until(lambda: forgotten.function.ready_body().get("reason") == reason, "the function stops by itself")
        assert forgotten.lag() == len(waiting)
    settings = move.settings()
    with move.function("off", KAFKA_ENABLED="false", **settings) as off:
        wait_until(lambda: off.function.ready() is True, "ready, and consuming is off")
        assert off.function.ready_body()["consuming"] is False
        assert check(off).wrong() == []
        assert server.try_login(as_person(server, gone)).status_code == 200
        assert found(off) == (1, [("active_in_mas", mxid(gone))])
        assert found(off, "--repair", "--yes")[0] == 0
        assert found(off) == (0, [])
        assert forgotten.lag() == len(waiting)
    with move.function("after", **settings) as after:
        after.settle()
        assert after.letters() == []
    assert sides(server, gone) == (True, True, False)
    assert server.try_login(as_person(server, gone)).status_code == 403
    assert sides(server, leaving) == (True, True, True)
    assert sides(server, staying) == (False, False, False)
    assert server.account(mxid(staying))["displayname"] == "New Name"
    server.close()
