"""Measures scaling with partitions, batch size, components and replicas: `python -m benchmarks.studies.scaling`. Writes growth.json.

On two cores more replicas are no faster; there it shows only that calls, balance and results stay correct.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import typer
import yaml

from benchmarks import runs
from benchmarks.environment import Bench, bench
from benchmarks.homeservers import Homeserver, Progress
from benchmarks.report import tables
from benchmarks.systems import Ours
from benchmarks.workloads import Workload, make
from dev.processes import Server, free_port
from dev.servers.daprd import COMPONENTS
from dev.servers.postgres import Postgres
from function.settings import Settings

Row = dict[str, str | float]

# partitions, batch size, components; the first row is as deployed
SHAPES = (
    (12, 100, 6), (12, 100, 1), (12, 100, 2), (12, 100, 4), (12, 100, 8), (12, 100, 12), (12, 50, 6), (12, 200, 6),
    (12, 500, 6), (1, 100, 6), (64, 100, 6),
)  # fmt: skip
REPLICAS = (1, 2, 4)
DEPLOYED: int = Settings.model_fields["pubsub_components"].default


def components(folder: Path, count: int, postgres: str = "") -> Path:
    """Writes the Dapr resources with `count` pub/sub components, and with a PostgreSQL state store if one is given."""
    target = folder / f"components-{count}{'-postgres' if postgres else ''}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(COMPONENTS, target, ignore=shutil.ignore_patterns("config"))
    pubsub = yaml.safe_load((target / "pubsub.yaml").read_text())
    resiliency = yaml.safe_load((target / "resiliency.yaml").read_text())
    policy = resiliency["spec"]["targets"]["components"]["pubsub"]
    inbound = resiliency["spec"]["targets"]["components"] = {"pubsub": policy}
    (target / "pubsub-more.yaml").unlink()
    for number in range(2, count + 1):
        name = f"pubsub-{number}"
        pubsub["metadata"]["name"], inbound[name] = name, policy
        (target / f"{name}.yaml").write_text(yaml.safe_dump(pubsub))
    (target / "resiliency.yaml").write_text(yaml.safe_dump(resiliency))
    if postgres:
        store = yaml.safe_load((target / "statestore.yaml").read_text())
        prefix = [one for one in store["spec"]["metadata"] if one["name"] == "keyPrefix"]
        metadata = [{"name": "connectionString", "value": postgres}, *prefix]
        store["spec"] = {"type": "state.postgresql", "version": "v2", "metadata": metadata}
        (target / "statestore.yaml").write_text(yaml.safe_dump(store))
    return target


def shapes(at: Bench, events: int) -> list[Row]:
    """Measures one replica with different numbers of partitions, batch sizes and numbers of components."""
    rows: list[Row] = []
    for partitions, batch, count in SHAPES:
        row: Row = {"partitions": str(partitions), "batch": str(batch), "components": str(count), "replicas": "1"}
        for name in ("noise known", "changes"):
            workload = make(name, events if name != "changes" else events // 4, partitions)
            command = [sys.executable, "-m", "benchmarks.studies.batch_size", str(batch)]
            with_these = components(at.folder, count)
            members = {"PUBSUB_COMPONENTS": str(count)}

            def started(env: dict[str, str], w: Workload = workload, c: Path = with_these,
                        words: list[str] = command, more: dict[str, str] = members) -> Ours:  # fmt: skip
                return Ours(env | more, at.folder, w, components=c, command=words)

            found = runs.backlog(at, started, workload, partitions=partitions)
            row |= _row(name, found)
        rows.append(row)
        print(row, flush=True)
    return rows


class Replicas:
    """Several pods of the function on one topic, with one PostgreSQL."""

    remembers = applies = True

    def __init__(self, env: Mapping[str, str], at: Bench, workload: Workload, count: int, resources: Path) -> None:
        self.at, self.balance = at, ""
        self._pods = []
        for number in range(count):
            ports = {name: str(free_port()) for name in ("APP_PORT", "DAPR_HTTP_PORT", "DAPR_GRPC_PORT")}
            folder = at.folder / f"pod-{number}"
            self._pods.append(Ours(dict(env) | ports, folder, workload, components=resources))

    def start(self) -> None:
        """Starts all at once: a small backlog would be consumed before the last of a sequence has joined."""
        with ThreadPoolExecutor(len(self._pods)) as pool:
            for started in [pool.submit(pod.start) for pod in self._pods]:
                started.result()

    resume = start

    def stop(self) -> None:
        for pod in self._pods:
            pod.stop()

    pause = stop

    def servers(self) -> Mapping[str, Server]:
        return {f"{name} {n}": one for n, pod in enumerate(self._pods) for name, one in pod.servers().items()}

    def progress(self, homeserver: Homeserver) -> Progress:
        if len(self.balance.split(" + ")) < len(self._pods) or not self.balance:
            self.balance = self.at.balance()
        return homeserver.progress()


def replicas(at: Bench, events: int) -> list[Row]:
    """Measures several replicas on twelve partitions."""
    rows: list[Row] = []
    postgres = Postgres(at.folder, free_port())
    try:
        postgres.start()
        resources = components(at.folder, DEPLOYED, postgres.url("state"))
        for count in REPLICAS:
            row: Row = {
                "partitions": "12",
                "batch": "100",
                "components": str(DEPLOYED),
                "replicas": f"{count} (PostgreSQL)",
            }
            for name in ("noise known", "changes"):
                # Other users in each run: the state store is not emptied.
                workload = make(
                    name, events if name != "changes" else events // 4, 12, seed=10 * count + (name == "changes")
                )
                made: list[Replicas] = []

                def started(env: dict[str, str], w: Workload = workload, n: int = count,
                            into: list[Replicas] = made) -> Replicas:  # fmt: skip
                    into.append(Replicas(env, at, w, n, resources))
                    return into[0]

                row |= _row(name, runs.backlog(at, started, workload))
                row["partitions a member"] = made[0].balance
            rows.append(row)
            print(row, flush=True)
    finally:
        postgres.remove()
    return rows


def _row(name: str, found: runs.Measured) -> Row:
    judged = found.judgement
    assert judged
    assert judged.clean, f"{name}: {judged}"
    return {f"{name}: events/s": found.rate, f"{name}: calls/event": found.calls / found.events}


def main(events: int = 20_000) -> None:
    """Run every shape once, and write the table."""
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as at:
        rows = [one | {"partitions a member": ""} for one in shapes(at, events)] + replicas(at, events)
    tables.GROWTH.write_text(json.dumps(rows, indent=1) + "\n")
    tables.write_pages(tables.load())


if __name__ == "__main__":
    typer.run(main)
