"""Measures the function with PostgreSQL at a distance, with one pod and with several:
`python -m benchmarks.studies.distant_store`. Prints a table; with --keep also writes pods.json and docs/performance.md.

A proxy on loopback delays each answer of PostgreSQL. It also counts the round trips: a question after an answer.
"""

import asyncio
import itertools
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import runs
from benchmarks.environment import Bench, bench
from benchmarks.report import tables
from benchmarks.studies.pods import DEPLOYED, Pods, components
from benchmarks.workloads import Workload, make
from dev.processes import free_port
from dev.servers.postgres import Postgres
from dev.toolchain import postgres as program

HEAD = (
    "ms", "pods", "workload", "events/s", "CPU µs: function", "daprd", "round trips an event", "transactions an event", "rolled back",
    "lost, wrong",
)  # fmt: skip


class DelayProxy:
    """Passes connections on to a port of loopback, and holds each answer back.

    Args:
        port: where it listens.
        target: the server's port.
        seconds: how long an answer is held back.
    """

    def __init__(self, port: int, target: int, seconds: float) -> None:
        self.port, self._target, self.seconds = port, target, seconds
        self.round_trips = 0

    async def serve(self) -> None:
        """Serves until it is cancelled."""
        async with await asyncio.start_server(self._connected, "127.0.0.1", self.port) as server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._target)
        answered = True

        async def ask() -> None:
            nonlocal answered
            while data := await reader.read(2**16):
                self.round_trips += answered
                answered = False
                questions.write(data)
            questions.close()

        async def answer() -> None:
            nonlocal answered
            loop = asyncio.get_running_loop()
            while data := await answers.read(2**16):
                answered = True
                loop.call_later(self.seconds, writer.write, data)
            loop.call_later(self.seconds, writer.close)

        await asyncio.gather(ask(), answer(), return_exceptions=True)


@contextmanager
def running(proxy: DelayProxy) -> Iterator[None]:
    """Runs the proxy in a thread."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(proxy.serve())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.gather(task, return_exceptions=True)))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


def transactions(port: int) -> tuple[int, int]:
    """Returns how many transactions of the state store were committed and rolled back so far."""
    asked = "SELECT xact_commit, xact_rollback FROM pg_stat_database WHERE datname = 'state'"
    address = ["-h", "127.0.0.1", "-p", str(port), "-U", "synapse", "-d", "postgres"]
    found = subprocess.run([str(program("psql")), *address, "-Atc", asked], capture_output=True, text=True, check=True)
    committed, rolled_back = found.stdout.strip().split("|")
    return int(committed), int(rolled_back)


def measure(at: Bench, server: Postgres, milliseconds: int, pods: int, kind: str, events: int) -> tuple[str, ...]:
    """Runs one workload with a number of pods, and PostgreSQL so far away."""
    proxy = DelayProxy(free_port(), server.port, milliseconds / 1000)
    resources = components(at.folder, DEPLOYED, server.url("state").replace(str(server.port), str(proxy.port)))
    # Other users in each run: the state store is not emptied.
    workload = make(kind, events, 12, seed=1000 * milliseconds + 10 * pods + len(kind))

    def started(env: dict[str, str], w: Workload = workload) -> Pods:
        return Pods(env, at, w, pods, resources)

    before = transactions(server.port)
    with running(proxy):
        found = runs.backlog(at, started, workload)
    after, judged, total = transactions(server.port), found.judgement, len(workload.everything) + len(workload.primer)
    assert judged
    cpu = [sum(used for name, used in found.cpu.items() if name.startswith(part)) for part in ("function", "daprd")]
    return (
        str(milliseconds), str(pods), kind, f"{found.rate:,.0f}", *(f"{used:.0f}" for used in cpu), f"{proxy.round_trips / total:.2f}",
        f"{(after[0] - before[0]) / total:.2f}", str(after[1] - before[1]), f"{judged.lost}, {judged.wrong}",
    )  # fmt: skip


def main(
    milliseconds: Annotated[str, typer.Option("--ms", help="Distances, separated by commas.")] = "0,1",
    pods: Annotated[str, typer.Option(help="Numbers of pods.")] = "1,2,4",
    kinds: Annotated[str, typer.Option("--workloads", help="Backlogs to consume.")] = "noise known,changes",
    events: int = 20_000,
    keep: Annotated[bool, typer.Option("--keep", help=tables.KEEP)] = False,
) -> None:
    """Run each combination once, and print a row for each."""
    rows: list[tuple[str, ...]] = []
    shapes = itertools.product(*([int(one) for one in given.split(",")] for given in (milliseconds, pods)))
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as at:
        server = Postgres(at.folder, free_port())
        try:
            server.start()
            for (distance, count), kind in itertools.product(shapes, kinds.split(",")):
                number = events if kind != "changes" else events // 4
                rows.append(measure(at, server, distance, count, kind, number))
                print("  ".join(rows[-1]), flush=True)
        finally:
            server.remove()
    print("\n" + tables.table(HEAD, rows))
    if keep:
        tables.keep("pods", HEAD, rows)


if __name__ == "__main__":
    typer.run(main)
