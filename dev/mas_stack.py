"""Runs the local stack where Matrix Authentication Service (MAS) owns the accounts: MAS is a stand-in, Synapse is real."""

from pathlib import Path

from dev.servers.mas import DelegatingSynapse, Mas
from dev.servers.synapse import write_secret
from dev.stack import RUN, Ports, Stack
from dev.steps import Say
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY

MAS_RUN = RUN / "mas"
STAND_IN = "a stand-in of this project, not Matrix Authentication Service (dev/servers/mas_stand_in/README.md)"


class MasStack(Stack):
    """A stack before which MAS stands. The secret has MAS's client, and no token of Synapse.

    The stand-in keeps its users in memory: a start begins with empty data, unless it still runs.

    Args:
        folder: for data, logs and pid files; not that of another stack.
        ports: where the servers listen.
        partitions: of each Kafka topic.
        postgres: run Synapse on PostgreSQL instead of SQLite; there is also a database for the state store then.
        say: called with a line for each step.
    """

    def __init__(
        self, folder: Path = MAS_RUN, ports: Ports | None = None, *,
        partitions: int = 12, postgres: bool = False, say: Say = lambda _: None,
    ) -> None:  # fmt: skip
        super().__init__(folder, ports, partitions=partitions, postgres=postgres, say=say)
        self.mas = Mas(folder, self.ports.mas, self.synapse.url)
        database = self.postgres if postgres else None
        self.synapse = self.delegating = DelegatingSynapse(folder, self.ports.synapse, database, self.mas)

    def start(self) -> None:
        if not self.mas.server.running():
            self.remove()
        self._say(f"MAS: {STAND_IN}")
        try:
            self._step("MAS, the stand-in", self.mas.server, [self.ports.mas], self.mas.start)
        except BaseException:
            self.stop()
            raise
        super().start()

    def stop(self) -> None:
        super().stop()
        self.mas.stop()

    def env(self) -> dict[str, str]:
        mas = {"MATRIX_MAS_URL": self.mas.url, "MATRIX_MAS_PROVIDER": self.provider, "MATRIX_PRECREATE_USERS": "true"}
        return super().env() | mas

    @property
    def provider(self) -> str:
        """The identity service's id at MAS, which must run. It is added at the first time."""
        known = self.mas.admin("GET", "upstream-oauth-providers").raise_for_status().json()["data"]
        return str((known or [self.mas.control("POST", "providers", {"human_name": "Nova"})])[0]["id"])

    def _write_secret(self) -> None:
        keys = {MAS_CLIENT_ID_KEY: self.mas.client_id, MAS_CLIENT_SECRET_KEY: self.mas.client_secret}
        write_secret(self.secrets_file, keys)
