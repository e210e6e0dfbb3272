"""Copies a record with some fields changed: `dataclasses.replace` at a tenth of its time, which each event would pay. Pure."""

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414 - a type checker knows this one's fields
else:
    Record = TypeVar("Record")

    def replace(record: Record, /, **changes: Any) -> Record:
        """Returns a copy with these fields changed. `record` is of a dataclass without slots, and without __post_init__."""
        copy = object.__new__(type(record))
        copy.__dict__.update(record.__dict__, **changes)
        return copy
