"""Runs the local stack: Kafka, Synapse and optionally PostgreSQL, with a secrets file and the environment to use them."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dev.processes import Server, StackError, free_port, listens
from dev.servers.kafka import TOPIC, Kafka
from dev.servers.postgres import Postgres
from dev.servers.synapse import ADMIN_ID, SERVER_NAME, Synapse, secrets_file
from dev.steps import Say
from dev.toolchain import DEV

RUN = DEV / ".run"
APP_TOKEN, DAPR_TOKEN = "local-app-token", "local-dapr-token"  # as in dapr.yaml; the servers listen on loopback only


@dataclass(frozen=True)
class Ports:
    """Loopback ports. The defaults are those of dapr.yaml."""

    kafka: int = 19092
    kafka_controller: int = 19093
    synapse: int = 18008
    mas: int = 18090
    postgres: int = 15432
    app: int = 18080
    dapr_http: int = 13500
    dapr_grpc: int = 13501
    dapr_internal: int = 13502
    dapr_metrics: int = 13503

    @classmethod
    def free(cls) -> Self:
        """Returns free ports, for a second stack."""
        found: set[int] = set()
        while len(found) < len(cls.__dataclass_fields__):
            found.add(free_port())
        return cls(*found)


class Stack:
    """Starts and stops the servers; a running server is kept.

    Args:
        folder: for data, logs and pid files.
        ports: where the servers listen.
        partitions: of each Kafka topic.
        postgres: run Synapse on PostgreSQL instead of SQLite; there is also a database for the state store then.
        homeserver: further keys of Synapse's homeserver.yaml.
        say: called with a line for each step.
    """

    def __init__(
        self, folder: Path = RUN, ports: Ports | None = None, *,
        partitions: int = 12, postgres: bool = False, homeserver: Mapping[str, Any] | None = None,
        say: Say = lambda _: None,
    ) -> None:  # fmt: skip
        self.folder, self.ports, self._say = folder, ports or Ports(), say
        self.postgres = Postgres(folder, self.ports.postgres)
        self._with_postgres = postgres
        self.kafka = Kafka(folder, self.ports.kafka, self.ports.kafka_controller, partitions)
        self.synapse = Synapse(folder, self.ports.synapse, self.postgres if postgres else None, homeserver)
        self.secrets_file = folder / "secrets.json"

    @classmethod
    def on_free_ports(
        cls, folder: Path, *, postgres: bool = False, partitions: int = 12, homeserver: Mapping[str, Any] | None = None
    ) -> Self:
        """Returns a second stack, on free ports."""
        return cls(folder, Ports.free(), postgres=postgres, partitions=partitions, homeserver=homeserver)

    def start(self) -> None:
        """Starts everything. If that fails, stops everything and raises a StackError that tells what to do."""
        try:
            ports = self.ports
            if self._with_postgres:
                self._step("PostgreSQL", self.postgres.server, [ports.postgres], self.postgres.start)
            kafka = [ports.kafka, ports.kafka_controller]
            self._step("Kafka", self.kafka.server, kafka, lambda: self.kafka.start(self._say))
            self._step("Synapse", self.synapse.server, [ports.synapse], lambda: self.synapse.start(self._say))
            self._write_secret()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops every server that this or an earlier run started, also after a crash."""
        for stop in (self.synapse.stop, self.kafka.stop, self.postgres.stop):
            stop()

    def remove(self) -> None:
        """Stops everything and deletes the data."""
        self.stop()
        self.postgres.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.postgres.remove()

    def env(self) -> dict[str, str]:
        """Returns the environment of the function and of its sidecar."""
        return {
            "KAFKA_ENABLED": "true",
            "KAFKA_BROKERS": self.kafka.brokers,
            "KAFKA_IDENTITY_EVENTS_TOPIC": TOPIC,
            "KAFKA_CONSUMER_GROUP_ID": "realtime-chat-service",
            "MATRIX_ENABLED": "true",
            "MATRIX_HOMESERVER_URL": self.synapse.url,
            "MATRIX_SERVER_NAME": SERVER_NAME,
            "MATRIX_SERVICE_USER": ADMIN_ID,
            "LOG_LEVEL": "DEBUG",
            "APP_API_TOKEN": APP_TOKEN,
            "DAPR_API_TOKEN": DAPR_TOKEN,
            "APP_PORT": str(self.ports.app),
            "DAPR_HTTP_PORT": str(self.ports.dapr_http),
            "DAPR_GRPC_PORT": str(self.ports.dapr_grpc),
            "DEV_SECRETS_FILE": str(self.secrets_file),
            "DEV_STATE_DATABASE": str(self.folder / "state.db"),
        }

    def create_account(self, localpart: str, name: str = "") -> None:
        self.synapse.create(f"@{localpart}:{SERVER_NAME}", name)

    def account(self, mxid: str) -> dict[str, Any] | None:
        return self.synapse.account(mxid)

    def _write_secret(self) -> None:
        secrets_file(self.secrets_file, self.synapse.token)

    def _step(self, name: str, server: Server, ports: Sequence[int], start: Callable[[], None]) -> None:
        began = time.monotonic()
        known = server.running()
        for port in () if known else ports:
            if listens(port):
                hint = f"end what listens there (`ss -ltnp 'sport = :{port}'`)"
                raise StackError(f"port {port} for {name} is taken: {hint}")
        self._say(f"{name}: {'is running' if known else 'starting'}")
        start()
        self._say(f"{name}: ready on 127.0.0.1:{ports[0]} ({time.monotonic() - began:.1f} s)")
