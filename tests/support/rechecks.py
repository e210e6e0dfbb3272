"""A pod with a recheck queue and its loop, whose checks a test answers."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from function.accounts.departures import Departures
from function.accounts.recheck_loop import Checked, RecheckLoop
from function.accounts.recheck_queue import RecheckQueue
from tests.support.fake_dapr import FakeStateStore
from tests.support.harness import Clock

MINUTE = timedelta(minutes=1)


class Pod:
    """A loop whose checks are recorded.

    Switches:
        answers: what the check of a user returns or raises; SETTLED if nothing is said.
        removing: users for whom long work runs.
        during: called in the check of a user.
    """

    def __init__(self, state: FakeStateStore | None = None, clock: Clock | None = None) -> None:
        self.state, self.clock = state or FakeStateStore(), clock or Clock()
        self.queue = RecheckQueue(self.state, self.clock)
        self.answers: dict[str, Checked | Exception] = {}
        self.removing: set[str] = set()
        self.during: dict[str, Callable[[], None]] = {}
        self.checked: list[str] = []
        self.sizes: list[int] = []  # of the queue, as they were told
        self.checked_one = asyncio.Event()
        self.running = self.most = 0
        self.loop = RecheckLoop(
            self.queue, self._check, self._removes, self.clock, Departures(self.state), self.sizes.append
        )

    async def add(self, *user_ids: str, after: timedelta = MINUTE) -> None:
        await self.queue.add(dict.fromkeys(user_ids, self.clock.now + after))

    async def run(self, minutes: float) -> list[str]:
        """Runs rounds every two seconds for a time; returns the users that were checked."""
        self.checked.clear()
        for _ in range(int(minutes * 30)):
            self.clock.now += timedelta(seconds=2)
            await self.loop.run_due()
        return sorted(self.checked)

    async def _removes(self, user_id: str) -> bool:
        return user_id in self.removing

    async def _check(self, user_id: str) -> Checked:
        self.checked.append(user_id)
        self.checked_one.set()
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        self.during.get(user_id, lambda: None)()
        answer = self.answers.get(user_id, Checked.SETTLED)
        if isinstance(answer, Exception):
            raise answer
        return answer
