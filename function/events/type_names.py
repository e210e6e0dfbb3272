"""Recognises event types by their names, as producers and their tools spell them. Pure.

Knows names only: whether a record may be ignored is decided in doubts.py.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache

from function.events.types import TYPES, EventType

DAPR_WRAPPED = "com.dapr.event.sent"  # the type Dapr gives an event whose publisher named none

# Types of the identity service that this service has no use for.
UNUSED_TYPES = frozenset({"identity.user.two_fa_enabled", "TwoFAEnabledEvent"})

_FOLDED = {name.casefold(): kind for name, kind in TYPES.items()}
_BLANKS = "\0\ufeff\u200b \t\r\n\v\f\u00a0"
_WRAPPING = _BLANKS + '"'
_MAX_CACHED = 255  # characters; longer texts are no names, and would fill the memory
# At least two words: `order.created`, `TwoFAEnabledEvent`, `https://example.org/order-created`. A word on its own, as
# `null`, `event` or `deleted`, may be anything.
_WELL_FORMED = re.compile(r"(?=.{3,255}$)[A-Za-z][A-Za-z0-9]*(?:[._:/#+-]+[A-Za-z0-9]+)*", re.ASCII)
_TWO_WORDS = re.compile(r"[A-Za-z0-9][._:/#+-]+[A-Za-z0-9]|[a-z0-9][A-Z]", re.ASCII)
_DELETION = re.compile(
    r"delet|erase|erasure|(user|account|person|member|identity)(was|is)?(remov|purg|deactivat|terminat|destroy|clos|wip|forgotten)"
)
_OURS = re.compile(r"profileupdated|usercreated|passwordchanged")


def clean(text: str) -> str:
    """Returns a header's text without what tools put around it: blanks, a trailing NUL, the quotes of JSON."""
    if text[:1] not in _WRAPPING and text[-1:] not in _WRAPPING:  # also "", which is part of every text
        return text
    text = text.strip(_BLANKS)
    if text[:1] == text[-1:] == '"' and len(text) > 1:
        try:
            inner = json.loads(text)
        except ValueError:
            inner = text[1:-1]
        text = inner.strip(_BLANKS) if isinstance(inner, str) else text
    return text


def clean_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns the headers that say something: cleaned, without empty ones and those that were not UTF-8."""
    return {name: cleaned for name, text in headers.items() if "\ufffd" not in text and (cleaned := clean(text))}


def event_type(text: str) -> EventType | None:
    """Returns the type that `text` names, in either spelling and any case; None if it is not one of ours."""
    return TYPES.get(text) or _FOLDED.get(clean(text).casefold())


def names_deletion(text: object) -> bool:
    """Returns whether a type is that of a deletion, or may be: `identity.user.deleted.v2`, `UserErased`."""
    if not isinstance(text, str):
        return False
    return _cached_names_deletion(text) if len(text) <= _MAX_CACHED else _names_deletion(text)


def resembles_ours(text: object) -> bool:
    """Returns whether a type is one of ours, or may be one of ours under another spelling or version."""
    if not isinstance(text, str):
        return False
    return event_type(text) is not None or names_deletion(text) or _OURS.search(letters(text)) is not None


def letters(text: str) -> str:
    """Returns the letters a to z and the digits of a name, in lower case: all that its spellings have in common."""
    return _cached_letters(text) if len(text) <= _MAX_CACHED else _letters(text)


def is_well_formed(text: str) -> bool:
    """Returns whether `text` is clearly the name of a type, so that it can be told to be none of ours."""
    return bool(_WELL_FORMED.fullmatch(text) and _TWO_WORDS.search(text))


def is_named(text: object) -> bool:
    """Returns whether `text` names a type at all; Dapr's stand-in for a missing type does not."""
    return not isinstance(text, str) or clean(text) not in {"", DAPR_WRAPPED}


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def _names_deletion(text: str) -> bool:
    return _DELETION.search(letters(text)) is not None


# A topic has few types and field names.
_cached_letters = lru_cache(2048)(_letters)
_cached_names_deletion = lru_cache(256)(_names_deletion)
