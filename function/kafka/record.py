"""Defines the Kafka record that daprd delivers and Kafka's own client reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class KafkaRecord:
    """A Kafka record, as daprd delivered it or as Kafka's own client read it.

    `metadata` holds the record's headers and, with two underscores in front, Kafka's fields (`__key`, `__topic`,
    `__partition`, `__offset`, `__timestamp` in milliseconds). In a record that daprd delivered, a producer's header of such
    a name replaces Kafka's field, unless the component excludes such headers: good for telling a person, never for order
    or identity. In a record of Kafka's own client the fields are Kafka's.
    """

    value: bytes
    topic: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The length of the value in bytes."""
        return len(self.value)

    @cached_property
    def headers(self) -> Mapping[str, str]:
        return {name.lower(): text for name, text in self.metadata.items() if name[:2] != "__"}

    def kafka_field(self, name: str) -> str:
        """Returns the field `key`, `topic`, `partition`, `offset` or `timestamp` as text; "" if it is missing."""
        return self.metadata.get(f"__{name}", "")


def record_from(
    topic: str, partition: int, offset: int, milliseconds: int, key: bytes | None, value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
) -> KafkaRecord:  # fmt: skip
    """Returns what Kafka's own client read, in the form in which daprd delivers records.

    Bytes that are not UTF-8 are replaced in headers and key, as daprd replaces them. A tombstone becomes `null`, as in a
    delivery of daprd. Headers that are named like Kafka's fields get a third underscore.
    """
    metadata = {
        f"_{name}" if name.startswith("__") else name: found.decode("utf-8", "replace") if found else ""
        for name, found in headers
    }
    own = {"topic": topic, "partition": str(partition), "offset": str(offset), "timestamp": str(milliseconds)}
    metadata |= {f"__{name}": text for name, text in own.items()}
    if key is not None:
        metadata["__key"] = key.decode("utf-8", "replace")
    return KafkaRecord(b"null" if value is None else value, topic, metadata)
