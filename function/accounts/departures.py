"""Takes over the pending room checks of the previous release, which kept all of them under one key.

During a rolling update its pods still add to that key. This file can go once no such pod runs.
"""

import json
from datetime import UTC, datetime, timedelta

from function.accounts.recheck_queue import RecheckQueue
from function.dapr.state_store import StateStore
from function.outcomes import Reason, TryAgain

KEY = "departures"
CHECK_AFTER = timedelta(seconds=60)  # the last check of the previous release

_Pending = dict[str, list[object]]  # by user id: time of the deactivation, whether erased, number of checks so far


class Departures:
    """The previous release's pending checks.

    Args:
        state: the state store.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def take_over(self, queue: RecheckQueue) -> None:
        """Moves the pending checks to the queue; one read if there are none. Raises TryAgain.

        A crash in between adds them twice, which costs one more check.
        """
        found = _load((await self._state.read_values([KEY]))[KEY][0])
        if found:
            await queue.add({user_id: _due(pending) for user_id, pending in found.items()})
            await self._state.update(KEY, lambda value: _without(value, found))


def _load(value: bytes) -> _Pending:
    try:
        found: _Pending = dict(json.loads(value or b"{}"))
    except (ValueError, TypeError):
        raise _unreadable() from None
    return found


def _due(pending: list[object]) -> datetime:
    try:
        return datetime.fromisoformat(str(pending[0])).astimezone(UTC) + CHECK_AFTER
    except (ValueError, TypeError, LookupError, OverflowError):
        raise _unreadable() from None


def _without(value: bytes, moved: _Pending) -> bytes:
    """Returns the value without what was moved; a check that changed in between is moved next time."""
    left = {user_id: pending for user_id, pending in _load(value).items() if moved.get(user_id) != pending}
    return json.dumps(left).encode()


def _unreadable() -> TryAgain:
    return TryAgain(Reason.RECHECK_UNREADABLE, KEY)
