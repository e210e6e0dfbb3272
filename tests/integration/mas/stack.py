"""The whole where MAS owns the accounts: Kafka, daprd and the function, a real Synapse that delegates, and the stand-in for MAS."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dev.mas_stack import MasStack
from dev.servers.daprd import COMPONENTS
from dev.servers.synapse import write_secret
from dev.stack import Ports
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY
from tests.contract.mas.server import API, Server
from tests.integration.stack import StackUnderTest


class World:
    """A function on that stack, and both sides behind it. The secret has MAS's client and no token of Synapse."""

    def __init__(self, stack: MasStack, folder: Path) -> None:
        self.mas, self.server = stack.mas, server_of(stack)
        self._secrets, self._components, self._changes = folder / "client.json", folder / "components", 0
        shutil.copytree(COMPONENTS, self._components)
        self._write(stack.mas.client_secret)
        environment = {"DEV_SECRETS_FILE": str(self._secrets)}
        self.running = StackUnderTest(stack, folder / "function", environment, components=self._components)

    def rotate(self, client_secret: str) -> None:
        """Puts another client secret into the secret, which daprd reads again when its component changes."""
        self._write(client_secret)
        self._changes += 1
        path = self._components / "secretstore.yaml"
        component = yaml.safe_load(path.read_text())
        component["spec"]["metadata"] += [{"name": f"changed{self._changes}", "value": "x"}]
        path.write_text(yaml.safe_dump(component))

    def calls_at_mas(self) -> list[str]:
        """Returns the requests of the function to MAS since the last call; neither its tokens nor its probes."""
        sent = self.mas.control("GET", "requests")
        self.mas.control("DELETE", "requests")
        plain = [f"{one['method']} {one['path'].removeprefix(API)}" for one in sent if one["path"].startswith(API)]
        return [one for one in plain if "personal-sessions" not in one and one != "GET /users"]

    def _write(self, client_secret: str) -> None:
        keys = {MAS_CLIENT_ID_KEY: self.mas.client_id, MAS_CLIENT_SECRET_KEY: client_secret}
        write_secret(self._secrets, keys)


def server_of(stack: MasStack) -> Server:
    """Returns both sides as people and operators see them."""
    client = (stack.mas.client_id, stack.mas.client_secret)
    return Server(stack.mas.url, stack.synapse.url, client, stack.provider, stack.mas, stack.delegating)


@contextmanager
def running(folder: Path) -> Iterator[World]:
    with MasStack(folder / "stack", Ports.free()) as stack:
        world = World(stack, folder)
        try:
            world.running.start()
            yield world
        finally:
            world.running.stop()
            world.server.close()
