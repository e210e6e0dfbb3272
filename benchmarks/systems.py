"""Starts, pauses and stops the systems that are compared."""

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from benchmarks.expected import fewest_calls
from benchmarks.homeservers import Homeserver, Progress
from benchmarks.workloads import Workload
from dev.processes import Server, listens
from dev.servers.daprd import COMPONENTS, ROOT, FunctionProcess, Sidecar
from dev.toolchain import peers_python

Environment = Mapping[str, str]


class System(Protocol):
    """A system to measure. `remembers`: it writes dead letters. `applies`: it changes accounts."""

    remembers: bool
    applies: bool

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def servers(self) -> Mapping[str, Server]:
        """Returns its processes by role."""

    def progress(self, homeserver: Homeserver) -> Progress: ...


class Ours:
    """The function as deployed, with its sidecar.

    Args:
        components: folder of the Dapr resources.
        command: replaces the function's, to change its constants; empty: as deployed.
    """

    remembers = applies = True

    def __init__(
        self, env: Environment, folder: Path, _workload: Workload, *,
        components: Path = COMPONENTS, command: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._function, self._sidecar = FunctionProcess(env, folder), Sidecar(env, folder, components)
        self._env, self._command = env, command

    def start(self) -> None:
        """Starts both at once, as in a pod."""
        with ThreadPoolExecutor(2) as pool:
            for started in [pool.submit(self._start_function), pool.submit(self._sidecar.start)]:
                started.result()

    def _start_function(self) -> None:
        if not self._command:
            self._function.start()
            return
        own = {name: value for name, value in self._env.items() if not name.startswith("DEV_")}
        self._function.server.start(self._command, env=os.environ | own, cwd=ROOT)
        self._function.server.wait_ready(lambda: self._function.ready() is not None, 60)

    def stop(self) -> None:
        self._sidecar.stop()
        self._function.stop()

    def pause(self) -> None:
        self._sidecar.stop()

    def resume(self) -> None:
        self._sidecar.start()

    def servers(self) -> Mapping[str, Server]:
        return {"function": self._function.server, "daprd": self._sidecar.server}

    def progress(self, homeserver: Homeserver) -> Progress:
        return homeserver.progress()


class Nothing(Ours):
    """daprd that delivers in bulk to an app that does nothing: the upper limit of delivery."""

    remembers = applies = False

    def __init__(self, env: Environment, folder: Path, workload: Workload) -> None:
        super().__init__(env, folder, workload)
        self._app = Server("nothing", folder)
        self._total = len(workload.everything)

    def _start_function(self) -> None:
        command = [sys.executable, "-m", "benchmarks.peers.nothing"]
        self._app.start(command, env=os.environ | dict(self._env), cwd=ROOT)
        self._app.wait_ready(lambda: listens(int(self._env["APP_PORT"])), 20)

    def stop(self) -> None:
        self._sidecar.stop()
        self._app.stop()

    def servers(self) -> Mapping[str, Server]:
        return {"app": self._app, "daprd": self._sidecar.server}

    def progress(self, homeserver: Homeserver) -> Progress:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._env['APP_PORT']}/count", timeout=10) as answer:
            seen = json.load(answer)
        return Progress(int(seen["count"]), seen["first"], seen["last"], seen["count"] >= self._total)


class Peer:
    """A program of benchmarks/peers/, as one process."""

    remembers, applies = False, True
    module = ""

    def __init__(self, env: Environment, folder: Path, workload: Workload) -> None:
        self._env = env
        self.server = Server(self.module.rpartition(".")[2], folder)

    def command(self) -> list[str]:
        return [str(peers_python(print)), "-m", self.module]

    def start(self) -> None:
        self.server.start(self.command(), env=os.environ | dict(self._env), cwd=ROOT)

    def stop(self) -> None:
        self.server.stop()

    pause, resume = stop, start

    def servers(self) -> Mapping[str, Server]:
        return {"peer": self.server}

    def progress(self, homeserver: Homeserver) -> Progress:
        return homeserver.progress()


class Plain(Peer):
    module = "benchmarks.peers.plain"


class Workers(Peer):
    module = "benchmarks.peers.workers"


class Load(Peer):
    """The load generator: makes the calls only, without Kafka."""

    module = "benchmarks.peers.load"

    def __init__(self, env: Environment, folder: Path, workload: Workload) -> None:
        super().__init__(env, folder, workload)
        self._calls = folder / "calls.jsonl"
        self._calls.write_text("".join(json.dumps(calls) + "\n" for calls in fewest_calls(workload)))

    def command(self) -> list[str]:
        return [sys.executable, "-m", self.module, str(self._calls)]


class ClaimedLoad(Load):
    """The load generator that claims and confirms each user in the function's state store, through a sidecar."""

    module = "benchmarks.peers.claimed_load"

    def __init__(self, env: Environment, folder: Path, workload: Workload) -> None:
        super().__init__(env, folder, workload)
        self._sidecar = Sidecar(env, folder)

    def start(self) -> None:
        self._sidecar.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self._sidecar.stop()

    pause, resume = stop, start

    def servers(self) -> Mapping[str, Server]:
        return {**super().servers(), "daprd": self._sidecar.server}


OURS, PLAIN, WORKERS, NOTHING = "ours", "plain consumer", "FastStream, 16 workers", "daprd, no work"
LOAD, CLAIMED = "bare load", "bare load, claims"
MakeSystem = Callable[[Environment, Path, Workload], System]
SYSTEMS: Mapping[str, MakeSystem] = {
    OURS: Ours, PLAIN: Plain, WORKERS: Workers, NOTHING: Nothing, LOAD: Load, CLAIMED: ClaimedLoad,
}  # fmt: skip
