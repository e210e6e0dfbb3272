"""Reads a list of user ids, one on each line, for an audit beyond what Synapse's list of accounts can carry."""

import re
from collections.abc import Iterable
from uuid import UUID

_UUID = re.compile(rb"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_BYTES = 16  # of a UUID: a million users are 16 MB


class WrongLine(ValueError):
    """A line that is not a user id. Its text is not repeated: it may be anything."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"line {number}: expected a user's UUID and nothing else, such as b27a522a-e523-48ee-a154-ca5d2fa3fe88"
        )


class UserList:
    """The users of a list, in its order."""

    def __init__(self, ids: bytes) -> None:
        self._ids = ids

    @classmethod
    def read(cls, lines: Iterable[bytes]) -> "UserList":
        """Reads and checks every line. Raises WrongLine."""
        ids = bytearray()
        for number, line in enumerate(lines, 1):
            if not (match := _UUID.fullmatch(line.strip())):
                raise WrongLine(number)
            ids += UUID(match[0].decode()).bytes
        return cls(bytes(ids))

    def __len__(self) -> int:
        return len(self._ids) // _BYTES

    def part(self, start: int, count: int) -> list[str]:
        """Returns the ids from the one after `start` others."""
        ids = self._ids[start * _BYTES : (start + count) * _BYTES]
        return [str(UUID(bytes=ids[first : first + _BYTES])) for first in range(0, len(ids), _BYTES)]
