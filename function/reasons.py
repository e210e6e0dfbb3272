"""Every reason why an event is dead-lettered or has to wait, with the words that a person reads.

A sentence on what it means, what to do about it, and whether a replay of the dead letter can help: the command line
shows them, and docs/reasons.md is compared with them.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why an event was dead-lettered or has to wait; the value is the log field and the dead letter's header."""

    means: str
    todo: str
    replay: str

    def __new__(cls, value: str, means: str, todo: str, replay: str) -> Self:
        """A member, with its words beside its value."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.means, member.todo, member.replay = means, todo, replay
        return member

    # The event's own fault: dead letter.
    NOT_JSON = (
        "not_json",
        "The record is not one JSON object in UTF-8, or it has a key twice, `NaN`, or absurd nesting.",
        "Look at the bytes and mend the producer.",
        "no: the bytes stay as they are",
    )
    UNKNOWN_SHAPE = (
        "unknown_shape",
        "A JSON object, but neither a header nor its content says which type it is.",
        "Have the producer send the `event_type` header.",
        "no, unless a later version knows the shape",
    )
    INVALID_CLOUDEVENT = (
        "invalid_cloudevent",
        (
            "The record says that it is a CloudEvent, but it breaks the CloudEvents 1.0 specification, or its data is no "
            "object."
        ),
        "Mend the producer; `id`, `source`, `type` and `specversion` are required.",
        "no",
    )
    INVALID_PAYLOAD = (
        "invalid_payload",
        "A deletion or profile with a field missing or of the wrong form; the detail names the field.",
        "Have the producer send the event again, correctly. A deletion has not happened in Matrix.",
        "no, unless a later version accepts the field",
    )
    INVALID_DISPLAY_NAME = (
        "invalid_display_name",
        (
            "Synapse can't store the name: over 256 characters, a NUL or a lone surrogate. Name and avatar stay as they "
            "were."
        ),
        "Have the person choose another name; the next profile event sets it.",
        "no",
    )
    AVATAR_INVALID = (
        "avatar_invalid",
        (
            "The avatar is neither an `mxc://` nor an `https://` address that Synapse can store. The name is applied, the "
            "avatar stays as it was."
        ),
        "Mend the address in the identity service; the next profile event sets it.",
        "no",
    )
    AVATAR_HOST_NOT_ALLOWED = (
        "avatar_host_not_allowed",
        (
            "The avatar is an `https://` address whose host is not among `AVATAR_ALLOWED_HOSTS`. The name is applied, "
            "the avatar stays as it was."
        ),
        "Add the host, if it is trusted.",
        "yes, once the host is allowed",
    )
    AVATAR_ADDRESS_REFUSED = (
        "avatar_address_refused",
        (
            "The image's host resolves to an address that is not on the internet: private, loopback, link-local, shared"
            " or reserved. The name is applied, the avatar stays as it was."
        ),
        "Ask why that name leads into a network; an image must come from a public address.",
        "yes, once the name resolves to a public address",
    )
    AVATAR_REDIRECTS = (
        "avatar_redirects",
        (
            "The image's host redirects more than 3 times, or to a host that is not allowed or not https. The name is "
            "applied, the avatar stays as it was."
        ),
        "Allow the host that it redirects to, if it is trusted.",
        "yes, once that host is allowed",
    )
    AVATAR_NOT_FOUND = (
        "avatar_not_found",
        (
            "The image's host answered with a 4xx, or with another status that brings no image; the detail has it. The "
            "name is applied, the avatar stays as it was."
        ),
        "Look whether the image can be read without logging in.",
        "yes, once it can",
    )
    AVATAR_TOO_LARGE = (
        "avatar_too_large",
        (
            "The image has over 8 MiB, over 8192 pixels a side, or over 32 Mi pixels in all. The name is applied, the "
            "avatar stays as it was."
        ),
        "Have the identity service store a smaller one.",
        "yes, once the address has a smaller one",
    )
    AVATAR_NOT_AN_IMAGE = (
        "avatar_not_an_image",
        (
            "The content is neither PNG, JPEG, GIF nor WebP, has a corrupt header, or is compressed in transit. The "
            "name is applied, the avatar stays as it was."
        ),
        "Look at what the address gives.",
        "yes, once it gives an image",
    )
    AVATAR_UNAVAILABLE = (
        "avatar_unavailable",
        (
            "The image's host can't be reached, has no valid certificate, fails, or takes over 5 s. It is then left "
            "alone for 30 s, in which this is the answer at once. The name is applied, the avatar stays as it was."
        ),
        "Look at the image's host.",
        "yes, once the host works",
    )
    SYNAPSE_REFUSED = (
        "synapse_refused",
        (
            "Synapse works for others and answered this call with a 400, 409 or 413 of its own; the detail has its error "
            "code."
        ),
        "Look the code up in Synapse's log at that time.",
        "yes, once what Synapse objects to has changed",
    )
    SYNAPSE_ERROR = (
        "synapse_error",
        "Synapse works for others but failed on this call again and again, with 5xx or a timeout.",
        "Look for the traceback in Synapse's log.",
        "yes, once Synapse is mended",
    )
    DELETION_BRAKE = (
        "deletion_brake",
        (
            "More accounts were deleted within an hour than `MATRIX_MAX_DELETIONS_PER_HOUR`. Nothing was done for this "
            "one, and nothing is remembered of it."
        ),
        (
            "Ask the identity service whether the deletions are meant. If so, raise the limit and replay; if not, leave"
            " the letters."
        ),
        "yes, once the limit allows it",
    )
    EXTERNAL_ID_TAKEN = (
        "external_id_taken",
        (
            "The account was created, but its identity belongs to another account at `MATRIX_OIDC_PROVIDER`: the "
            "person's login leads there. The header `x-dead-letter-ids` has both."
        ),
        "Decide which account is the person's; deactivate the other or take the identity from it.",
        "yes, once the identity is free",
    )
    DELIVERY = (
        "delivery",
        "Not the function's letter but daprd's own: the net under it, which catches what was never answered.",
        "Look at daprd's log of that time, and at the Resiliency policy: with `maxRetries: -1` none should be here.",
        "yes: the function has not seen it, or could not answer",
    )

    # The world's fault: RETRY.
    STARTING = (
        "starting",
        "The function has not yet found its sidecar, its token, the state store and Synapse.",
        "If it lasts: is daprd running, and are `DAPR_HTTP_PORT` and `DAPR_GRPC_PORT` its ports?",
        "not needed",
    )
    SECRET_UNAVAILABLE = (
        "secret_unavailable",
        "The secret store gave no `MATRIX_ADMIN_TOKEN`.",
        "Check `SECRET_STORE_NAME` and `SECRET_NAME`, and that the Dapr Configuration allows this secret.",
        "not needed",
    )
    TOKEN_REFUSED = (
        "token_refused",
        "Synapse refuses the token, or its owner is no server admin (any more).",
        "Renew the token.",
        "not needed",
    )
    SERVER_NAME_MISMATCH = (
        "server_name_mismatch",
        "The token belongs to a homeserver other than `MATRIX_SERVER_NAME`.",
        "Set `MATRIX_SERVER_NAME` to `server_name` of `homeserver.yaml`.",
        "not needed",
    )
    SYNAPSE_UNAVAILABLE = (
        "synapse_unavailable",
        "Synapse does not answer, or fails on a call that must work; its database may be away.",
        "Bring Synapse and its database up.",
        "not needed",
    )
    SYNAPSE_UNEXPECTED = (
        "synapse_unexpected",
        "The answer is not one that Synapse gives: a proxy, or a wrong address.",
        "`MATRIX_HOMESERVER_URL` must reach `/_matrix` and `/_synapse/admin`.",
        "not needed",
    )
    RATE_LIMITED = (
        "rate_limited",
        "Synapse asks to wait longer than the 15 s that a call may wait.",
        "Lift the rate limit of the admin account.",
        "not needed",
    )
    STATE_UNAVAILABLE = (
        "state_unavailable",
        "The state store can't be read or written, or holds a record that this version can't read.",
        "Check the component that `STATE_STORE_NAME` names and its database; run the version that wrote the records.",
        "not needed",
    )
    CONFLICT = (
        "conflict",
        "Another writer changed the user's record three times in a row.",
        "Nothing if it passes. If not: who else writes to this state store?",
        "not needed",
    )
    PUBLISH_FAILED = (
        "publish_failed",
        "The dead letter could not be published.",
        "Does the topic `<topic>.matrix.dead` exist, and may daprd write to it?",
        "not needed",
    )
    TOO_SLOW = (
        "too_slow",
        "One user's calls took over 30 s.",
        "Look at Synapse's load.",
        "not needed",
    )
    UNEXPECTED = (
        "unexpected",
        "A bug of this service. Nothing is thrown away: the event waits until it is mended.",
        (
            "Look for `user_failed`, `batch_failed`, `probe_failed` or `start_failed` in the log and report `error` and "
            "`at`."
        ),
        "not needed",
    )
