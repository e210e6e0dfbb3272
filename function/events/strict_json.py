"""Parses a record's value as one JSON object. Pure.

Refuses what two readers could understand differently: duplicate keys, `NaN`, text that is not UTF-8, absurd nesting.
"""

import json
from typing import Any

from function.outcomes import Reason, Rejected


def parse_object(value: bytes, errors: str = "strict") -> dict[str, Any]:
    """Returns the object in `value`, also if a producer encoded it twice: as a JSON string of JSON.

    `errors` is what becomes of bytes that are not UTF-8, in Python's words. Raises Rejected; the detail has the position of the fault, never the text there.
    """
    try:
        body = _STRICT.decode(value.decode("utf-8", errors))
        if isinstance(body, str):
            body = _STRICT.decode(body)
    except RecursionError:
        raise Rejected(Reason.NOT_JSON, "nested too deeply") from None
    except UnicodeDecodeError:
        raise Rejected(Reason.NOT_JSON, "not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Rejected(Reason.NOT_JSON, f"not JSON at byte {error.pos}") from None
    except ValueError as error:
        raise Rejected(Reason.NOT_JSON, str(error).partition(":")[0]) from None
    if not isinstance(body, dict):
        raise Rejected(Reason.NOT_JSON, f"not an object but {type(body).__name__}")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
