"""Runs the jobs by which MAS tells Synapse of a change later: deactivations, locks, and the devices of a user.

A test can hold the queue, set its delay, or let every job fail for good. Jobs of one user run at the same time."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from dev.servers.mas_stand_in.homeserver import Homeserver, HomeserverError
from dev.servers.mas_stand_in.state import State, User

JobKind = Literal["deactivate-user", "provision-user", "sync-devices"]
ATTEMPTS = 10


@dataclass
class Job:
    kind: JobKind
    user_id: str
    localpart: str
    erase: bool = False
    tries: int = 0
    state: Literal["waiting", "done", "failed"] = "waiting"
    last_error: str = ""


@dataclass
class Pace:
    """How the queue works.

    Args:
        delay: seconds from a call to its job.
        retry: seconds to the second attempt; each further wait is twice as long. MAS itself waits 5 s.
        held: no job begins.
        failing: each job ends as failed, without a call to Synapse.
    """

    delay: float = 0.1
    retry: float = 0.2
    held: bool = False
    failing: bool = False


@dataclass
class Jobs:
    """The queue."""

    state: State
    homeserver: Homeserver
    pace: Pace = field(default_factory=Pace)
    queued: list[Job] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def add(self, kind: JobKind, user: User, *, erase: bool = False) -> None:
        job = Job(kind, user.id, user.username, erase)
        self.queued.append(job)
        self._begin(job)

    def go_on(self) -> None:
        """Takes up the jobs that an earlier run has left."""
        for job in self.queued:
            if job.state == "waiting":
                self._begin(job)

    def change(self, pace: Pace) -> None:
        self.pace = pace
        self._changed.set()
        self._changed = asyncio.Event()

    async def stop(self) -> None:
        """Ends what is queued, without doing it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job) -> None:
        await asyncio.sleep(self.pace.delay)  # MAS's own pauses, which tests choose
        while job.state == "waiting":
            while self.pace.held:
                await self._changed.wait()
            await self._try(job)
            if job.state == "waiting":
                await asyncio.sleep(self.pace.retry * 2 ** (job.tries - 1))  # likewise

    async def _try(self, job: Job) -> None:
        job.tries += 1
        try:
            await self._do(job)
            job.state = "done"
        except HomeserverError as error:
            job.last_error = str(error)
            job.state = "failed" if self.pace.failing or job.tries == ATTEMPTS else "waiting"

    async def _do(self, job: Job) -> None:
        user = self.state.users.get(job.user_id)
        if job.kind == "deactivate-user":
            for session in self.state.active(job.user_id):
                self.state.finish(session)
            await self._tell("delete_user", {"localpart": job.localpart, "erase": job.erase})
        elif job.kind == "provision-user" and user:
            await self._tell("provision_user", {"localpart": job.localpart, "locked": user.locked_at is not None})
            self.add("sync-devices", user)
        elif job.kind == "sync-devices":
            devices = self.state.devices(job.user_id)
            await self._tell("sync_devices", {"localpart": job.localpart, "devices": devices})

    async def _tell(self, operation: str, body: dict[str, object]) -> None:
        if self.pace.failing:
            raise HomeserverError("the job is made to fail")
        await self.homeserver.tell(operation, body)
