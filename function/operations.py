"""Every operation on Synapse, and on Matrix Authentication Service (MAS): the metric label, the span's name and the dry run's log line at once.

It is below `homeserver` and `telemetry`, since both need it: the one to name its requests, the other as a closed set.
"""

from enum import StrEnum


class Operation(StrEnum):
    """What a request to the homeserver is for. Whether it writes is the HTTP method's business: all but GET do."""

    ACCOUNT = "account"
    ACCOUNTS = "accounts"
    UPLOADS = "uploads"
    DEACTIVATE = "deactivate"
    ERASE = "erase"
    SET_DISPLAY_NAME = "set_display_name"
    SET_AVATAR = "set_avatar"
    CREATE = "create"
    LINK = "link"
    END_SESSIONS = "end_sessions"
    UPLOAD = "upload"
    DELETE_MEDIA = "delete_media"
    MEDIA_EXISTS = "media_exists"
    UPLOADED_BY = "uploaded_by"
    JOINED_ROOMS = "joined_rooms"
    ROOM_WORK = "room_work"
    ROOMS_OF = "rooms_of"
    REDACT = "redact"
    REDACTION = "redaction"
    OWN_MEDIA = "own_media"
    PROBE = "probe"
    RATE_LIMIT = "rate_limit"
    # On Matrix Authentication Service, where it owns the accounts.
    MAS_TOKEN = "mas_token"  # noqa: S105 - no token
    MAS_PROBE = "mas_probe"
    MAS_USER = "mas_user"
    MAS_CREATE = "mas_create"
    MAS_DEACTIVATE = "mas_deactivate"
    MAS_LINK = "mas_link"
    MAS_SESSIONS = "mas_sessions"
    MAS_END_SESSION = "mas_end_session"
    MAS_PERSONAL_SESSION = "mas_personal_session"

    @property
    def on_mas(self) -> bool:
        """Whether the request goes to Matrix Authentication Service, not to Synapse."""
        return self.value.startswith("mas_")
