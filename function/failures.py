"""The two error words of the project and every reason they carry.

`Rejected`: this event can't succeed; it goes to the dead letters with the reason.
`TryAgain`: the world is broken, not the event; it is answered RETRY and waits in Kafka.

A detail names fields, codes and statuses, never values: names, addresses, ids and tokens stay out of it.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why an event was dead-lettered or has to wait; the value is the log field and the dead letter's header."""

    # The event's own fault: dead letter.
    NOT_JSON = "not_json"  # the record is not one JSON object in UTF-8, or has duplicate keys or absurd nesting
    UNKNOWN_SHAPE = "unknown_shape"  # a JSON object of which neither header nor content tells the type
    INVALID_CLOUDEVENT = "invalid_cloudevent"  # says it is a CloudEvent and breaks the CloudEvents 1.0 specification
    INVALID_PAYLOAD = "invalid_payload"  # a type of ours with a field missing or of the wrong form
    INVALID_DISPLAY_NAME = "invalid_display_name"  # Synapse can't store this name: over 256 characters, NUL, surrogate
    AVATAR_INVALID = "avatar_invalid"  # neither an mxc:// nor an https:// address that Synapse can store
    AVATAR_HOST_NOT_ALLOWED = "avatar_host_not_allowed"  # an https image whose host is not allowed; the name is applied
    SYNAPSE_REFUSED = "synapse_refused"  # a healthy Synapse answered this call with a 4xx of its own
    SYNAPSE_ERROR = "synapse_error"  # a healthy Synapse failed on this call again and again
    AVATAR_ADDRESS_REFUSED = "avatar_address_refused"  # the image's host leads into a network, not to the internet
    AVATAR_REDIRECTS = "avatar_redirects"  # the image's host redirects too often, or to somewhere not allowed
    AVATAR_NOT_FOUND = "avatar_not_found"  # the image's host has no such image, or does not give it to us
    AVATAR_TOO_LARGE = "avatar_too_large"  # the image has more bytes or pixels than allowed
    AVATAR_NOT_AN_IMAGE = "avatar_not_an_image"  # by its content neither PNG, JPEG, GIF nor WebP, or it is corrupt
    AVATAR_UNAVAILABLE = "avatar_unavailable"  # the image's host is down or too slow; nothing waits for it

    # The world's fault: RETRY.
    STARTING = "starting"  # the function is not connected to its sidecar, its token or Synapse yet
    SECRET_UNAVAILABLE = "secret_unavailable"  # noqa: S105 - a reason; the secret store gave no MATRIX_ADMIN_TOKEN
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a reason; Synapse refuses the admin token, or it is no admin's
    SERVER_NAME_MISMATCH = "server_name_mismatch"  # the token's homeserver is not MATRIX_SERVER_NAME
    SYNAPSE_UNAVAILABLE = "synapse_unavailable"  # Synapse does not answer, or fails on a call that must work
    SYNAPSE_UNEXPECTED = "synapse_unexpected"  # an answer that is not Synapse's: a proxy, or a wrong address
    RATE_LIMITED = "rate_limited"  # Synapse limits the admin account for longer than a batch may wait
    STATE_UNAVAILABLE = "state_unavailable"  # the state store can't be read or written
    CONFLICT = "conflict"  # another writer changed the user's record again and again
    PUBLISH_FAILED = "publish_failed"  # the dead letter could not be published
    TOO_SLOW = "too_slow"  # the batch took longer than it may
    UNEXPECTED = "unexpected"  # a bug of ours: the event waits until it is mended


class Rejected(Exception):
    """Hopeless: retrying can't help while the event and the world are as they are. Also used as a value."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class TryAgain(Exception):
    """Passing: the same event can succeed later."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
