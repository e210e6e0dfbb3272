"""Makes the identifiers of MAS: ULIDs, which begin with their time and so sort by it, and tokens with a prefix."""

import re
import secrets
from datetime import datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)


def ulid(at: datetime) -> str:
    number = int(at.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    return _ULID.fullmatch(text) is not None


def token(prefix: str) -> str:
    """Returns a new token: `mat` for OAuth 2, `mct` for a compatibility session, `mpt` for a personal session."""
    return f"{prefix}_{secrets.token_urlsafe(24)}"


def is_token(text: str) -> bool:
    return text.startswith(("mat_", "mct_", "mpt_"))


def device() -> str:
    return "".join(secrets.choice(_ALPHABET[10:]) for _ in range(10))
