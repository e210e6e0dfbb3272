"""Defines the payload fields that are read of each event type, and what each field accepts. Pure.

The models are strict where it matters: ids, times, and what Synapse could not store. Their JSON schema is what a producer
is asked to send, which is narrower than what is read: dev/contract writes it.
"""

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from function.avatars.image_url import MAX_URL_BYTES
from function.events.names import MAX_NAME
from function.events.times import parse_time
from function.events.types import EventType

MAX_AVATAR = 1000  # characters of an mxc:// URL; Synapse refuses more, and never sees an https:// URL

_USUAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_UUID = re.compile(
    r"(urn:uuid:)?(\{)?([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(?(2)\})", re.ASCII | re.IGNORECASE
)


def read_user_id(value: object) -> str:
    """Returns a UUID in lower case with dashes, whichever of its spellings is given. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("expected a UUID")  # noqa: TRY004 - as for other text; pydantic takes no TypeError
    if _USUAL_UUID.fullmatch(value):
        return value
    if not (match := _UUID.fullmatch(value)):
        raise ValueError("expected a UUID")
    return str(UUID(match[3]))


def _flag(value: object) -> object:
    """Reads what databases and text formats write for a boolean; anything else is left for the model to refuse."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.casefold(), value)
    return bool(value) if type(value) is int and value in {0, 1} else value


# --- JSON schemas. Their regular expressions mean the same in ECMA-262, Java, Python and RE2.

_HEX = "[0-9A-Fa-f]"
_BARE_UUID = f"({_HEX}{{32}}|{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}})"
_DATE = "[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
_ZONE = "([Zz]|UTC|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)"
UUID_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": rf"^([Uu][Rr][Nn]:[Uu][Uu][Ii][Dd]:)?({_BARE_UUID}|\{{{_BARE_UUID}\}})$",
}
TIME_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{_DATE}[Tt ]{_CLOCK} ?{_ZONE}$"}
FLAG_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"}]
}
NAME_SCHEMA: dict[str, Any] = {"type": "string", "maxLength": MAX_NAME, "pattern": r"^[^\x00]*$"}
AVATAR_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "null"},
        {"const": ""},
        {"type": "string", "pattern": r"^mxc://[A-Za-z0-9.\-:\[\]]+/[A-Za-z0-9_\-]+$", "maxLength": MAX_AVATAR},
        {
            "type": "string",
            "pattern": r"^https://[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?(:[1-9][0-9]{0,3})?(/[!-\[\]-~]*)?$",
            "maxLength": MAX_URL_BYTES,
        },
    ]
}
# A payload with both fields of a deletion is no other event.
_NO_DELETION: dict[str, Any] = {
    "required": ["soft_delete", "deleted_at"], "properties": {"deleted_at": {"not": {"type": "null"}}},
}  # fmt: skip


def _model(*required: str, deletion: bool = False) -> ConfigDict:
    """Returns the configuration of a model; `required` are the fields that a producer is asked to send in any case."""
    extra: dict[str, Any] = {"required": list(required)}
    return ConfigDict(strict=True, json_schema_extra=extra if deletion else extra | {"not": _NO_DELETION})


UserId = Annotated[
    str, BeforeValidator(read_user_id), WithJsonSchema(UUID_SCHEMA),
    Field(
        description="The user's id, a UUID; in lower case with dashes, as in the record's key.",
        examples=["00000000-0000-4000-8000-000000000001"],
    ),
]  # fmt: skip
# Read although it is missing: then the record's own time counts.
Time = Annotated[Annotated[datetime, BeforeValidator(parse_time)] | None, WithJsonSchema(TIME_SCHEMA)]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema(FLAG_SCHEMA)]
Name = Annotated[str, WithJsonSchema(NAME_SCHEMA)]
_TIME_EXAMPLE = ["2026-01-01T09:30:00Z"]


class DeletedPayload(BaseModel):
    """A user was deleted: the Matrix account is deactivated, and erased if the deletion is hard."""

    model_config = _model("user_id", "soft_delete", deletion=True)
    user_id: UserId
    deleted_at: Any = Field(
        None, description="When; decides nothing: a deletion of any time counts.", examples=_TIME_EXAMPLE
    )
    soft_delete: Flag = Field(
        description="true: the account is deactivated. false: it is erased too.", examples=[False]
    )


class ProfilePayload(BaseModel):
    """A user's profile as it is now: the whole of it, not what changed."""

    model_config = _model("user_id", "username", "updated_at")
    user_id: UserId
    username: Annotated[Any, WithJsonSchema(NAME_SCHEMA)] = Field(  # read if there is no display name
        None, description="Shown if there is no display name, or none that can be seen.", examples=["ada"]
    )
    display_name: Name | None = Field(
        None, description="The name to show; null or empty for none.", examples=["Ada Lovelace"]
    )
    avatar_url: Annotated[Any, WithJsonSchema(AVATAR_SCHEMA)] = Field(  # a bad avatar never blocks the name
        None,
        description="An mxc:// URL, an https:// URL on an allowed host, or null or empty for none. If it is missing, the "
        "avatar is removed.",
        examples=["https://cdn.example/ada.png"],
    )
    updated_at: Time = Field(
        None,
        description="When the profile became this. A profile that is older than a known one changes nothing.",
        examples=_TIME_EXAMPLE,
    )


class CreatedPayload(BaseModel):
    """A user was created and may log in soon."""

    model_config = _model("user_id", "username", "created_at")
    user_id: UserId
    username: Name = Field(description="The display name until a profile event has a better one.", examples=["ada"])
    created_at: Time = Field(None, description="When the user was created.", examples=_TIME_EXAMPLE)


class PasswordChangedPayload(BaseModel):
    """A user's password was changed."""

    model_config = _model("user_id", "changed_at", "invalidate_all_sessions")
    user_id: UserId
    changed_at: Time = Field(None, description="When the password was changed.", examples=_TIME_EXAMPLE)
    invalidate_all_sessions: Flag = Field(
        description="true: the user's sessions end. false: nothing happens.", examples=[True]
    )


# The fields that are read of each type's payload.
PAYLOADS: dict[EventType, type[BaseModel]] = {
    EventType.DELETED: DeletedPayload,
    EventType.PROFILE_UPDATED: ProfilePayload,
    EventType.CREATED: CreatedPayload,
    EventType.PASSWORD_CHANGED: PasswordChangedPayload,
}
