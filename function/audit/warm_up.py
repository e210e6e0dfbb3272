"""Learns accounts from Synapse's list before their users' first events, a thousand with a call instead of one.

The first event of a user without a record costs a GET, since nothing is known of the account. Here the record is made beforehand, with
what the list says of the account. It is trusted only where it spares a call and makes none: before a write the account is read all
the same, as after ten minutes without a look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from function.accounts.user_state import UserState
from function.accounts.user_store import UserStore, Versioned
from function.audit.findings import Cursor, Listing
from function.audit.pages import Pages
from function.audit.scan import Advance
from function.dapr.state_store import Conflict
from function.homeserver.account import Account
from function.homeserver.synapse import Synapse

BLOCK = 100  # users whose records are read and written together, as in a batch of events


@dataclass(slots=True)
class Learned:
    """Counts of accounts.

    Attributes:
        accounts: in Synapse's list.
        learned: have a record now, and had none before.
        known: had a record, or got one from another writer: it stays as it is.
        left_out: are deactivated or erased; their users' next events read the account.
    """

    accounts: int = 0
    learned: int = 0
    known: int = 0
    left_out: int = 0

    def as_json(self) -> dict[str, int]:
        return asdict(self)


class WarmUp:
    """Walks Synapse's list of accounts once.

    Args:
        synapse: the homeserver.
        users: the users' states; if they are read-only, nothing is written and the counts are the same.
    """

    def __init__(self, synapse: Synapse, users: UserStore) -> None:
        self._pages, self._users = Pages(synapse.accounts), users
        self.counts = Learned()

    async def walk(self, advance: Advance) -> None:
        """Makes a record of each account that has none. Another run goes on where one ended, since what is known is left alone.

        Raises:
            TryAgain: Synapse or the state store is unavailable; Rejected: Synapse fails on its list.
        """
        cursor, last = Cursor(Listing.ACCOUNTS), False
        while not last:
            chunk = await self._pages.after(cursor)
            accounts = [item for _, item in chunk.rows if item is not None]
            for start in range(0, len(accounts), BLOCK):
                await self._learn(dict(accounts[start : start + BLOCK]))
            advance(len(chunk.rows), chunk.total)
            last = chunk.last or not chunk.rows
            cursor = chunk.rows[-1][0] if chunk.rows else cursor

    async def _learn(self, accounts: Mapping[str, Account]) -> None:
        found = await self._users.read_each(accounts)
        new = [user for user, one in found.items() if isinstance(one, Versioned) and not one.etag]
        # What a deletion left, or another admin did, is not decided by a list: such an account is read when it matters.
        active = {user: accounts[user] for user in new if accounts[user].writable}
        self.counts.accounts += len(accounts)
        self.counts.known += len(accounts) - len(new)
        self.counts.left_out += len(new) - len(active)
        await self._write(list(active), active)

    async def _write(self, users: Sequence[str], accounts: Mapping[str, Account]) -> None:
        """Makes the records that no other writer has made since they were read."""
        if not users:
            return
        try:
            # Without `seen_at` the account counts as seen long ago, and without an ETag a record that is there stays.
            await self._users.write({user: Versioned(UserState(known=accounts[user])) for user in users})
            self.counts.learned += len(users)
        except Conflict:
            if len(users) == 1:
                self.counts.known += 1
                return
            half = len(users) // 2
            await self._write(users[:half], accounts)
            await self._write(users[half:], accounts)
