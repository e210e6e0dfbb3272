"""Measures the first day after a switch-over, when nothing is known of any user, with and without `warm-up`:
`python -m benchmarks.studies.take_over`. Prints a table; with --keep also writes take_over.json and docs/performance.md.

A real Synapse on PostgreSQL, one process, whose accounts are written into its database; no user is in a room. In each row other users
have their first event, which changes nothing or the name.
"""

import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.report import tables
from benchmarks.studies.audit_pages import write
from dev.identity_events import profile
from dev.processes import wait_until
from dev.running_stack import RunningStack
from dev.servers.daprd import Tool
from dev.servers.postgres import Postgres
from dev.servers.synapse import SERVER_NAME
from dev.stack import Stack
from dev.toolchain import postgres as program

NAME, AVATAR = "Ada Lovelace", f"mxc://{SERVER_NAME}/aaaaaaaaaaaaaaaaaaaaaaaa"  # as audit_pages.py writes them
HEAD = ("first event", "accounts", "users/s", "calls a user", "by operation")


def users_of(server: Postgres) -> Iterator[str]:
    """Yields the users in Synapse's database."""
    address = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "synapse", "-d", "synapse"]
    query = f"SELECT substr(name, 7, 36) FROM users WHERE name LIKE '@nova-%-%-%-%-%:{SERVER_NAME}' ORDER BY name"
    found = subprocess.run([str(program("psql")), *address, "-qtAc", query], capture_output=True, text=True, check=True)
    yield from found.stdout.split()


def calls(world: RunningStack) -> Counter[str]:
    """Returns the function's calls that concern a user, by operation."""
    address = f"http://127.0.0.1:{world.environment['APP_PORT']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        families = {one.name: one for one in text_string_to_metric_families(answer.read().decode())}
    found: Counter[str] = Counter()
    for sample in families["matrix_account_sync_synapse_calls"].samples:
        if sample.name.endswith("_total"):
            found[sample.labels["operation"]] += int(sample.value)
    return found


def measure(world: RunningStack, users: list[str], name: str, what: str, known: str) -> tuple[str, ...]:
    """Sends each user's first event, and waits until all are done."""
    before = calls(world)
    events = [profile(user, name, 1, AVATAR) for user in users]
    began = time.monotonic()
    world.send(*events)
    assert wait_until(lambda: world.lag() == 0, 600), "the events are not done"
    seconds = time.monotonic() - began
    made = calls(world) - before
    of_users = {operation: count for operation, count in made.items() if operation not in {"probe", "whoami"}}
    shown = ", ".join(f"{operation} {count / len(users):.2f}" for operation, count in of_users.items())
    return what, known, f"{len(users) / seconds:,.0f}", f"{sum(of_users.values()) / len(users):.2f}", shown


def main(
    accounts: int = 100_000,
    users: int = 1_000,
    keep: Annotated[bool, typer.Option("--keep", help=tables.KEEP)] = False,
) -> None:
    """Measure users' first events, then `warm-up` on all accounts, then first events of other users."""
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder, Stack.on_free_ports(Path(folder), postgres=True) as stack:
        stack.synapse.stop()
        write(Path(folder), stack.postgres, 0, accounts)
        stack.synapse.start()
        everyone = users_of(stack.postgres)
        world = RunningStack(stack, Path(folder) / "function", {"LOG_LEVEL": "INFO"})
        try:
            world.start()
            for known in ("unknown", "learned"):
                if known == "learned":
                    began = time.monotonic()
                    done = Tool(world.environment, "warm-up").run()
                    assert done.returncode == 0, done.stderr
                    print(f"warm-up: {time.monotonic() - began:.1f} s: {done.stdout.strip()}", flush=True)
                for what, name in (("changes nothing", NAME), ("changes the name", "Grace Hopper")):
                    chosen = [next(everyone) for _ in range(users)]
                    rows.append(measure(world, chosen, name, what, known))
                    print("  ".join(rows[-1]), flush=True)
        finally:
            world.stop()
    print("\n" + tables.table(HEAD, rows))
    if keep:
        tables.keep("take_over", HEAD, rows)


if __name__ == "__main__":
    typer.run(main)
