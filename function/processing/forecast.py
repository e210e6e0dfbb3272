"""Tells what would become of a record, without any service: whether it is decoded, and as what. Pure.

Knows no settings and no account: whether an event is stale, or Synapse refuses it, shows only when it is processed. No text
has a value of the record.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from function.avatars.image_url import ImageUrl
from function.events.decode import decode, type_of, user_of
from function.events.type_names import UNUSED_TYPES, event_type
from function.events.types import Event, Ignored, ProfileUpdated, UserDeleted
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, Rejected
from function.processing.incoming import decode_record

_HTTPS = "https://"
_NO_KEY = (
    "the record has no key: Kafka spreads the user's events over partitions, and they are processed in any order. "
    "Use the user id as the key."
)
_OTHER_KEY = (
    "the key is not the user id in lower case with dashes: the user's events can be in several partitions, and are then "
    "processed in any order."
)
_NO_ID = "the event has no id: neither the log nor a dead letter can name it. Send the header `event_id`."
_DELETION_AHEAD = (
    "its time is in the future. A deletion is carried out whatever its time. Look at the producer's clock."
)
_AHEAD = "its time is in the future: until then the user's other events are stale. Look at the producer's clock."


class Prospect(StrEnum):
    """What would become of a record."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a record, and why.

    Attributes:
        prospect: in one word.
        event_type: the type under its current name; `unknown` for each that is not of the identity service.
        case: of an event of several cases, such as `hard`; "" for every other.
        means: what the event does, why it is ignored, or what the reason of the dead letter means.
        reason: of the dead letter, or why it is ignored; "" for an event.
        detail: of the dead letter: field names, codes, sizes.
        advice: what to do about a dead letter.
        notes: what the producer should look at although the record is not rejected for it.
    """

    prospect: Prospect
    event_type: str
    means: str
    case: str = ""
    reason: str = ""
    detail: str = ""
    advice: str = ""
    notes: tuple[str, ...] = ()


def forecast(record: KafkaRecord, now: datetime, *, whole: bool) -> Forecast:
    """Returns what would become of a record that is processed now. `whole`: its key and headers are known, not the value alone."""
    decoded = decode_record(record, now)
    kind = type_of(record.value, record.headers)
    ours = event_type(kind)
    known = ours or (kind if kind in UNUSED_TYPES else "unknown")
    notes = _key_notes(record) if whole else ()
    if isinstance(decoded, Ignored):
        return Forecast(Prospect.IGNORED, known, decoded.cause.means, reason=decoded.cause)
    if isinstance(decoded, Rejected):
        return _dead_letter(known, decoded, notes)
    notes += _event_notes(record, decoded, now, whole=whole)
    if rejected := _refused_avatar(decoded):
        return _dead_letter(known, rejected, notes)
    case = ("hard" if decoded.erase else "soft") if isinstance(decoded, UserDeleted) else ""
    assert ours
    return Forecast(Prospect.ACCEPTED, known, ours.effects[case], case, notes=notes)


def _dead_letter(event_type: str, rejected: Rejected, notes: tuple[str, ...]) -> Forecast:
    reason = rejected.reason
    return Forecast(
        Prospect.DEAD_LETTER, event_type, reason.means, reason=reason, detail=rejected.detail, advice=reason.todo,
        notes=notes,
    )  # fmt: skip


def _refused_avatar(event: Event) -> Rejected | None:
    """Returns why a profile's avatar is refused; None for every other event. Its host can still be refused: that is a setting."""
    if not isinstance(event, ProfileUpdated):
        return None
    if isinstance(event.avatar, Rejected):
        return event.avatar
    if event.avatar.startswith(_HTTPS):
        try:
            ImageUrl.parse(event.avatar)
        except ValueError:
            return Rejected(Reason.AVATAR_INVALID, "not an https address")
    return None


def _key_notes(record: KafkaRecord) -> tuple[str, ...]:
    key, user_id = record.kafka_field("key"), user_of(record.value, record.headers)
    if not user_id or key == user_id:
        return ()
    return (_OTHER_KEY,) if key else (_NO_KEY,)


def _event_notes(record: KafkaRecord, event: Event, now: datetime, *, whole: bool) -> tuple[str, ...]:
    notes: tuple[str, ...] = (_NO_ID,) if whole and event.id == "-" else ()
    written = decode(record.value, record.headers)  # with the time as it was written
    if not isinstance(written, Ignored | Rejected) and written.at > now:
        notes += (_DELETION_AHEAD,) if isinstance(event, UserDeleted) else (_AHEAD,)
    return notes
