"""Writes a change as a CloudEvent in JSON, and has its schema. Pure."""

from typing import Annotated, Any, Literal

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from function.changes import Change, ChangeType, Done, id_of, type_of
from function.events.types import TYPES, EventType

SOURCE = "matrix-account-sync"
CONTENT_TYPE = "application/cloudevents+json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_UUID = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
_MATRIX_ID = Annotated[str, StringConstraints(pattern=r"^@[^:]+:.+$")]
_FROZEN = ConfigDict(frozen=True)


class ChangeData(BaseModel):
    """What was changed of which account, because of which event."""

    model_config = _FROZEN

    user_id: _UUID = Field(description="The user's id in the identity service.")
    matrix_user_id: _MATRIX_ID = Field(description="The Matrix id of the account.")
    event_id: str | None = Field(
        description="The id of the identity event that asked for the change; null for a repair, or an event without an id."
    )
    event_type: EventType | None = Field(description="The type of that event; null for a repair.")
    done: list[Done] = Field(min_length=1, description="What was done; several words if several things were.")
    confirmed_by: Literal["answer", "look"] = Field(
        description="`answer`: the homeserver answered that it is done. `look`: that answer was lost with the process that waited "
        "for it, and the account was then read and is as the event asks."
    )
    at: AwareDatetime = Field(description="When it was confirmed.")


class ChangeEvent(BaseModel):
    """A change of a Matrix account: a CloudEvent 1.0 in structured mode, without personal data other than ids."""

    model_config = _FROZEN

    specversion: Literal["1.0"]
    id: str = Field(
        pattern="^[0-9a-f]{32}$", description="The same in every copy of the message: by it duplicates are told."
    )
    source: Literal["matrix-account-sync"]
    type: ChangeType = Field(description="The weightiest of what was done.")
    subject: _UUID = Field(description="The user's id, which is the record's key too.")
    time: AwareDatetime = Field(description="When it was confirmed.")
    datacontenttype: Literal["application/json"]
    data: ChangeData


def message(user_id: str, matrix_user_id: str, change: Change) -> bytes:
    """Returns the message about a change."""
    data = ChangeData(
        user_id=user_id,
        matrix_user_id=matrix_user_id,
        event_id=change.event_id,
        event_type=TYPES[change.event_type] if change.event_type else None,
        done=[Done(word) for word in change.done if word in _WORDS],
        confirmed_by="look" if change.found else "answer",
        at=change.at,
    )
    attributes = {
        "specversion": "1.0", "id": id_of(user_id, change), "source": SOURCE, "type": type_of(change.done).value, "subject": user_id,
        "time": change.at, "datacontenttype": "application/json",
    }  # fmt: skip
    return JSONFormat().write(CloudEvent(attributes=attributes, data=data.model_dump(mode="json")))


def schema() -> dict[str, Any]:
    """Returns the JSON Schema (2020-12) of a message. It admits further members: a later release may add some."""
    found = ChangeEvent.model_json_schema(mode="serialization")
    for name in ("ChangeType", "Done", "EventType"):
        del found["$defs"][name]["description"]  # is about the code
    return {"$schema": DIALECT} | found


_WORDS = frozenset(Done)
