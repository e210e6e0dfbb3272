"""Decides which display name a person gets, and refuses what Synapse can't store. Pure."""

import re
import unicodedata

from function.outcomes import Reason, Rejected

MAX_NAME = 256  # characters; Synapse refuses more

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL and surrogates

# Characters that show nothing although their Unicode category says letter, symbol or unassigned: the Hangul fillers, the
# empty Braille pattern, the null note head, and what Unicode reserves for further invisible characters.
_BLANK = re.compile("[\u115f\u1160\u3164\uffa0\u2800\u2065\ufff0-\ufff8\U0001d159\U000e0000-\U000e0fff]")
# Controls, format characters, separators, and combining marks, which show nothing of their own.
_INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me", "Mc"}


def usable_name(name: str | None) -> str:
    """Returns the name as Synapse would store it: stripped; "" if no character of it can be seen.

    Raises Rejected if Synapse can't store it.
    """
    name = (name or "").strip()
    if _UNSTORABLE.search(name):
        raise Rejected(Reason.INVALID_DISPLAY_NAME, "NUL or surrogate")
    if not _is_visible(name):
        return ""
    if len(name) > MAX_NAME:
        raise Rejected(Reason.INVALID_DISPLAY_NAME, f"{len(name)} characters")
    return name


def _is_visible(name: str) -> bool:
    if name.isascii() and name.isprintable():  # it is stripped: what is left can be seen
        return bool(name)
    return any(unicodedata.category(one) not in _INVISIBLE and not _BLANK.match(one) for one in name)
