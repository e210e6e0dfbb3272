"""Runs Kafka for the local stack: one KRaft node on loopback, without automatic creation of topics."""

import os
import subprocess
import uuid
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from dev.processes import Server, StackError
from dev.steps import Say
from dev.toolchain import kafka_jars

TOPIC = "nova.identity.events"
TOPICS = (TOPIC, f"{TOPIC}.matrix.dead", f"{TOPIC}.matrix.replay", f"{TOPIC}.matrix.results")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
# A mistyped topic is an error, as in production.
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# A group without members and offsets is deleted soon; by default Kafka looks for such groups every 10 minutes.
offsets.retention.check.interval.ms=2000
# The members of one pod join at about the same time: a moment of waiting spares each start a second rebalance, for which the
# first ones would wait until their next heartbeat, up to 3 s later.
group.initial.rebalance.delay.ms=100
# A killed broker is back once the session of its former self has ended; by default after 9 s.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
"""


class Kafka:
    """The broker.

    Args:
        folder: for data, log and pid file.
        port: the broker's; `controller` is the port of its quorum.
        partitions: of each topic.
    """

    def __init__(self, folder: Path, port: int, controller: int, partitions: int) -> None:
        self.port, self._partitions = port, partitions
        self.server = Server("kafka", folder)
        self._controller, self._folder = controller, folder
        self._jars: Path | None = None

    @property
    def brokers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, say: Say = print) -> None:
        """Starts the broker, formats its storage the first time, and creates the missing topics."""
        if not self.server.running():
            self._jars = kafka_jars(say)
            properties = self._format()
            self.server.start(self._java("-Xmx512m", "kafka.Kafka", str(properties)), env=self._environment())
        self.server.wait_ready(self._answers, 60)
        self.make_topics(self._partitions)

    def stop(self, *, kill: bool = False) -> None:
        self.server.stop(kill=kill)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _java(self, *arguments: str) -> list[str]:
        assert self._jars
        return ["java", "-cp", f"{self._jars}/*", *arguments]

    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}

    def _format(self) -> Path:
        data, properties = self._folder / "kafka", self._folder / "kafka.properties"
        self._folder.mkdir(parents=True, exist_ok=True)
        properties.write_text(PROPERTIES.format(port=self.port, controller=self._controller, data=data))
        if not (data / "meta.properties").exists():
            cluster = uuid.uuid4().hex[:22]
            tool = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
            done = subprocess.run(tool, capture_output=True, text=True, env=self._environment(), check=False)
            if done.returncode:
                raise StackError(f"Kafka's storage can't be formatted:\n{done.stdout}{done.stderr}")
        return properties

    def _answers(self) -> bool:
        try:
            self._admin().list_topics(timeout=1)
        except KafkaException:
            return False
        return True

    def make_topics(self, partitions: int) -> None:
        """Creates the missing topics."""
        admin = self._admin()
        present = admin.list_topics(timeout=10).topics
        # Admits the largest record with the headers of a dead letter on top: see components/pubsub.yaml.
        roomy = {"max.message.bytes": "2097152"}
        wanted = [
            NewTopic(topic, partitions, 1, config=roomy if topic != TOPIC else {})
            for topic in TOPICS
            if topic not in present
        ]
        for future in admin.create_topics(wanted).values() if wanted else ():
            future.result(30)

    def _admin(self) -> AdminClient:
        # Without the client's own log: while the broker starts, its errors are expected, and the wait has a deadline.
        return AdminClient({"bootstrap.servers": self.brokers, "log_level": 0, "socket.timeout.ms": 5000})


def headers_of(message: Any) -> dict[str, bytes]:
    """Returns a message's headers by name; b"" for a header without a value."""
    return {name: value or b"" for name, value in message.headers() or []}
