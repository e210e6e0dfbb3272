"""Limits how many accounts are deactivated per hour, over all pods and restarts.

A faulty bulk job upstream must not empty the homeserver. The state store counts permits by the minute in which they were
taken, under one key. A pod takes a block of permits with one write, hands them out from memory, and gives back what it did
not use. What a killed pod held counts as used until its hour is over. Does not decide what happens to a refused deletion.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from function.clock import Clock
from function.dapr.state_store import StateStore
from function.outcomes import Reason, TryAgain
from function.processing.deletion_counts import SETTLED, USABLE, Count, Counts, dump, free_again, load, taken, undecided

KEY = "deletion-limit"
BLOCKS = 20  # parts of the limit that one write takes
NEARLY = 4  # a block is at most this part of what is left, so that the last permits are not held by idle pods
ATTEMPTS = 10  # against other pods that take a block at the same time
WAIT_SECONDS = 5.0  # for deletions of this process that may give their permit back
WATCH_SECONDS = 30.0


@dataclass(slots=True)
class _Block:
    """The permits that this process took in one minute and has not accounted for in the state store."""

    free: int = 0
    out: int = 0  # handed out; whether an account was deactivated is not known yet
    ended: int = 0  # an account was deactivated


class DeletionLimit:
    """A moving window over the accounts deactivated in the last hour, shared by every process on one state store.

    A permit from `try_acquire` is settled by `confirm` or `release`. The window is an hour and up to four minutes long: a
    permit is used within two minutes after it was taken, and its deletion has ended two minutes later.

    Args:
        state: the state store; if it is read-only, as in a dry run, the limit holds for this process only.
        limit: accounts per hour; 0 for no limit.
        clock: gives the time in UTC.
    """

    def __init__(self, state: StateStore, limit: int, clock: Clock) -> None:
        self._state, self._limit, self._clock = state, limit, clock
        self._blocks: dict[int, _Block] = {}  # by minute
        self._exchanging = asyncio.Lock()
        self._settled = asyncio.Event()
        self._kept = b""  # in place of the stored value if the store is read-only
        self._scarce = False  # whether less than a quarter of the limit was left at the last exchange
        self._unsettled = 0  # permits in flight for so long that they count as used
        self._none_left_at = self._ask_again_at = self._exhausted_until = 0  # minutes

    @property
    def exhausted(self) -> bool:
        """Whether deletions were refused and the window has not moved on since. Causes no store access."""
        return self._minute() < self._exhausted_until

    async def try_acquire(self, *, wait: bool = True) -> bool | None:
        """Takes a permit for one deletion and returns True, or returns False if the limit is reached.

        While deletions of this process that may give their permit back hold what is left, it waits for them to be settled;
        without `wait` it returns None instead.

        Raises:
            TryAgain: the state store is unavailable or its count unreadable, or what is left of the limit is held by
                deletions that are not settled yet.
        """
        if not self._limit:
            return True
        while True:
            async with self._exchanging:  # one exchange at a time; the others then find a block
                decided = await self._decide()
            if decided is not None or not wait:
                return decided
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), WAIT_SECONDS)
                continue
            raise TryAgain(Reason.DELETION_LIMIT_PENDING, "deletions in flight hold the rest of the limit")

    def release(self) -> None:
        """Gives back a permit whose deletion deactivated no account."""
        if self._unsettled:
            self._unsettled -= 1
        elif block := self._handed_out(oldest=True):
            block.out -= 1
            block.free += 1
        self._settled.set()

    def confirm(self) -> None:
        """Settles a permit whose deletion deactivated an account, or may have."""
        if block := self._handed_out(oldest=False):
            block.out -= 1
            block.ended += 1
        self._settled.set()

    async def watch(self) -> None:
        """Accounts for idle permits in a loop. What fails is repeated in the next round."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with contextlib.suppress(TryAgain):
                await self.give_back_unused()

    async def give_back_unused(self) -> None:
        """Gives back the permits that are too old to be used; near the limit, where other pods wait for them, all.

        Also tells which permits were used. One write, or none if there is nothing to tell. Raises TryAgain.
        """
        async with self._exchanging:
            self._forget_settled()
            if self._scarce:
                to_tell = any(block.free or block.ended for block in self._blocks.values())
            else:
                to_tell = any(self._minute() - at >= USABLE for at in self._blocks)
            if to_tell:
                await self._exchange(take=False, give_back_all=self._scarce)

    async def close(self) -> None:
        """Gives back every permit that was not handed out. If the store is unavailable, they count as used."""
        async with self._exchanging:
            if self._blocks:
                with contextlib.suppress(TryAgain):
                    await self._exchange(take=False, give_back_all=True)

    async def _decide(self) -> bool | None:
        """Returns what `try_acquire` returns, or None if a deletion of this process may give its permit back."""
        self._forget_settled()
        if self._hand_out():
            return True
        minute = self._minute()
        if minute < self._ask_again_at:
            return False
        if self._none_left_at == minute and self._in_flight():  # spares each waiting deletion a read
            self._settled.clear()
            return None
        counts = await self._exchange(take=True)
        while not (acquired := self._hand_out()) and any(block.ended for block in self._blocks.values()):
            counts = await self._exchange(take=True)  # deletions were confirmed during the exchange
        return acquired or self._refuse(counts, minute)

    def _refuse(self, counts: Counts, minute: int) -> bool | None:
        """Returns False if the limit is reached, or None if a deletion of this process may give its permit back."""
        if taken(counts) < self._limit:  # the block is too old to be used
            raise TryAgain(Reason.DELETION_LIMIT_PENDING, "the state store took over a minute")
        self._none_left_at = minute
        if not undecided(counts, minute):
            self._exhausted_until = free_again(counts, self._limit)
            self._ask_again_at = min(self._exhausted_until, minute + 1)
            return False
        if not self._in_flight():
            raise TryAgain(Reason.DELETION_LIMIT_PENDING, "other pods hold the rest of the limit")
        self._settled.clear()
        return None

    async def _exchange(self, *, take: bool, give_back_all: bool = False) -> Counts:
        """Accounts for this process's permits in the store, takes a block if `take`, and returns the stored counts.

        One compare-and-swap, which starts over after a conflict. Writes nothing if nothing changes. Raises TryAgain.
        """
        counts: Counts = {}
        sent: dict[int, _Block] = {}
        minute = block_size = 0

        def change(value: bytes) -> bytes:
            nonlocal counts, sent, minute, block_size
            self._add(sent)  # an attempt before met a conflict: nothing of it was written
            minute = self._minute()
            counts = load(value, minute)
            sent = self._take_out(minute, give_back_all=give_back_all)
            for at, block in sent.items():
                if found := counts.get(at):  # it is gone if the key was deleted in between
                    counts[at] = Count(max(0, found.taken - block.free), found.ended + block.ended)
            block_size = self._block_size(counts) if take else 0
            if block_size:
                found = counts.get(minute, Count())
                counts[minute] = Count(found.taken + block_size, found.ended)
            return dump(counts) if value or counts else b""

        if self._state.read_only:
            self._kept = change(self._kept)
        else:
            await self._state.update(KEY, change, ATTEMPTS)
        self._scarce = self._limit - taken(counts) < self._limit // NEARLY
        if block_size:
            self._add({minute: _Block(free=block_size)})
            self._exhausted_until = 0
        return counts

    def _take_out(self, minute: int, *, give_back_all: bool) -> dict[int, _Block]:
        """Takes the permits to account for out of this process's memory, before they are sent to the store.

        If the answer is lost, they must not be given back a second time: they then count as used.
        """
        sent = {}
        for at, block in self._blocks.items():
            free = block.free if give_back_all or minute - at >= USABLE else 0
            sent[at] = _Block(free=free, ended=block.ended)
            block.free, block.ended = block.free - free, 0
        return sent

    def _add(self, permits: dict[int, _Block]) -> None:
        for at, added in permits.items():
            block = self._blocks.setdefault(at, _Block())
            block.free, block.ended = block.free + added.free, block.ended + added.ended

    def _block_size(self, counts: Counts) -> int:
        left = self._limit - taken(counts)
        return max(1, min(self._limit // BLOCKS, left // NEARLY)) if left > 0 else 0

    def _hand_out(self) -> bool:
        minute = self._minute()
        for at, block in self._blocks.items():
            if block.free and minute - at < USABLE:
                block.free -= 1
                block.out += 1
                return True
        return False

    def _handed_out(self, *, oldest: bool) -> _Block | None:
        """Returns a block with a permit in flight. Permits are not told apart: what is given back counts as the oldest.

        So the permits that stay in the store never leave the window before the deletions that used them.
        """
        minutes = [at for at, block in self._blocks.items() if block.out]
        return self._blocks[min(minutes) if oldest else max(minutes)] if minutes else None

    def _in_flight(self) -> bool:
        return any(block.out for block in self._blocks.values())

    def _forget_settled(self) -> None:
        """Forgets permits that the store counts as used because of their age, and empty blocks."""
        for at, block in list(self._blocks.items()):
            if self._minute() - at >= SETTLED:
                self._unsettled += block.out
                block.out = block.ended = 0
            if not (block.free or block.out or block.ended):
                del self._blocks[at]

    def _minute(self) -> int:
        return int(self._clock().timestamp() // 60)
