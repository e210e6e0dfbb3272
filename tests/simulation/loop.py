"""An event loop in virtual time: when nothing is ready, its clock jumps to the next timer. No run waits in real time.

Each callback belongs to the simulated process in whose context it was scheduled. Callbacks of one process run in asyncio's
order, those of different processes in an order that the seed decides. A frozen process runs nothing until it is woken.
"""

import asyncio
import heapq
import random
from collections.abc import Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Process:
    """One simulated process. `slot` is the place of its pod in the deployment; a restart makes a new process."""

    slot: int
    number: int
    frozen: bool = False
    dead: bool = False
    doomed: bool = False  # dies before its next write to the state store
    held: list[asyncio.Handle] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def context(self) -> Context:
        """Returns a context whose callbacks belong to this process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return context


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class NoProgress(Exception):
    """The run does not end: it took more steps than any run of its size needs, or nothing is left that could run."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks and timers without a selector.

    Args:
        seed: decides the order among callbacks of different processes and among timers of one moment.
        max_steps: number of callbacks after which the run counts as a livelock.
    """

    def __init__(self, seed: int, max_steps: int) -> None:
        super().__init__()
        self.steps = self.tasks_made = 0
        self._now = 0.0
        self._random = random.Random(seed)
        self.max_steps = max_steps
        self._timers: list[tuple[float, float, int, asyncio.TimerHandle]] = []
        self._pushed = 0
        self.set_task_factory(_owned)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._pushed += 1
        heapq.heappush(self._timers, (when, self._random.random(), self._pushed, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Does nothing: a cancelled timer is dropped when its time comes."""

    def _run_once(self) -> None:
        timers, ready = self._timers, self._ready  # type: ignore[attr-defined]
        while timers and timers[0][3].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not timers:
                raise NoProgress("nothing is left to run")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[3])
        batch = list(ready)
        ready.clear()
        self.steps += len(batch)
        if self.steps > self.max_steps:
            raise NoProgress(f"over {self.max_steps} steps")
        for handle in self._interleaved(batch) if len(batch) > 1 else batch:
            if handle.cancelled():
                continue
            process = _owner(handle)
            if process is not None and process.frozen:
                process.held.append(handle)
            else:
                handle._run()

    def _interleaved(self, batch: list[asyncio.Handle]) -> list[asyncio.Handle]:
        """Merges the processes' callbacks in a random order that keeps each process's own order."""
        owners: list[Process | None] = [_owner(handle) for handle in batch]
        if len(set(map(id, owners))) == 1:
            return batch
        queues: dict[Process | None, list[asyncio.Handle]] = {}
        for owner, handle in zip(owners, batch, strict=True):
            queues.setdefault(owner, []).append(handle)
        self._random.shuffle(owners)
        for queue in queues.values():
            queue.reverse()
        return [queues[owner].pop() for owner in owners]

    def freeze(self, process: Process, seconds: float) -> None:
        """Stops a process for a time; what it has sent goes on."""
        if not process.frozen and not process.dead:
            process.frozen = True
            self.call_later(seconds, self.wake, process, context=Context())

    def wake(self, process: Process) -> None:
        """Lets a frozen process go on: everything that became due runs at once."""
        if process.frozen:
            process.frozen = False
            self._ready.extend(process.held)  # type: ignore[attr-defined]
            process.held.clear()

    def kill(self, process: Process) -> None:
        """Ends a process. Its tasks unwind without effect: the store and Synapse refuse a dead process."""
        process.dead = True
        self.wake(process)
        for task in process.tasks:
            task.cancel()
        process.tasks.clear()


class _Task(asyncio.Task[Any]):
    """A task whose place in a set depends on the order of creation, not on its address: a seed always runs the same."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: Any, context: Context | None) -> None:
        loop.tasks_made += 1
        self._number: int = loop.tasks_made
        super().__init__(coro, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._number


def _owner(handle: Any) -> Process | None:
    """Returns the process that a callback belongs to."""
    owner: Process | None = handle._context.get(PROCESS)
    return owner


def _owned(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], context: Context | None = None) -> Any:
    """Creates a task and notes it in its process, so that a kill finds it."""
    task = _Task(coro, loop=loop, context=context)
    owner = (context.get(PROCESS) if context is not None else None) or PROCESS.get()
    if owner is not None and not owner.dead:
        owner.tasks.append(task)
    elif owner is not None:
        task.cancel()
    return task
