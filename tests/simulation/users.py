"""Finds the users of a run in what is sent about them."""

import re

_USER = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{15}([0-9a-f]{12})")


def user_of(text: str) -> int | None:
    """Returns the number of the user whose UUID the text has."""
    found = _USER.search(text)
    return int(found[1], 16) if found else None
