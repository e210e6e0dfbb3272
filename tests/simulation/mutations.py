"""Faults put back into the code on purpose, to know that the simulation sees them: each is a small patch for the time of a run.

They are named after the promises that they break, by the letters of the faults table: A judgement, B deletions, C what was begun,
E evidence, P promise 4 (no call that changes nothing); those under Matrix Authentication Service, in mutations_mas.py, begin with M.
A mutation that no seed finds is a gap in the simulation.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from function.accounts import attribution, avatar_copy, outbox, plan, reconcile, updater, user_state
from function.accounts.outbox import Outbox
from function.accounts.recheck_loop import Checked
from function.accounts.recheck_queue import RecheckQueue
from function.accounts.reconcile import Reconciler
from function.accounts.steps import LinkIdentity
from function.accounts.updater import Updater
from function.accounts.user_store import UserStore, Versioned
from function.events.types import UserDeleted
from function.homeserver import admin_api, mas, requests
from function.homeserver.account import Account
from function.outcomes import Reason, TryAgain
from function.processing import batch, letters
from function.processing.deletion_limit import DeletionLimit
from tests.simulation.letters import PodLetters
from tests.simulation.mutation import Mutation
from tests.simulation.mutations_mas import MAS_MUTATIONS

_TERMINAL = ("deletion_missed", "written_after_erasure", "still_in_rooms")
_PROFILE = ("wrong_name", "wrong_avatar")


def _any_success(judgement: Any) -> Any:
    return replace(judgement, is_own=lambda answer, _: answer.success)


def _blind(original: Any) -> Any:
    async def write(self: UserStore, states: dict[str, Versioned]) -> None:
        values = await self._store.read_values(states)
        await original(self, {user_id: replace(one, etag=values[user_id][1]) for user_id, one in states.items()})

    return write


def _without_claims(original: Any) -> Any:
    def decide(self: Updater, job: Any, stored: Any, *args: Any, **words: Any) -> None:
        if isinstance(stored, Versioned):
            stored = replace(stored, state=replace(stored.state, claim=None))
        original(self, job, stored, *args, **words)

    return decide


def _eternal_claims(original: Any) -> Any:
    def decide(self: Updater, job: Any, stored: Any, *args: Any, **words: Any) -> None:
        claim = stored.state.claim if isinstance(stored, Versioned) else None
        if claim and claim.by != self._process:
            job.failure = TryAgain(Reason.CLAIMED)
        else:
            original(self, job, stored, *args, **words)

    return decide


async def _passes(*_: Any, **__: Any) -> bool:
    return True


async def _nothing(*_: Any, **__: Any) -> None:
    """Does nothing."""


def _unchecked_rooms(original: Any) -> Any:
    async def reconciled(*args: Any, **words: Any) -> Any:
        return await original(*args, **(words | {"later": False}))

    return reconciled


def _write_is_look(original: Any) -> Any:
    async def write(self: Reconciler, work: Any, step: Any) -> None:
        await original(self, work, step)
        work.seen_at = self._clock()

    return write


def _opened_by_own_call(original: Any) -> Any:
    def opened(self: Reconciler, work: Any, at: Any) -> None:
        if not work.decision.look:
            original(self, work, at)

    return opened


def _no_link(original: Any) -> Any:
    def planned(*args: Any, **words: Any) -> Any:
        return [step for step in original(*args, **words) if not isinstance(step, LinkIdentity)]

    return planned


def _soft_stays(original: Any) -> Any:
    def deleted(state: Any, event: UserDeleted) -> Any:
        return state if state.status is user_state.Status.DEACTIVATED else original(state, event)

    return deleted


def _all_wait(original: Any) -> Any:
    return lambda group, _published, failure: original(group, set(), failure)


def _lost_letter(original: Any) -> Any:
    async def publish(self: PodLetters, *args: Any) -> None:
        try:
            await original(self, *args)
        except TryAgain:
            return

    return publish


def _open_sessions(original: Any) -> Any:
    def asked(before: Any, state: Any, events: Any) -> Any:
        found, at, ended = original(before, state, events), state.sessions_at, state.ended_at
        return replace(found, sessions=at is not None and (ended is None or ended < at))

    return asked


def _no_end_of_sessions(original: Any) -> Any:
    async def create(self: Reconciler, work: Any, name: str) -> None:
        await original(self, work, name)
        work.state = replace(work.state, ended_at=None)

    return create


def _dropped(_: Any) -> Any:
    async def publish_before(self: Outbox, jobs: Any) -> Any:
        del self
        for job in jobs:
            job.decision = replace(job.decision, state=replace(job.decision.state, unpublished=None))
        return jobs

    return publish_before


def _removed_first(original: Any) -> Any:
    async def publish_confirmed(self: Outbox, jobs: Any, states: Any) -> None:
        await self._remove({user_id: state.unpublished for user_id, state in states.items()})
        await original(self, jobs, states)

    return publish_confirmed


def _newest_first(original: Any) -> Any:
    async def publish(self: Outbox, changes: Any) -> Any:
        return await original(self, {user_id: own[::-1] for user_id, own in changes.items()})

    return publish


def _undoubted(_: Any) -> Any:
    return lambda state, *_: replace(state, claim=None)


MUTATIONS: Sequence[Mutation] = (
    Mutation(
        "A2-any-answer", "takes any JSON object for success",
        [(admin_api, "SYNAPSE", _any_success), (mas, "MAS", _any_success)], (*_PROFILE, "deletion_missed", "poisoned"),
    ),
    Mutation(
        "B1-trusting-deletion", "makes no call for a deletion if the account is known to be deactivated",
        [(plan, "_deletion", lambda original: lambda state, account, _, seen: original(state, account, plan.NOTHING, seen=seen))],
        ("deletion_missed",),
    ),
    Mutation(
        "B2-seen-once", "never looks again at an account that it saw",
        [(m, "is_fresh", lambda _: lambda seen_at, *_: seen_at is not None) for m in (plan, avatar_copy)],
        (*_PROFILE, "reactivated_kept", "written_long_after"),
    ),
    Mutation("B8-no-limit", "lets every deletion pass", [(DeletionLimit, "try_acquire", lambda _: _passes)], ("limit_exceeded",)),
    Mutation("B10-no-link", "does not add the identity", [(m, "plan", _no_link) for m in (plan, reconcile)], ("not_linked",)),
    Mutation(
        "B11-assumed-account", "takes an account for there that it knows nothing of",
        [
            *((m, "known_account", lambda original: lambda s: original(s) if s.known else Account()) for m in (plan, reconcile)),
            (plan, "_needs_look", lambda _: lambda *_: False),
        ],
        ("poisoned",),
    ),
    Mutation("C1-blind-save", "saves over what another pod saved", [(UserStore, "write", _blind)], (*_PROFILE, *_TERMINAL)),
    Mutation(
        "C1-no-claims", "does not see the claims of other pods", [(Updater, "decide", _without_claims)], (*_PROFILE, *_TERMINAL)
    ),
    Mutation("C1-eternal-claims", "waits for a claim without end", [(Updater, "decide", _eternal_claims)], ("stuck",)),
    Mutation(
        "C1-trusting-takeover", "trusts what a claim that was never confirmed says",
        [(updater, "taken_over", lambda _: lambda state, _now: replace(state, claim=None))], (*_PROFILE, *_TERMINAL),
    ),
    Mutation(
        "C1-no-deadline", "begins calls after its claim ended", [(requests.Requests, "_check_deadline", lambda _: lambda *_: None)],
        (*_PROFILE, *_TERMINAL),
    ),
    Mutation(
        "C2-no-doubt", "trusts what it knew before a request whose end it did not see",
        [(m, "doubted", _undoubted) for m in (user_state, reconcile, updater)], (*_PROFILE, *_TERMINAL),
    ),
    Mutation(
        "C2-short-doubt", "believes that a request that was given up has no effect after ten seconds",
        [(m, "LATE_EFFECT", lambda _: timedelta(seconds=10)) for m in (user_state, reconcile)], (*_PROFILE, *_TERMINAL),
    ),
    Mutation("C2-no-recheck", "never looks a second time", [(RecheckQueue, "add", lambda _: _nothing)], (*_PROFILE, *_TERMINAL)),
    Mutation("C3-no-room-check", "does not look at rooms", [(Reconciler, "reconcile", _unchecked_rooms)], ("still_in_rooms",)),
    Mutation(
        "C8-uncalled-traces", "removes nothing of an account that another process erased",
        [(Reconciler, "_open_traces", _opened_by_own_call)], ("messages_left", "media_left"),
    ),
    Mutation(
        "C8-lost-redaction", "forgets what is outstanding", [(batch, "_checked", lambda _: lambda _job: Checked.SETTLED)], ("messages_left",),
    ),
    Mutation("C4-write-is-look", "takes a write for a look", [(Reconciler, "_write", _write_is_look)], ("written_long_after",)),
    Mutation(
        "C5-late-sessions", "ends sessions at any later event",
        [(plan, "_asked", _open_sessions), (Reconciler, "_create", _no_end_of_sessions)], ("session_lost",),
    ),
    Mutation("C7-letters-again", "publishes letters again", [(letters, "_wait_from_first_unpublished", _all_wait)], ("letter_doubled",)),
    Mutation("C7-letter-lost", "forgets a letter that was refused", [(PodLetters, "publish", _lost_letter)], ("letter_lost",)),
    Mutation("E-dropped", "forgets what an earlier confirmation left unpublished", [(Outbox, "publish_before", _dropped)], ("evidence_lost",)),
    Mutation("E-removed-first", "forgets changes before they are published", [(Outbox, "publish_confirmed", _removed_first)], ("evidence_lost",)),
    Mutation("E-newest-first", "publishes the newest change first", [(Outbox, "_publish", _newest_first)], ("evidence_order",)),
    Mutation(
        "E-unannounced", "makes calls without announcing the event that they are for",
        [(m, "announced", lambda _: lambda *_: ()) for m in (outbox, attribution)], ("evidence_lost",),
    ),
    Mutation("P-looks", "looks at each event", [(plan, "_needs_look", lambda _: lambda *_: True)], ("redelivery_calls",)),
    Mutation("fold-last-arrival", "the last arrival wins", [(user_state, "_before", lambda _: lambda *_: False)], _PROFILE),
    Mutation("fold-no-upgrade", "a hard deletion after a soft one is lost", [(user_state, "_deleted", _soft_stays)], ("deletion_missed",)),
    *MAS_MUTATIONS,
)  # fmt: skip
