"""Several pods of the function, and Dapr resources with a number of pub/sub components, for the studies. Measures nothing itself."""

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.environment import Bench
from benchmarks.homeservers import Homeserver, Progress
from benchmarks.systems import Ours
from benchmarks.workloads import Workload
from dev.processes import Server, free_port
from dev.servers.daprd import COMPONENTS
from function.settings import Settings

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


class Pods:
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
