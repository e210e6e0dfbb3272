"""Measures memory and time of `audit` for many accounts on a real Synapse: `python -m benchmarks.studies.audit`.

Writes the accounts into Synapse's database, since creating them one by one would take half an hour. Two in a hundred are
deactivated; one in a thousand has another name than its stored state.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import typer
from dapr.aio.clients import DaprClient
from dapr.conf import settings as dapr_settings

from dev.identity_events import START, new_user
from dev.running_stack import RunningStack, mxid
from dev.servers.synapse import ADMIN_ID
from dev.stack import Stack
from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.dapr.state_store import StateStore
from function.homeserver.account import Account

AVATAR = "mxc://staging.nova.app/" + "a" * 24
CHUNK = 1_000


def make(world: RunningStack, count: int) -> list[str]:
    """Creates accounts and their stored state; returns the users."""
    users = [new_user() for _ in range(count)]
    world.stack.synapse.stop()
    database = sqlite3.connect(world.stack.folder / "synapse" / "homeserver.db")
    with database:
        database.executemany(
            "INSERT INTO users (name, creation_ts, admin, is_guest, deactivated, shadow_banned, approved, locked, suspended)"
            " VALUES (?, ?, 0, 0, ?, 0, 1, 0, 0)",
            ((mxid(user), 1_700_000_000 + number, int(number % 100 < 2)) for number, user in enumerate(users)),
        )
        database.execute(  # once: the image of all
            "INSERT OR IGNORE INTO local_media_repository (media_id, media_type, media_length, created_ts, user_id)"
            " VALUES (?, 'image/png', 1000, 1700000000000, ?)", (AVATAR.rpartition("/")[2], ADMIN_ID),
        )  # fmt: skip
        database.executemany(
            "INSERT INTO profiles (user_id, full_user_id, displayname, avatar_url) VALUES (?, ?, ?, ?)",
            (
                (f"nova-{user}", mxid(user), "Mallory" if number % 1000 == 555 else "Ada Lovelace", AVATAR)
                for number, user in enumerate(users)
            ),
        )
    database.close()
    world.stack.synapse.start()
    asyncio.run(remember(world, users))
    return users


async def remember(world: RunningStack, users: list[str]) -> None:
    dapr_settings.DAPR_API_TOKEN = world.environment["DAPR_API_TOKEN"]  # type: ignore[attr-defined]
    dapr_settings.DAPR_HTTP_PORT = int(world.environment["DAPR_HTTP_PORT"])  # type: ignore[attr-defined]
    known = Account(display_name="Ada Lovelace", avatar=AVATAR)
    record = UserState(Status.ACTIVE, START, "Ada Lovelace", AVATAR, known, START, seen_at=START, written_at=START)
    ended = UserState(Status.DEACTIVATED, START, "Ada Lovelace", AVATAR, known, START, seen_at=START, written_at=START)
    async with DaprClient(f"127.0.0.1:{world.environment['DAPR_GRPC_PORT']}") as client:
        state = UserStore(StateStore(client, "statestore"))
        for first in range(0, len(users), CHUNK):
            chunk = enumerate(users[first : first + CHUNK], first)
            await state.write({user: Versioned(ended if number % 100 < 2 else record) for number, user in chunk})


def measure(world: RunningStack, *options: str) -> None:
    """Runs one audit and prints its time, its own and Synapse's processor time, its peak memory and its summary."""
    synapse = [psutil.Process(pid) for pid in world.stack.synapse.server.pids()]
    before, began = used(synapse), time.monotonic()
    command = [sys.executable, "-m", "function", "audit", "--json", *options]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=os.environ | world.environment, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        output.seek(0)
        summary = json.loads(output.read().splitlines()[-1])["summary"]
    assert process.returncode in {0, 1}, process.returncode
    print(f"{summary['accounts']:>7} accounts {' '.join(options)}: {seconds:.1f} s, processor {usage.ru_utime + usage.ru_stime:.1f} s, "
          f"Synapse's {used(synapse) - before:.1f} s, {usage.ru_maxrss / 1024:.0f} MB at most: {json.dumps(summary)}",
          flush=True)  # fmt: skip


def used(processes: list[psutil.Process]) -> float:
    """Returns the processor time that the processes have used, which other work on the machine changes little."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main(accounts: int = 20_000) -> None:
    """Audit a hundredth of the accounts, then all of them; repair the drift; audit again."""
    with tempfile.TemporaryDirectory() as folder, Stack.on_free_ports(Path(folder)) as stack:
        world = RunningStack(stack, Path(folder) / "function", {"LOG_LEVEL": "INFO"})
        lists_only = ["--no-rooms", "--no-avatars"]
        try:
            world.start()
            users, listed = list[str](), Path(folder) / "users"
            for count in (accounts // 100, accounts - accounts // 100):
                users += make(world, count)
                listed.write_text("".join(f"{user}\n" for user in users))
                for options in (lists_only, ["--users", str(listed), *lists_only], []):
                    measure(world, *options)
            for options in (["--repair", "--yes", "--rate", "0", "--max-repairs", "0", *lists_only], lists_only):
                measure(world, *options)
        finally:
            world.stop()


if __name__ == "__main__":
    typer.run(main)
