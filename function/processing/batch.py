"""The one road: a batch of records in, SUCCESS or RETRY out for each of them.

decode -> load the users' records -> fold -> reconcile -> save -> publish dead letters -> answer. Every failure ends in
the ladder of `_settle_user` or `deliver`; only what is recognised as hopeless becomes a dead letter.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from function.accounts.plan import hides_a_step
from function.accounts.reconcile import Outcome, Reconciler
from function.accounts.room_cleanup import Departures
from function.accounts.user_state import Record, Status, fold, may_have_run
from function.dapr.bulk_envelope import Delivered
from function.dapr.state_store import Conflict, StateStore, Stored
from function.dead_letters.publish import DeadLetters
from function.events.decode import Event, Ignored, UserCreated, UserDeleted, decode
from function.health import Health
from function.outcomes import Reason, Rejected, TryAgain
from function.processing.deletion_limit import Brake
from function.processing.event_log import event_id_of, tell
from function.processing.results import Fate, Verdict, deactivates, verdicts_of
from function.processing.user_locks import Turns
from function.telemetry.logs import log, log_failure
from function.telemetry.traces import OFF, Traces

BATCH_SECONDS = 30.0  # no user's reconciliation may hold a batch longer: it holds every partition of this pod
CONFLICT_TRIES = 3
BREATH = 10  # users that begin at once


@dataclass(slots=True)
class _User:
    """One user's events of a batch, oldest arrival first, with their places in it."""

    user_id: str
    places: list[int]
    events: list[Event]
    traceparents: list[str] = field(default_factory=list)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    outcome: Outcome | None = None
    may_delete: bool | None = None  # what the brake said

    @property
    def types(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class Delivery:
    """Takes batches, several at a time where they share no user.

    Args:
        state: the users' records.
        reconciler: makes Synapse what they say.
        dead_letters: where hopeless records go.
        health: told when the world breaks; says whether to try at all.
        brake: says how many deletions may pass.
        departures: told who was deactivated.
        precreate: whether accounts are made ahead of the first login.
        traces: told of each batch and of each user in it.
    """

    def __init__(
        self, state: StateStore, reconciler: Reconciler, dead_letters: DeadLetters, health: Health, *,
        brake: Brake, departures: Departures, precreate: bool, traces: Traces = OFF,
    ) -> None:  # fmt: skip
        self._state, self._reconciler, self._dead_letters, self._health = state, reconciler, dead_letters, health
        self._brake, self._departures, self._precreate = brake, departures, precreate
        self._traces = traces
        self._turns = Turns()

    @property
    def braking(self) -> bool:
        """Whether deletions go to the dead letters now."""
        return self._brake.on

    async def deliver(self, records: Sequence[Delivered]) -> list[Verdict]:
        """The verdict on each record, in their order. Never raises."""
        with self._traces.batch(len(records)) as ended:
            verdicts = await self._answered(records)
            ended(verdicts)
            return verdicts

    async def _answered(self, records: Sequence[Delivered]) -> list[Verdict]:
        if self._health.sick:
            return [Verdict(Fate.RETRY, self._health.sick)] * len(records)
        try:
            return await self._deliver(records)
        except TryAgain as failure:
            return self._retry_all(records, failure)
        except TimeoutError:
            return self._retry_all(records, TryAgain(Reason.TOO_SLOW, f"over {2 * BATCH_SECONDS:.0f} s"))
        except Exception as error:
            log_failure("batch_failed", error)
            return self._retry_all(records, TryAgain(Reason.UNEXPECTED, type(error).__name__))

    def _retry_all(self, records: Sequence[Delivered], failure: TryAgain) -> list[Verdict]:
        self._health.report(failure)
        log(logging.WARNING, "batch_waits", reason=failure.reason.value, detail=failure.detail, size=len(records))
        return [Verdict(Fate.RETRY, failure)] * len(records)

    async def _deliver(self, records: Sequence[Delivered]) -> list[Verdict]:
        decoded = [decode(record.value, record.headers) for record in records]
        verdicts: dict[int, Verdict] = {}
        users: dict[str, _User] = {}
        for place, event in enumerate(decoded):
            if isinstance(event, Ignored) or (isinstance(event, UserCreated) and not self._precreate):
                verdicts[place] = Verdict(Fate.IGNORED)
            elif isinstance(event, Rejected):
                verdicts[place] = Verdict(Fate.DEAD_LETTER, event)
            else:
                user = users.setdefault(event.user_id, _User(event.user_id, [], []))
                user.places.append(place)
                user.events.append(event)
                user.traceparents.append(records[place].metadata.get("traceparent", ""))
        # The calls to the sidecar have no bound of their own.
        async with self._turns.of(users.keys()), asyncio.timeout(2 * BATCH_SECONDS):
            if users:
                await self._settle(list(users.values()))
            for user in users.values():
                verdicts |= user.verdicts
            await self._bury(records, decoded, verdicts)
        _keep_order(users.values(), verdicts)
        ordered = [verdicts[place] for place in range(len(records))]
        tell(records, decoded, ordered)
        return ordered

    async def _settle(self, users: Sequence[_User]) -> None:
        """Brings Synapse and the records in step with the users' events."""
        stored = await self._state.read([user.user_id for user in users])
        busy = [user for user in users if not self._settled_at_once(user, stored[user.user_id])]
        await self._settle_together(busy, stored)
        changed = {
            user.user_id: Stored(user.outcome.record, stored[user.user_id].etag)
            for user in users
            if user.outcome and user.outcome.record != stored[user.user_id].record
        }
        await self._departures.add(_deactivated(users))
        try:
            if changed:
                await self._state.write(changed)
                self._saved(changed)
        except Conflict:
            for user in users:
                if user.user_id in changed:
                    await self._save_alone(user, changed[user.user_id])

    def _saved(self, user_ids: Iterable[str]) -> None:
        for user_id in user_ids:
            self._reconciler.saved(user_id)

    def _settled_at_once(self, user: _User, stored: Stored) -> bool:
        """Whether there is nothing to ask and nothing to do, as for most events: they need no task of their own."""
        if any(isinstance(event, UserDeleted) for event in user.events):
            return False  # the brake has to be asked
        try:
            record, doubtful = _folded(stored.record, user.events)
            user.outcome = None if doubtful else self._reconciler.at_once(user.user_id, record)
        except Exception:
            return False  # the long way says what is wrong, and has this user alone wait
        if user.outcome is None:
            return False
        with self._traces.user(user.types, user.traceparents) as ended:
            user.verdicts = dict(zip(user.places, verdicts_of(user.events, user.outcome), strict=True))
            ended(user.verdicts.values())
        return True

    async def _settle_together(self, users: Sequence[_User], stored: Mapping[str, Stored]) -> None:
        try:
            async with asyncio.TaskGroup() as group:  # where one fails, nobody goes on writing once the turn is over
                for number, user in enumerate(users, start=1):
                    group.create_task(self._settle_traced(user, stored[user.user_id]))
                    if number % BREATH == 0:
                        await asyncio.sleep(0)  # else Synapse's answers to other batches wait until all have begun
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the log is to name it, not the group

    async def _settle_traced(self, user: _User, stored: Stored) -> None:
        with self._traces.user(user.types, user.traceparents) as ended:
            user.verdicts = await self._settle_user(user, stored)
            ended(user.verdicts.values())

    async def _settle_user(self, user: _User, stored: Stored, *, doubtful: bool = False) -> dict[int, Verdict]:
        """One user's verdicts; `user.outcome` stays None where nothing may be saved."""
        braked = self._braked(user, stored)
        places = [place for place in user.places if place not in braked]
        events = [event for place, event in zip(user.places, user.events, strict=True) if place not in braked]
        user.outcome = None
        if not events:
            return braked
        record = stored.record
        try:
            record, unsure = _folded(stored.record, events)
            async with asyncio.timeout(BATCH_SECONDS):
                user.outcome = await self._reconciler.reconcile(user.user_id, record, doubtful=doubtful or unsure)
        except Rejected as rejected:
            # Not even a look at this account succeeds; what the events say is remembered all the same.
            user.outcome = Outcome(record)
            return braked | dict.fromkeys(places, Verdict(Fate.DEAD_LETTER, rejected))
        except TryAgain as failure:
            return self._wait(user, failure)
        except TimeoutError:
            return self._wait(user, TryAgain(Reason.TOO_SLOW, f"over {BATCH_SECONDS:.0f} s"))
        except Exception as error:
            log_failure("user_failed", error)
            return self._wait(user, TryAgain(Reason.UNEXPECTED, type(error).__name__))
        finally:
            if user.may_delete and not (user.outcome and deactivates(user.outcome)):
                self._brake.give_back()
                user.may_delete = None
        return braked | dict(zip(places, verdicts_of(events, user.outcome), strict=True))

    def _braked(self, user: _User, stored: Stored) -> dict[int, Verdict]:
        """The user's deletions, where the brake holds them back. They must leave no trace in the record: a person may
        find that they were a mistake, and never replay them."""
        if stored.record.status is not Status.ACTIVE:
            return {}
        deletions = [p for p, event in zip(user.places, user.events, strict=True) if isinstance(event, UserDeleted)]
        if deletions and user.may_delete is None:
            user.may_delete = self._brake.take()
        if not deletions or user.may_delete:
            return {}
        log(logging.ERROR, "deletion_brake", size=len(deletions))
        rejected = Rejected(Reason.DELETION_BRAKE, "more deletions within an hour than MATRIX_MAX_DELETIONS_PER_HOUR")
        return dict.fromkeys(deletions, Verdict(Fate.DEAD_LETTER, rejected))

    def _wait(self, user: _User, failure: TryAgain) -> dict[int, Verdict]:
        self._health.report(failure)
        return dict.fromkeys(user.places, Verdict(Fate.RETRY, failure))

    async def _save_alone(self, user: _User, changed: Stored) -> None:
        """Saves one user's record; where another writer was there, starts over from what that one left, and asks
        Synapse again, since our calls may have gone over the newer ones."""
        for _ in range(CONFLICT_TRIES):
            try:
                await self._state.write({user.user_id: changed})
                self._saved([user.user_id])
                return
            except Conflict:
                stored = (await self._state.read([user.user_id]))[user.user_id]
                user.verdicts = await self._settle_user(user, stored, doubtful=True)
                if user.outcome is None:
                    return
                await self._departures.add(_deactivated([user]))
                changed = Stored(user.outcome.record, stored.etag)
        user.verdicts = self._wait(user, TryAgain(Reason.CONFLICT, f"{CONFLICT_TRIES} times"))

    async def _bury(
        self, records: Sequence[Delivered], decoded: Sequence[Event | Ignored | Rejected], verdicts: dict[int, Verdict]
    ) -> None:
        """Publishes the dead letters; one that can't be published waits."""
        for place, verdict in sorted(verdicts.items()):
            if not isinstance(verdict.failure, Rejected):
                continue
            try:
                await self._dead_letters.publish(
                    records[place], verdict.failure, event_id_of(decoded[place], records[place])
                )
            except TryAgain as failure:
                log(logging.WARNING, "dead_letter_waits", reason=failure.reason.value, detail=failure.detail)
                verdicts[place] = Verdict(Fate.RETRY, failure)


def _folded(before: Record, events: Sequence[Event]) -> tuple[Record, bool]:
    """The record after the events, and whether Synapse may not be as it says."""
    folded = list(accumulate(events, fold, initial=before))
    return folded[-1], hides_a_step(folded) or any(may_have_run(before, event) for event in events)


def _deactivated(users: Iterable[_User]) -> dict[str, Record]:
    return {u.user_id: u.outcome.record for u in users if u.outcome and deactivates(u.outcome)}


def _keep_order(users: Iterable[_User], verdicts: dict[int, Verdict]) -> None:
    """An event that waits takes the user's later ones with it; they are harmless to repeat."""
    for user in users:
        waiting: Verdict | None = None
        for place in user.places:
            waiting = waiting or (verdicts[place] if verdicts[place].fate is Fate.RETRY else None)
            if waiting:
                verdicts[place] = waiting
