"""One reconciliation in progress: what is known of the account, and what became of the steps. Holds no policy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from function.accounts.plan import Decision
from function.accounts.steps import Step
from function.accounts.traces import Removal
from function.accounts.user_state import UserState
from function.homeserver.account import Account
from function.homeserver.synapse import Synapse
from function.outcomes import Rejected, TryAgain


@dataclass(slots=True)
class Work:
    """A reconciliation in progress."""

    user_id: str
    decision: Decision
    synapse: Synapse  # begins no write after the claim's end
    state: UserState
    assumed: Account  # until the account is read or written
    account: Account
    seen_at: datetime | None = None  # when the account was read in this reconciliation
    in_doubt: bool = False  # a request may still be carried out
    done: list[Step] = field(default_factory=list)
    refused: list[tuple[Step, Rejected]] = field(default_factory=list)
    removals: Sequence[Removal] = ()
    failure: TryAgain | None = None

    @property
    def tried(self) -> list[Step]:
        """The steps that were executed or refused."""
        return [*self.done, *(step for step, _ in self.refused)]
