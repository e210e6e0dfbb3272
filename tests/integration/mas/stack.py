"""The whole where MAS owns the accounts: Kafka, daprd and the function, a real Synapse that delegates, and the stand-in for MAS."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dev.processes import free_port
from dev.servers.daprd import COMPONENTS
from dev.servers.mas import DelegatingSynapse, Mas
from dev.servers.synapse import write_private
from dev.stack import Ports, Stack
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY
from tests.contract.mas.server import API, Server
from tests.integration.stack import StackUnderTest


class MasStack(Stack):
    """A stack on free ports whose accounts MAS owns."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Ports.free())
        self.mas = Mas(folder, free_port(), self.synapse.url)
        self.synapse = self._delegating = DelegatingSynapse(folder, self.ports.synapse, None, self.mas)
        self.provider = ""

    def start(self) -> None:
        self.mas.start()
        super().start()
        self.provider = self.mas.control("POST", "providers", {"human_name": "Nova"})["id"]

    def stop(self) -> None:
        super().stop()
        self.mas.stop()

    def env(self) -> dict[str, str]:
        mas = {"MATRIX_MAS_URL": self.mas.url, "MATRIX_MAS_PROVIDER": self.provider, "MATRIX_PRECREATE_USERS": "true"}
        return super().env() | mas

    def server(self) -> Server:
        """Returns both sides as people and operators see them."""
        client = (self.mas.client_id, self.mas.client_secret)
        return Server(self.mas.url, self.synapse.url, client, self.provider, self.mas, self._delegating)


class World:
    """A function on that stack, and both sides behind it. The secret has MAS's client and no token of Synapse."""

    def __init__(self, stack: MasStack, folder: Path) -> None:
        self.mas, self.server = stack.mas, stack.server()
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
        write_private(self._secrets, json.dumps({"realtime-chat-service-secret": keys}))


@contextmanager
def running(folder: Path) -> Iterator[World]:
    with MasStack(folder / "stack") as stack:
        world = World(stack, folder)
        try:
            world.running.start()
            yield world
        finally:
            world.running.stop()
            world.server.close()
