"""A function with its own secret and settings that replaces the session's for one test, and a second admin account."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dev.identity_events import new_user
from dev.servers.daprd import COMPONENTS
from dev.servers.synapse import SERVER_NAME, secrets_file
from tests.integration.stack import StackUnderTest


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
    """Replaces the session's function, since both are in one consumer group."""
    world.settle()
    world.stop()
    other = Guarded(world, folder, token or world.stack.synapse.token, more)
    try:
        other.world.start()
        yield other
    finally:
        other.world.stop()
        world.start()
