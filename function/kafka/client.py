"""Builds the configuration of Kafka's own client, and translates its errors.

The client only asks: it joins no consumer group and commits nothing. Events come from daprd and dead letters go to daprd.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from function.environment import WrongSettings
from function.outcomes import Reason, TryAgain
from function.settings import CommonSettings

# Properties that decide what the client does to the cluster; a properties file can't change them.
_FIXED = {"enable.auto.commit": "false", "allow.auto.create.topics": "false", "auto.offset.reset": "error"}
# Kept small: a tool runs next to the function in one container.
_MEMORY = {"queued.max.messages.kbytes": "4096", "fetch.max.bytes": "8388608"}
_DEFAULTS = {"socket.timeout.ms": "10000", "client.id": "matrix-account-sync"} | _MEMORY
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._AUTHENTICATION,  # noqa: SLF001 - the library's own names
}  # fmt: skip

# What librdkafka tells after it told why.
_VAGUE = {KafkaError._ALL_BROKERS_DOWN: 0, KafkaError._TRANSPORT: 1, KafkaError._TIMED_OUT: 1}  # noqa: SLF001

_CODE = ("_cb", "logger", "on_commit", "on_delivery", "default.topic.config")  # whose values are objects of Python

ClientConfig = Mapping[str, str]

# librdkafka's own log goes to standard error and names addresses; the errors that matter are raised.
SILENT = logging.getLogger("confluent_kafka.silent")
SILENT.disabled = True


def client_config(settings: CommonSettings) -> dict[str, str]:
    """Returns the client's properties: those of KAFKA_CLIENT_CONFIG, with KAFKA_BROKERS.

    Raises:
        WrongSettings: the file can't be read, a line is not `property=value`, or librdkafka refuses a property or value.
    """
    found = read_properties(settings.kafka_client_config) if settings.kafka_client_config else {}
    config = _DEFAULTS | found | {"bootstrap.servers": settings.kafka_brokers} | _FIXED
    try:
        # Without brokers: it must not connect. A consumer also checks that the properties fit each other.
        Consumer({**config, "bootstrap.servers": "", "group.id": "none"}, logger=SILENT).close()
    except KafkaException as refused:
        raise WrongSettings([f"KAFKA_CLIENT_CONFIG: {said(refused)}"]) from None
    except (TypeError, ValueError, AttributeError):
        raise WrongSettings(
            ["KAFKA_CLIENT_CONFIG: has a property whose value is code, such as error_cb: leave it out"]
        ) from None
    return config


def admin_client(config: ClientConfig, heard: Callable[[KafkaError], None] | None = None) -> AdminClient:
    """Returns a client that asks about topics and groups; `heard` gets the errors of its connections."""
    more: dict[str, Any] = {"error_cb": heard} if heard else {}
    return AdminClient(_for_admin(config) | more, logger=SILENT)


def read_properties(path: str) -> dict[str, str]:
    """Reads librdkafka's properties, as kcat does: `property=value` lines, `#` for comments. Raises WrongSettings."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise WrongSettings([f"KAFKA_CLIENT_CONFIG: {path}: {why}"]) from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not (text := line.strip()) or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise WrongSettings([f"KAFKA_CLIENT_CONFIG: {path}: line {number} is not property=value"])
        if (name := name.strip()).endswith(_CODE):
            raise WrongSettings([f"KAFKA_CLIENT_CONFIG: {path}: line {number}: {name} can't be set in a file"])
        found[name] = value.strip()
    return found


@contextlib.contextmanager
def asking_kafka() -> Iterator[None]:
    """Translates the client's errors. Raises TryAgain with the error's name, and never its text, which can hold addresses."""
    try:
        yield
    except KafkaException as error:
        raise TryAgain(Reason.KAFKA_UNAVAILABLE, error_name(error.args[0])) from None


def error_name(error: KafkaError) -> str:
    """Returns the name by which librdkafka and Kafka document the error, such as TOPIC_AUTHORIZATION_FAILED."""
    return str(error.name()).lstrip("_")


def more_telling(before: KafkaError | None, now: KafkaError) -> KafkaError:
    """Returns the later of two errors of a client, unless the earlier one says more about why there is no answer."""
    return now if before is None or _told_by(now) >= _told_by(before) else before


def _told_by(error: KafkaError) -> int:
    if is_refusal(error) or error.code() == KafkaError._SSL:  # noqa: SLF001 - the library's own name
        return 3
    return _VAGUE.get(error.code(), 2)


def is_refusal(error: KafkaError) -> bool:
    """Returns whether Kafka refuses this client, rather than failing."""
    return error.code() in _REFUSED


def _for_admin(config: ClientConfig) -> dict[str, str | int | float | bool]:
    """Returns the properties without those of a consumer, which librdkafka would warn about."""
    consumer = {"enable.auto.commit", "auto.offset.reset", *_MEMORY}
    return {name: value for name, value in config.items() if name not in consumer}


def said(refused: KafkaException) -> str:
    """Returns librdkafka's text without the value that it refuses, which can be a password."""
    text = str(refused.args[0].str())
    head, _, tail = text.partition('Invalid value "')
    return f"{head}Invalid value{tail.partition(chr(34))[2]}" if tail else text
