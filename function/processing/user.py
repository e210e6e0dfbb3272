"""Processes one user's events of a batch: decides, reconciles, and turns what fails into a retry or a dead letter.

Only what is recognised as hopeless becomes a dead letter; an unforeseen exception makes this user's events wait.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from function.accounts.plan import ReconcileResult, coalesces_a_write
from function.accounts.reconcile import Reconciler
from function.accounts.room_cleanup import RoomCleanup
from function.accounts.user_state import Status, UserState, fold, may_be_redelivered
from function.accounts.user_store import UserStore, Versioned
from function.dapr.state_store import Conflict
from function.events.types import Event, UserDeleted
from function.health import Health
from function.outcomes import EventResult, Outcome, Reason, Rejected, TryAgain
from function.processing.deletion_limit import DeletionLimit
from function.processing.results import deactivates, event_results
from function.telemetry.logs import log, log_failure
from function.telemetry.tracing import Traces

USER_SECONDS = 30.0  # a user's reconciliation holds the batch, and with it every partition of its component
SAVE_ATTEMPTS = 3  # against other writers of the same user


@dataclass(slots=True)
class UserEvents:
    """One user's events of a batch, oldest arrival first, with their positions in it."""

    user_id: str
    places: list[int]
    events: list[Event]
    traceparents: list[str] = field(default_factory=list)
    results: dict[int, EventResult] = field(default_factory=dict)
    reconciled: ReconcileResult | None = None
    may_delete: bool | None = None  # what the deletion limit said

    @property
    def types(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class UserProcessor:
    """Processes the events of one user at a time; several users may be processed concurrently.

    Args:
        users: the users' states.
        reconciler: makes Synapse match a user's state.
        health: told about dependencies that fail.
        deletion_limit: says whether a deletion may pass.
        room_cleanup: told which users were deactivated.
        traces: gets a span for each user.
    """

    def __init__(
        self, users: UserStore, reconciler: Reconciler, health: Health, deletion_limit: DeletionLimit,
        room_cleanup: RoomCleanup, traces: Traces,
    ) -> None:  # fmt: skip
        self._users, self._reconciler, self._health = users, reconciler, health
        self._deletion_limit, self._room_cleanup, self._traces = deletion_limit, room_cleanup, traces

    async def save(self, changed: Mapping[str, Versioned]) -> None:
        """Saves the states of several users in one transaction. Raises Conflict, TryAgain."""
        await self._users.write(changed)
        for user_id in changed:
            self._reconciler.forget_upload(user_id)

    def process_without_io(self, user: UserEvents, stored: Versioned) -> bool:
        """Processes a user whose events need no I/O (most of them). Returns False if I/O is needed."""
        if any(isinstance(event, UserDeleted) for event in user.events):
            return False  # the deletion limit decides
        try:
            record, verify = _folded(stored.state, user.events)
            user.reconciled = None if verify else self._reconciler.without_io(user.user_id, record)
        except Exception:
            return False  # `process` logs the failure, and makes this user alone wait
        if user.reconciled is None:
            return False
        with self._traces.user(user.types, user.traceparents) as ended:
            user.results = dict(zip(user.places, event_results(user.events, user.reconciled), strict=True))
            ended(user.results.values())
        return True

    async def process(self, user: UserEvents, stored: Versioned) -> None:
        """Processes a user's events with the I/O they need; sets `user.results` and, if there is a state to save, `user.reconciled`."""
        with self._traces.user(user.types, user.traceparents) as ended:
            user.results = await self._process(user, stored)
            ended(user.results.values())

    async def _process(self, user: UserEvents, stored: Versioned, *, verify: bool = False) -> dict[int, EventResult]:
        """Returns the result of each event; `user.reconciled` stays None where nothing may be saved."""
        over_limit = self._over_deletion_limit(user, stored)
        places = [place for place in user.places if place not in over_limit]
        events = [event for place, event in zip(user.places, user.events, strict=True) if place not in over_limit]
        user.reconciled = None
        if not events:
            return over_limit
        record = stored.state
        try:
            record, unsure = _folded(stored.state, events)
            async with asyncio.timeout(USER_SECONDS):
                user.reconciled = await self._reconciler.reconcile(user.user_id, record, verify=verify or unsure)
        except Rejected as rejected:
            # Not even reading this account succeeds; the state that the events ask for is saved all the same.
            user.reconciled = ReconcileResult(record)
            return over_limit | dict.fromkeys(places, EventResult(Outcome.DEAD_LETTER, rejected))
        except TryAgain as failure:
            return self._retry_user(user, failure)
        except TimeoutError:
            return self._retry_user(user, TryAgain(Reason.TOO_SLOW, f"over {USER_SECONDS:.0f} s"))
        except Exception as error:
            log_failure("user_failed", error)
            return self._retry_user(user, TryAgain(Reason.UNEXPECTED, type(error).__name__))
        finally:
            if user.may_delete and not (user.reconciled and deactivates(user.reconciled)):
                self._deletion_limit.release()
                user.may_delete = None
        return over_limit | dict(zip(places, event_results(events, user.reconciled), strict=True))

    def _over_deletion_limit(self, user: UserEvents, stored: Versioned) -> dict[int, EventResult]:
        """Returns a dead letter for each of the user's deletions if the deletion limit is reached.

        They leave no trace in the user's state: a person may find that they were a mistake and never replay them.
        """
        if stored.state.status is not Status.ACTIVE:
            return {}
        deletions = [p for p, event in zip(user.places, user.events, strict=True) if isinstance(event, UserDeleted)]
        if deletions and user.may_delete is None:
            user.may_delete = self._deletion_limit.try_acquire()
        if not deletions or user.may_delete:
            return {}
        log(logging.ERROR, "deletion_limit", size=len(deletions))
        rejected = Rejected(Reason.DELETION_LIMIT, "more deletions within an hour than MATRIX_MAX_DELETIONS_PER_HOUR")
        return dict.fromkeys(deletions, EventResult(Outcome.DEAD_LETTER, rejected))

    def _retry_user(self, user: UserEvents, failure: TryAgain) -> dict[int, EventResult]:
        self._health.report(failure)
        return dict.fromkeys(user.places, EventResult(Outcome.RETRY, failure))

    async def save_alone(self, user: UserEvents, changed: Versioned) -> None:
        """Saves one user's state. After a conflict it starts over from the other writer's state and checks Synapse again,
        since our calls may have overwritten newer ones."""
        for _ in range(SAVE_ATTEMPTS):
            try:
                await self.save({user.user_id: changed})
                return
            except Conflict:
                stored = (await self._users.read([user.user_id]))[user.user_id]
                user.results = await self._process(user, stored, verify=True)
                if user.reconciled is None:
                    return
                await self._room_cleanup.add(deactivated([user]))
                changed = Versioned(user.reconciled.state, stored.etag)
        user.results = self._retry_user(user, TryAgain(Reason.CONFLICT, f"{SAVE_ATTEMPTS} times"))


def _folded(before: UserState, events: Sequence[Event]) -> tuple[UserState, bool]:
    """Returns the state after the events, and whether Synapse must be checked before relying on it."""
    folded = list(accumulate(events, fold, initial=before))
    return folded[-1], coalesces_a_write(folded) or any(may_be_redelivered(before, event) for event in events)


def deactivated(users: Iterable[UserEvents]) -> dict[str, UserState]:
    """Returns the states of the users that were deactivated."""
    return {u.user_id: u.reconciled.state for u in users if u.reconciled and deactivates(u.reconciled)}
