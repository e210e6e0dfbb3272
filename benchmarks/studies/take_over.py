"""Measures the first day after a switch-over, when nothing is known of any user, with and without `warm-up`:
`python -m benchmarks.studies.take_over`. Prints a table; with --keep also writes take_over.json and docs/performance.md.

A real Synapse on PostgreSQL, one process, whose accounts are written into its database. In each row other users have their first event:
it changes nothing, or the name, or the name of users who are in rooms, or the avatar to an https image.
"""

import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.report import tables
from benchmarks.studies.audit_pages import write
from benchmarks.studies.image_host import image_host
from dev.identity_events import profile
from dev.processes import wait_until
from dev.running_stack import RunningStack, mxid
from dev.servers.daprd import Tool
from dev.servers.postgres import Postgres
from dev.servers.synapse import SERVER_NAME, Synapse
from dev.stack import Stack
from dev.toolchain import postgres as program

NAME, AVATAR = "Ada Lovelace", f"mxc://{SERVER_NAME}/aaaaaaaaaaaaaaaaaaaaaaaa"  # as audit_pages.py writes them
NEW = "Grace Hopper"
ROOMS = 5  # a user, and in all: each user is in every room
HEAD = ("first event", "accounts", "users/s", "calls a user", "by operation", "rooms a user", "in the rooms after, s")
_RENAMED = f"""
    SELECT count(*) FROM current_state_events c JOIN room_memberships m USING (event_id)
    WHERE c.type = 'm.room.member' AND m.membership = 'join' AND m.display_name = '{NEW}'"""


@dataclass(frozen=True)
class Row:
    """Users of whom each has the same first event."""

    what: str
    name: str = NAME
    avatar: str = AVATAR
    share: int = 1  # how many times fewer users than the other rows
    rooms: bool = False


def asked(server: Postgres, query: str) -> str:
    """Returns what Synapse's database answers."""
    address = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "synapse", "-d", "synapse"]
    command = [str(program("psql")), *address, "-qtAc", query]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def users_of(server: Postgres) -> Iterator[str]:
    """Yields the users in Synapse's database."""
    users = f"SELECT substr(name, 7, 36) FROM users WHERE name LIKE '@nova-%-%-%-%-%:{SERVER_NAME}' ORDER BY name"
    yield from asked(server, users).split()


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


def make_rooms(synapse: Synapse) -> list[str]:
    """Makes public rooms; returns their ids."""
    made = [synapse.admin("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"}) for _ in range(ROOMS)]
    return [one.raise_for_status().json()["room_id"] for one in made]


def join(synapse: Synapse, rooms: list[str], users: list[str]) -> None:
    """Brings each user into every room."""
    for user in users:
        for room in rooms:
            path = f"/_synapse/admin/v1/join/{quote(room)}"
            synapse.admin("POST", path, {"user_id": mxid(user)}).raise_for_status()


def measure(world: RunningStack, users: list[str], row: Row, known: str) -> tuple[str, ...]:
    """Sends each user's first event, and waits until all are done, in the rooms too."""
    synapse, server, before, renamed = world.stack.synapse, world.stack.postgres, calls(world), 0
    if row.rooms:
        join(synapse, make_rooms(synapse), users)
        renamed = int(asked(server, _RENAMED)) + ROOMS * len(users)
    events = [profile(user, row.name, 1, row.avatar) for user in users]
    began = time.monotonic()
    world.send(*events)
    assert wait_until(lambda: world.lag() == 0, 600), "the events are not done"
    ended = time.monotonic()
    made = calls(world) - before
    if row.rooms:
        assert wait_until(lambda: int(asked(server, _RENAMED)) == renamed, 600), "the rooms have not all of the names"
    rooms = (str(ROOMS), f"{time.monotonic() - ended:.1f}") if row.rooms else ("0", "")
    of_users = {operation: count for operation, count in made.items() if operation not in {"probe", "whoami"}}
    shown = ", ".join(f"{operation} {count / len(users):.2f}" for operation, count in of_users.items())
    a_user = f"{sum(of_users.values()) / len(users):.2f}"
    return row.what, known, f"{len(users) / (ended - began):,.0f}", a_user, shown, *rooms


def main(
    accounts: int = 100_000,
    users: int = 1_000,
    keep: Annotated[bool, typer.Option("--keep", help=tables.KEEP)] = False,
) -> None:
    """Measure users' first events, then `warm-up` on all accounts, then first events of other users."""
    rows: list[tuple[str, ...]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        image_host(Path(folder), 0.0) as (origin, authority),
        Stack.on_free_ports(Path(folder), postgres=True) as stack,
    ):
        stack.synapse.stop()
        write(Path(folder), stack.postgres, 0, accounts)
        stack.synapse.start()
        everyone = users_of(stack.postgres)
        more = {"LOG_LEVEL": "INFO", "AVATAR_ALLOWED_HOSTS": origin, "TEST_CDN_CA": str(authority)}
        world = RunningStack(stack, Path(folder) / "function", more, module="tests.integration.programs.with_local_cdn")
        try:
            world.start()
            for known in ("unknown", "learned"):
                if known == "learned":
                    began = time.monotonic()
                    done = Tool(world.environment, "warm-up").run()
                    assert done.returncode == 0, done.stderr
                    print(f"warm-up: {time.monotonic() - began:.1f} s: {done.stdout.strip()}", flush=True)
                for row in (
                    Row("changes nothing"),
                    Row("changes the name", NEW),
                    Row("changes the name", NEW, share=5, rooms=True),
                    Row("changes the avatar, an https image", avatar=f"https://{origin}/face.png"),
                ):
                    chosen = list(islice(everyone, users // row.share))
                    rows.append(measure(world, chosen, row, known))
                    print("  ".join(rows[-1]), flush=True)
        finally:
            world.stop()
    print("\n" + tables.table(HEAD, rows))
    if keep:
        tables.keep("take_over", HEAD, rows)


if __name__ == "__main__":
    typer.run(main)
