"""Makes and recognises the identifiers of MAS: ULIDs, which begin with their time and so sort by it, and tokens."""

import re
from collections.abc import Callable
from datetime import datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)


def ulid(at: datetime, bits: Callable[[int], int]) -> str:
    """Returns a new ULID; `bits` makes that many random bits."""
    number = int(at.timestamp() * 1000) << 80 | bits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    return _ULID.fullmatch(text) is not None


def is_token(text: str) -> bool:
    return text.startswith(("mat_", "mct_", "mpt_"))
