"""Says whether a person who reads a record would call it a deletion. Shares no code with the decoder, and reads text, not JSON.

It may say so too often: all that follows is that such a record must not be ignored.
"""

import base64
import re
from collections.abc import Mapping

_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
_BASE64 = re.compile(r'"data_base64"\s*:\s*"([A-Za-z0-9+/]{8,}={0,2})"')
_SAYS_SO = re.compile(r'"(?:event_?type|ce_?type|type|action)"\s*:\s*"[^"]{0,80}delet', re.IGNORECASE)
_KIND = re.compile(r'"soft_?delete"\s*:', re.IGNORECASE)
_WHO = re.compile(r'"user_?id"\s*:', re.IGNORECASE)
_WHEN = re.compile(r'"deleted_?at"\s*:\s*"[1-9]', re.IGNORECASE)  # "0" is a database's null


def header_says_deletion(headers: Mapping[str, str]) -> bool:
    """Returns whether a header with a type has the word in it."""
    return any("type" in name and "content" not in name and "delet" in text.lower() for name, text in headers.items())


def looks_like_a_deletion(value: bytes, headers: Mapping[str, str]) -> bool:
    """Returns whether a header or the value calls the record a deletion, or its fields are those of one."""
    text = _plain(value)
    return (
        header_says_deletion(headers)
        or bool(_SAYS_SO.search(text))
        or bool(_WHO.search(text) and (_KIND.search(text) or _WHEN.search(text)))
    )


def _plain(value: bytes) -> str:
    """Returns the text of the value without escapes, so that JSON inside of JSON reads as JSON; base64 is appended."""
    text = value.decode("utf-8", "replace")
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).replace("\\", "")
    for encoded in _BASE64.findall(text):
        try:
            text += base64.b64decode(encoded).decode("utf-8", "replace")
        except ValueError:
            continue
    return text
