"""Makes Synapse what a user's record says: the fewest calls (pure), then the calls."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from function.desired import Account, Record, Status
from function.failures import Rejected
from function.synapse import Synapse

ABSENT = Account(exists=False)


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Ends the account; with `erase`, also takes its name and avatar away."""

    erase: bool


@dataclass(frozen=True, slots=True)
class SetDisplayName:
    name: str


@dataclass(frozen=True, slots=True)
class SetAvatar:
    address: str


Step = Deactivate | SetDisplayName | SetAvatar


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a reconciliation: the record with what is now known, the steps that Synapse took and refused."""

    record: Record
    done: Sequence[Step] = ()
    refused: Sequence[tuple[Step, Rejected]] = ()

    @property
    def account(self) -> Account:
        return self.record.known or ABSENT


def plan(record: Record, account: Account) -> list[Step]:
    """The steps from `account` to what `record` says. An account that is deactivated is never written to, except
    to end it more thoroughly."""
    if not account.exists:
        return []
    if record.status is Status.ERASED:
        clean = account.deactivated and account.erased and not account.display_name and not account.avatar
        return [] if clean else [Deactivate(erase=True)]
    if record.status is Status.DEACTIVATED:
        return [] if account.deactivated else [Deactivate(erase=False)]
    if account.deactivated or account.erased:
        return []
    steps: list[Step] = []
    if record.display_name is not None and record.display_name != account.display_name:
        steps.append(SetDisplayName(record.display_name))
    if record.avatar is not None and record.avatar != account.avatar:
        steps.append(SetAvatar(record.avatar))
    return steps


def after(account: Account, step: Step) -> Account:
    """The account once Synapse has taken `step`."""
    match step:
        case Deactivate(erase=True):
            return Account(deactivated=True, erased=True)
        case Deactivate():
            return replace(account, exists=True, deactivated=True)
        case SetDisplayName(name):
            return replace(account, display_name=name)
        case SetAvatar(address):
            return replace(account, avatar=address)


def must_look(record: Record, *, doubtful: bool) -> bool:
    """Whether Synapse has to be asked first. A profile is never written before the account is known to exist; a
    deactivation tells by itself whether it does."""
    if doubtful:
        return True
    return record.status is Status.ACTIVE and (record.known is None or not record.known.exists)


def hides_a_step(folded: Sequence[Record]) -> bool:
    """Whether an earlier one of the records that a batch folded through asks for a step that the last one does not.

    An earlier delivery may have done that step and died before it was remembered: name A, then B, then A again would
    then look like nothing to do, while Synapse still says B.
    """
    *earlier, last = folded
    if last.known is None or last.status is not Status.ACTIVE:
        return False
    kinds = {type(step) for step in plan(last, last.known)}
    return any(type(step) not in kinds for record in earlier for step in plan(record, last.known))


async def reconcile(synapse: Synapse, user_id: str, record: Record, *, doubtful: bool) -> Outcome:
    """Does what `plan` says.

    Args:
        user_id: the user's UUID.
        doubtful: Synapse may not be as the record says: look first.

    Raises:
        TryAgain: Synapse can't be reached or refuses everybody; some steps may have been done.
    """
    if must_look(record, doubtful=doubtful):
        account = await synapse.account(user_id) or ABSENT
    elif record.status is Status.ACTIVE:
        account = record.known or ABSENT
    else:
        account = replace(record.known or Account(), exists=True)
    done: list[Step] = []
    refused: list[tuple[Step, Rejected]] = []
    for step in plan(record, account):
        try:
            exists = await _do(synapse, user_id, step)
        except Rejected as rejected:
            refused.append((step, rejected))
            continue
        account = after(account, step) if exists else ABSENT
        if exists:
            done.append(step)
    return Outcome(replace(record, known=account), done, refused)


async def _do(synapse: Synapse, user_id: str, step: Step) -> bool:
    """Does one step; False when there is no such account."""
    match step:
        case Deactivate(erase):
            return await synapse.deactivate(user_id, erase=erase)
        case SetDisplayName(name):
            await synapse.set_display_name(user_id, name)
        case SetAvatar(address):
            await synapse.set_avatar(user_id, address)
    return True
