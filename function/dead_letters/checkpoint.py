"""The replay checkpoint: how far the dead letters have been processed and which replay holds the lease, as one record in
the state store.

A replay writes it after each batch that it has published. So `dead-letters` knows what is still there without joining the
replay's consumer group, a killed replay is resumed by the next, and of two replays at once the second is refused. The
ETag guards the record: a replay that lost its lease can't advance the checkpoint.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from function.clock import Clock, utc_now
from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.state_store import Conflict, StateStore
from function.outcomes import Reason, TryAgain

KEY = "dead-letters"
SCHEMA = 1
LEASE = timedelta(seconds=30)


class Busy(Exception):
    """Another replay holds the lease; `until` is when the lease expires unless it is renewed."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until


@dataclass(frozen=True, slots=True)
class Place:
    """Position in a partition: records before `offset` are done; the newest of them was written at `time` (milliseconds
    since 1970). A record with a smaller offset and a later time belongs to a topic that was deleted and created again."""

    offset: int
    time: int


class ReplayCheckpoint:
    """Reads and writes the checkpoint for one run of a command.

    Args:
        state: the state store.
        run: id of this run.
        lease: how long the lease of a killed replay blocks the next one.
        clock: returns the time in UTC.
        poll: seconds between checks of another replay's lease.
    """

    def __init__(
        self, state: StateStore, run: str, lease: timedelta = LEASE, *,
        clock: Clock = utc_now, poll: float = 1.0,
    ) -> None:  # fmt: skip
        self.lease, self._poll = lease, poll
        self._state, self._run, self._clock = state, run, clock
        self._places: dict[str, Place] = {}
        self._owner, self._until, self._etag = "", datetime.min.replace(tzinfo=UTC), ""
        self._write_lock = asyncio.Lock()

    async def read(self) -> None:
        """Loads the record. Raises TryAgain."""
        value, self._etag = (await self._state.read_values([KEY]))[KEY]
        if not value:
            return
        found = json.loads(value)
        if found.get("schema") != SCHEMA:
            raise TryAgain(Reason.STATE_UNAVAILABLE, f"the record {KEY} has an unknown schema version")
        self._places = {partition: Place(*place) for partition, place in found["places"].items()}
        self._owner, self._until = found["run"], datetime.fromisoformat(found["until"])

    def is_done(self, record: KafkaRecord) -> bool:
        """Returns whether the record has been replayed or put back."""
        place = self._places.get(record.dapr_metadata("partition"))
        return place is not None and int(record.dapr_metadata("offset")) < place.offset and _time(record) <= place.time

    async def acquire_lease(self) -> None:
        """Takes the lease; waits until a lease that is not renewed has expired. Raises Busy, TryAgain."""
        await self.read()
        first = self._until
        while self._owner and self._clock() < self._until:
            if self._until != first:
                raise Busy(self._until)  # renewed: the other replay is running
            await asyncio.sleep(self._poll)
            await self.read()
        await self._write(self._run)

    async def advance(self, record: KafkaRecord) -> None:
        """Marks the partition as done up to and including `record`. Raises Busy if the lease was lost, TryAgain."""
        partition = record.dapr_metadata("partition")
        before = self._places.get(partition)
        time = max(_time(record), before.time if before else 0)
        self._places[partition] = Place(int(record.dapr_metadata("offset")) + 1, time)
        await self.renew()

    async def renew(self) -> None:
        """Extends the lease. Raises Busy, TryAgain."""
        await self._write(self._run)

    async def release(self) -> None:
        """Ends the lease. Raises Busy, TryAgain."""
        await self._write("")

    async def _write(self, owner: str) -> None:
        async with self._write_lock:
            places = {partition: [place.offset, place.time] for partition, place in self._places.items()}
            until = self._clock() + self.lease
            body = {"schema": SCHEMA, "run": owner, "until": until.isoformat(), "places": places}
            try:
                await self._state.write_values({KEY: (json.dumps(body).encode(), self._etag)})
            except Conflict:
                raise Busy(until) from None
            written, self._etag = (await self._state.read_values([KEY]))[KEY]
            if json.loads(written) != body:
                raise Busy(until)
            self._owner, self._until = owner, until


@contextlib.asynccontextmanager
async def leased(checkpoint: ReplayCheckpoint) -> AsyncIterator[None]:
    """Holds the lease and renews it in the background. Raises Busy, TryAgain."""
    await checkpoint.acquire_lease()
    renewing = asyncio.create_task(_renew_in_a_loop(checkpoint))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        with contextlib.suppress(Busy, TryAgain):  # the lease expires then
            await checkpoint.release()


async def _renew_in_a_loop(checkpoint: ReplayCheckpoint) -> None:
    """Renews the lease of a replay whose batches take longer than the lease. A failure shows at the next `advance`."""
    while True:
        await asyncio.sleep(checkpoint.lease.total_seconds() / 3)
        await checkpoint.renew()


def _time(record: KafkaRecord) -> int:
    return int(record.dapr_metadata("timestamp") or 0)
