"""Prepares the homeservers of a run, the stub or the real Synapse, and reads the progress of a run from them."""

import asyncio
import http.client
import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

import httpx

from benchmarks.judge import Write
from benchmarks.workloads import Event, State, Workload
from dev.processes import Server, free_port, listens
from dev.servers.daprd import ROOT
from dev.servers.synapse import SERVER_NAME, Synapse

WRITES = frozenset({"displayname", "avatar_url", "deactivate"})


def mxid_of(user_id: str) -> str:
    return f"@nova-{user_id}:{SERVER_NAME}"


def user_of(mxid: str) -> str:
    return mxid.removeprefix("@nova-").partition(":")[0]


@dataclass(frozen=True, slots=True)
class Progress:
    """Calls on users so far, the times of the first and the last (seconds of the monotonic clock), and whether the last
    writes of the run have arrived; `away`: the homeserver refuses connections now."""

    calls: int
    first: float
    last: float
    done: bool
    away: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The state after a run. `arrivals`: when each name was first written; `writes` is None if the homeserver keeps no log of
    them; `corrupted`: ids without an account that were written to."""

    accounts: dict[str, State]
    writes: list[Write] | None
    corrupted: set[str]
    arrivals: dict[tuple[str, str], float]


class Homeserver(Protocol):
    url: str
    token: str

    def prepare(self, workload: Workload, failing: float = 0.0) -> None:
        """Creates the accounts and drops the state of the previous run."""

    def expect(self, ends: Sequence[Event]) -> None:
        """Resets the count of calls; the run is done once these events are written."""

    def progress(self) -> Progress: ...

    def found(self, workload: Workload) -> Found: ...


class StubSynapse:
    """The stub, as a separate process."""

    def __init__(self, folder: Path) -> None:
        self.port, self._control = free_port(), free_port()
        self.url, self.token = f"http://127.0.0.1:{self.port}", "stub-token"
        self.server = Server("stub", folder)

    def start(self) -> None:
        self.server.start(
            [sys.executable, "-m", "benchmarks.stub_synapse.server", str(self.port), str(self._control)], cwd=ROOT
        )
        self.server.wait_ready(lambda: listens(self._control), 20)

    def stop(self) -> None:
        self.server.stop()

    def prepare(self, workload: Workload, failing: float = 0.0) -> None:
        accounts = [[mxid_of(user), state.name, state.avatar] for user, state in workload.accounts.items()]
        self.order("/reset", {"accounts": accounts, "ends": [], "failing": failing})

    def expect(self, ends: Sequence[Event]) -> None:
        self.order("/expect", {"ends": [[mxid_of(event.user_id), event.name] for event in ends]})

    def progress(self) -> Progress:
        told = self.order("/stats")
        done = not told["ends_left"] and not told["in_flight"]
        return Progress(told["calls"], told["first"], told["last"], done, told["away"])

    def leave(self, seconds: float) -> None:
        """Makes the stub refuse connections for some seconds."""
        self.order("/away", {"seconds": seconds})

    def found(self, workload: Workload) -> Found:
        told = self.order("/state")
        accounts = {user_of(account["name"]): _state(account) for account in told["accounts"]}
        writes, arrivals = [], dict[tuple[str, str], float]()
        for arrived, what, mxid, value, status in told["log"]:
            if what == "displayname":
                arrivals.setdefault((user_of(mxid), value), arrived)
            # A write that is answered 429 is applied nevertheless.
            if what in WRITES and status in {200, 429}:
                writes.append(Write(what, user_of(mxid), value))
        return Found(accounts, writes, {user_of(mxid) for mxid in told["corrupted"]}, arrivals)

    def order(self, target: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=60)
        connection.request("POST", target, json.dumps(body or {}))
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return answer


class RealSynapse:
    """The real Synapse. The progress of a run is read from its log, which puts no load on it."""

    _LINE = re.compile(r'^(\S+ \S+?),(\d+) .*Processed request: .* "(\w+) (\S+) HTTP')
    _CALL = re.compile(r"/(?:users|deactivate|profile)/@nova-([0-9a-f-]{36}):[^/?]+(?:/(displayname|avatar_url))?")

    def __init__(self, synapse: Synapse) -> None:
        self.url, self.token = synapse.url, synapse.token
        self._log, self._offset = synapse.server.log, 0
        self._ends: set[str] = set()
        self._times: list[float] = []

    def prepare(self, workload: Workload, failing: float = 0.0) -> None:
        assert not failing, "the real Synapse cannot be made to fail"
        asyncio.run(self._create(workload))

    def expect(self, ends: Sequence[Event]) -> None:
        self._ends = {event.user_id for event in ends}
        self._offset, self._times = self._log.stat().st_size, []

    def progress(self) -> Progress:
        with self._log.open("rb") as log:
            log.seek(self._offset)
            lines = log.readlines()
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        self._offset += sum(map(len, lines))
        wall = time.time() - time.monotonic()  # all other times are those of the monotonic clock
        for line in lines:
            if not (match := self._LINE.match(line.decode(errors="replace"))):
                continue
            if call := self._CALL.search(unquote(match[4])):
                logged = datetime.fromisoformat(match[1]).timestamp() + int(match[2]) / 1000
                self._times.append(logged - wall)
                if call[2] == "avatar_url":  # written last
                    self._ends.discard(call[1])
        first, last = (self._times[0], self._times[-1]) if self._times else (0.0, 0.0)
        return Progress(len(self._times), first, last, not self._ends)

    def found(self, workload: Workload) -> Found:
        users = {event.user_id for event in workload.everything} | set(workload.accounts)
        accounts = asyncio.run(self._states(users))
        return Found(accounts, None, set(), {})

    async def _create(self, workload: Workload) -> None:
        async def create(http: httpx.AsyncClient, user: str, state: State) -> None:
            body = {"displayname": state.name, "avatar_url": state.avatar}
            (await http.put(_admin_path(user), json=body)).raise_for_status()

        async with self._client() as http:
            await _sixteen(create(http, user, state) for user, state in workload.accounts.items())

    async def _states(self, users: Iterable[str]) -> dict[str, State]:
        found: dict[str, State] = {}

        async def look(http: httpx.AsyncClient, user: str) -> None:
            answer = await http.get(_admin_path(user))
            if answer.status_code == 200:
                found[user] = _state(answer.json())

        async with self._client() as http:
            await _sixteen(look(http, user) for user in users)
        return found

    def _client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)


def _admin_path(user: str) -> str:
    return f"/_synapse/admin/v2/users/{quote(mxid_of(user))}"


def _state(account: dict[str, Any]) -> State:
    name, avatar = account["displayname"] or "", account["avatar_url"] or ""
    return State(name, avatar, bool(account["deactivated"]), bool(account["erased"]))


async def _sixteen(work: Iterable[Any]) -> None:
    """Awaits all of the work, 16 at a time."""
    turn = asyncio.Semaphore(16)

    async def one(deed: Any) -> None:
        async with turn:
            await deed

    await asyncio.gather(*map(one, work))
