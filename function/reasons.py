"""Lists every reason why an event is dead-lettered or retried, with the words that an operator reads.

The command line shows them, and docs/reference/reasons.md is generated from them.
"""

from enum import StrEnum
from typing import Self

_RETRIED = "not needed"  # a replay is for dead letters: a retried event is still in Kafka


class Dependency(StrEnum):
    """What the function needs in order to be ready; the value is a metric label."""

    SIDECAR = "sidecar"
    SECRET = "secret"  # noqa: S105 - no password
    TOKEN = "token"  # noqa: S105 - no password
    SYNAPSE = "synapse"
    MAS = "mas"
    STATE = "state"


class Reason(StrEnum):
    """Why an event was dead-lettered or is retried; the value is the log field, the metric label and the header.

    Attributes:
        means: what happened.
        todo: what an operator does about it.
        replay: whether a replay of the dead letter can help.
        dependency: what failed, if the reason makes the function not ready: it concerns every event, and a probe notices the
            end. A conflict or a rate limit concerns one user, and a failed publish has no probe.
    """

    means: str
    todo: str
    replay: str
    dependency: Dependency | None

    def __new__(cls, value: str, means: str, todo: str, replay: str, dependency: Dependency | None = None) -> Self:
        """Creates a member that carries its texts."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.means, member.todo, member.replay, member.dependency = means, todo, replay, dependency
        return member

    @property
    def retried(self) -> bool:
        """Whether the event is retried; otherwise it is dead-lettered."""
        return self.replay == _RETRIED

    # Rejected events: dead-lettered.
    NOT_JSON = (
        "not_json",
        "The record is not a single JSON object in UTF-8, has a duplicate key or `NaN`, or is nested too deeply.",
        "Read the bytes and fix the producer.",
        "no: the bytes stay as they are",
    )
    UNKNOWN_SHAPE = (
        "unknown_shape",
        "Valid JSON, but the event type could not be determined from headers or body.",
        "Have the producer send the `event_type` header.",
        "no, unless a later version supports the format",
    )
    UNKNOWN_TYPE = (
        "unknown_type",
        (
            "The event type is none of those handled, but the record can't be ignored: the type is not well-formed or "
            "resembles one of them, or a header or the value says that it may be one. The detail says which."
        ),
        "Read the record. If it is a deletion, it has not happened in Matrix: have the producer send it with a known type.",
        "no, unless a later version knows the type",
    )
    CONTRADICTORY_TYPES = (
        "contradictory_types",
        "The event counts as another type, but a header, its envelope or its fields say that it is a deletion.",
        "Ask the identity service whether the user was deleted, and have it send the event with one type. Nothing was done.",
        "no",
    )
    TIME_IN_FUTURE = (
        "time_in_future",
        (
            "The event's own time is over an hour later than the record's Kafka time and than now: each later event of "
            "the user would be stale. A deletion is carried out whatever its time."
        ),
        "Fix the producer's clock and have it send the event again.",
        "no, unless that time has come",
    )
    INVALID_CLOUDEVENT = (
        "invalid_cloudevent",
        "The record claims to be a CloudEvent but violates the CloudEvents 1.0 specification, or its data is not an object.",
        "Fix the producer; `id`, `source`, `type` and `specversion` are required.",
        "no",
    )
    INVALID_PAYLOAD = (
        "invalid_payload",
        "A field of the payload is missing or malformed; the detail names the field.",
        "Have the producer send a correct event. A deletion has not happened in Matrix.",
        "no, unless a later version accepts the field",
    )
    INVALID_DISPLAY_NAME = (
        "invalid_display_name",
        "Synapse can't store the name: over 256 characters, a NUL or a lone surrogate. Name and avatar are unchanged.",
        "Have the user choose another name; the next profile event sets it.",
        "no",
    )
    AVATAR_INVALID = (
        "avatar_invalid",
        (
            "The avatar is neither an `mxc://` URL that Synapse can store nor an `https://` URL, or it is too long: over "
            "1,000 characters (`mxc://`) or 8,192 bytes (`https://`). The name is applied, the avatar is unchanged."
        ),
        "Fix the URL in the identity service; the next profile event sets it.",
        "no",
    )
    AVATAR_HOST_NOT_ALLOWED = (
        "avatar_host_not_allowed",
        (
            "The avatar is an `https://` URL whose host is not in `AVATAR_ALLOWED_HOSTS`. The name is applied, the "
            "avatar is unchanged."
        ),
        "Add the host, if it is trusted.",
        "yes, once the host is allowed",
    )
    AVATAR_ADDRESS_REFUSED = (
        "avatar_address_refused",
        (
            "The image host resolves to an address that is not public: private, loopback, link-local, shared or "
            "reserved. The name is applied, the avatar is unchanged."
        ),
        "Find out why the host name resolves to an internal address; images must come from a public one.",
        "yes, once the name resolves to a public address",
    )
    AVATAR_REDIRECTS = (
        "avatar_redirects",
        (
            "The image host redirects more than 3 times, or to a host that is not allowed or not https. The name is "
            "applied, the avatar is unchanged."
        ),
        "Allow the host that it redirects to, if it is trusted.",
        "yes, once that host is allowed",
    )
    AVATAR_NOT_FOUND = (
        "avatar_not_found",
        (
            "The image host answered with a 4xx or another status without an image; the detail has the status. The "
            "name is applied, the avatar is unchanged."
        ),
        "Check that the image can be fetched without logging in.",
        "yes, once it can",
    )
    AVATAR_TOO_LARGE = (
        "avatar_too_large",
        (
            "The image is over 8 MiB, over 8192 pixels a side, or over 32 Mi pixels in total. The name is applied, the "
            "avatar is unchanged."
        ),
        "Have the identity service store a smaller image.",
        "yes, once the URL has a smaller one",
    )
    AVATAR_NOT_AN_IMAGE = (
        "avatar_not_an_image",
        (
            "The content is not PNG, JPEG, GIF or WebP, has a corrupt header, or is compressed in transit. The name is "
            "applied, the avatar is unchanged."
        ),
        "Check what the URL returns.",
        "yes, once it returns an image",
    )
    AVATAR_UNAVAILABLE = (
        "avatar_unavailable",
        (
            "The image host is unreachable, has no valid certificate, fails, takes over 5 s, or is slow: its images have "
            "taken 20 s more than 1 s each within about a minute. It is not contacted for 30 s; avatars from it are rejected at "
            "once until then (detail `failed a moment ago` or `slow a moment ago`). The name is applied, the avatar is "
            "unchanged."
        ),
        "Check the image host, and how long it takes for an image.",
        "yes, once the host works, and answers within 1 s on average",
    )
    SYNAPSE_REFUSED = (
        "synapse_refused",
        (
            "Synapse is healthy and refuses this request: 400, 409 or 413, or repeatedly 401, 403 or 404; the detail has "
            "its error code."
        ),
        "Look up the error code in Synapse's log at that time.",
        "yes, once the cause of the refusal is gone",
    )
    DEACTIVATION_INCOMPLETE = (
        "deactivation_incomplete",
        (
            "Synapse refused to deactivate or erase the account, which is still active. With 400 `M_UNKNOWN` an identity "
            "server that knows one of the user's third-party ids did not answer; with 403 `M_FORBIDDEN` a module forbids it."
        ),
        (
            "Look for `Failed to remove threepid` in Synapse's log. Bring the identity server up, or remove the "
            "third-party id's binding to it, and replay."
        ),
        "yes, once the identity server answers or the module allows it",
    )
    SYNAPSE_ERROR = (
        "synapse_error",
        (
            "Synapse is healthy, but this request kept failing with 5xx, timeouts or closed connections. Synapse may have "
            "carried it out."
        ),
        "Look for the traceback in Synapse's log.",
        "yes, once Synapse is fixed",
    )
    UNEXPECTED_ANSWER = (
        "unexpected_answer",
        (
            "Synapse and MAS are healthy, but the answer to this request is repeatedly not theirs: a proxy or a firewall "
            "answers it; the detail has the status."
        ),
        "Raise the proxy's limit for bodies (413) or exempt the path from its rules (403, 3xx).",
        "yes, once the request reaches Synapse",
    )
    MAS_REFUSED = (
        "mas_refused",
        (
            "MAS (Matrix Authentication Service) is healthy and refuses this request; the detail has the status. With 409 "
            "the user's name is reserved; with 404 the upstream provider of `MATRIX_MAS_PROVIDER` may not exist."
        ),
        "Run `matrix-account-sync check`, and look at MAS's log at that time.",
        "yes, once the cause of the refusal is gone",
    )
    MAS_ERROR = (
        "mas_error",
        (
            "MAS is healthy, but this request kept failing with 5xx, timeouts or closed connections, or MAS has a user "
            "without an account in Synapse. MAS may have carried it out."
        ),
        "Look for the error in MAS's log. MAS answers 500 too if Synapse refuses what MAS asks of it.",
        "yes, once MAS is fixed",
    )
    DELETION_LIMIT = (
        "deletion_limit",
        (
            "More accounts were deleted within an hour than `MATRIX_MAX_DELETIONS_PER_HOUR` allows. Nothing was done "
            "for this user, and nothing is stored about the event."
        ),
        (
            "Ask the identity service whether the deletions are intended. If so, raise the limit and replay; if not, "
            "leave the dead letters."
        ),
        "yes, once the limit allows it",
    )
    EXTERNAL_ID_TAKEN = (
        "external_id_taken",
        (
            "The account was created, but its external id at `MATRIX_OIDC_PROVIDER` (under MAS: `MATRIX_MAS_PROVIDER`) "
            "belongs to another account, which the user's login opens. The header `x-dead-letter-ids` has both."
        ),
        "Decide which account is the user's; deactivate the other or remove the external id from it.",
        "yes, once the external id is free",
    )
    DAPR_RETRIES_EXHAUSTED = (
        "dapr_retries_exhausted",
        "Dead-lettered by daprd, not by the function: Dapr's retries ran out.",
        "Check daprd's log at that time and the Resiliency policy: with `maxRetries: -1` this does not happen.",
        "yes: the function has not seen the event, or could not answer",
    )

    # Dependency failures: retried.
    STARTING = (
        "starting",
        "The function has not yet reached its sidecar, its token, the state store and Synapse.",
        "If it lasts: is daprd running, and are `DAPR_HTTP_PORT` and `DAPR_GRPC_PORT` its ports?",
        _RETRIED,
        Dependency.SIDECAR,
    )
    REJOINING = (
        "rejoining",
        (
            "daprd had stopped reading partitions that it owns; the function reports not ready for some seconds, so that daprd "
            "leaves the consumer group and joins it again. The log names the partitions."
        ),
        "Nothing, unless it comes back: see MatrixAccountSyncPartitionStalled in the runbook.",
        _RETRIED,
        Dependency.SIDECAR,
    )
    SECRET_UNAVAILABLE = (
        "secret_unavailable",
        "The secret store returned no secret, or one without the admin token or MAS's client; the detail names the key.",
        "Check `SECRET_STORE_NAME` and `SECRET_NAME`, and that the Dapr Configuration allows this secret.",
        _RETRIED,
        Dependency.SECRET,
    )
    TOKEN_REFUSED = (
        "token_refused",
        "Synapse rejects the token, or its owner is not (or no longer) a server admin.",
        (
            "Renew the token. Under MAS, if the function makes its own: is `MATRIX_SERVICE_USER` locked in MAS, and is "
            "`MATRIX_MAS_URL` that of the MAS to which Synapse delegates?"
        ),
        _RETRIED,
        Dependency.TOKEN,
    )
    ADMIN_SUSPENDED = (
        "admin_suspended",
        "The admin account that owns the token is suspended, locked, deactivated or expired; the detail says which.",
        "Unsuspend, unlock or renew the admin account, or use the token of another admin.",
        _RETRIED,
        Dependency.TOKEN,
    )
    ADMIN_LIMITED = (
        "admin_limited",
        (
            "The admin account reached a limit of Synapse, such as `media_upload_limits` for the avatars that it uploads, "
            "or must consent to terms; the detail has the error code."
        ),
        "Exempt the admin account from the limit, or raise it above the sum of the users' avatars.",
        _RETRIED,
        Dependency.TOKEN,
    )
    SERVER_NAME_MISMATCH = (
        "server_name_mismatch",
        "The token belongs to a homeserver other than `MATRIX_SERVER_NAME`.",
        "Set `MATRIX_SERVER_NAME` to `server_name` of `homeserver.yaml`.",
        _RETRIED,
        Dependency.TOKEN,
    )
    SYNAPSE_UNAVAILABLE = (
        "synapse_unavailable",
        "Synapse does not answer, or fails on a call that must work; its database may be down.",
        "Bring Synapse and its database up.",
        _RETRIED,
        Dependency.SYNAPSE,
    )
    SYNAPSE_UNEXPECTED = (
        "synapse_unexpected",
        "The answer to the probe does not come from Synapse: a proxy answered, or the URL is wrong.",
        "`MATRIX_HOMESERVER_URL` must reach `/_matrix` and `/_synapse/admin`.",
        _RETRIED,
        Dependency.SYNAPSE,
    )
    MAS_NOT_CONFIGURED = (
        "mas_not_configured",
        (
            "Matrix Authentication Service (MAS) owns the homeserver's accounts, and the function is not configured for it. "
            "What it did through Synapse alone would be undone: a deleted user could log in again."
        ),
        "Set `MATRIX_MAS_URL`, and put MAS's client id and secret into the secret: docs/mas.md.",
        _RETRIED,
        Dependency.MAS,
    )
    MAS_OFF = (
        "mas_off",
        "`MATRIX_MAS_URL` is set, but Synapse owns its accounts itself: it does not delegate to MAS.",
        "Unset `MATRIX_MAS_URL`, or switch `matrix_authentication_service` on in Synapse's configuration.",
        _RETRIED,
        Dependency.MAS,
    )
    MAS_TOKEN_REFUSED = (
        "mas_token_refused",
        (
            "MAS gives no token for the client of the secret, or refuses it; or it makes no session for "
            "`MATRIX_SERVICE_USER`. The detail says which."
        ),
        (
            "Compare the secret's client id and secret with MAS's `clients`, add the client to its "
            "`policy.data.admin_clients`, and see that the service user exists and is active."
        ),
        _RETRIED,
        Dependency.MAS,
    )
    MAS_UNAVAILABLE = (
        "mas_unavailable",
        "MAS is down, restarting, unreachable or failing; or the function's pods may not reach it.",
        "Check MAS and its database. Its admin API must be on the listener that `MATRIX_MAS_URL` reaches.",
        _RETRIED,
        Dependency.MAS,
    )
    MAS_UNEXPECTED = (
        "mas_unexpected",
        (
            "What answers at `MATRIX_MAS_URL` is not MAS's admin API (a proxy, another service, or a listener without "
            "`adminapi`), or it is another MAS than the one to which Synapse delegates."
        ),
        "Add the resource `adminapi` to one of the listeners of Synapse's MAS, and point `MATRIX_MAS_URL` at it.",
        _RETRIED,
        Dependency.MAS,
    )
    RATE_LIMITED = (
        "rate_limited",
        "Synapse limits the rate for longer than 15 s or 10 tries of one request.",
        "Lift the rate limit of the admin account.",
        _RETRIED,
    )
    STATE_UNAVAILABLE = (
        "state_unavailable",
        "The state store can't be read or written.",
        "Check the component that `STATE_STORE_NAME` names and its database.",
        _RETRIED,
        Dependency.STATE,
    )
    STATE_UNREADABLE = (
        "state_unreadable",
        "The user's state in the state store can't be read by this version; the other users are not affected.",
        "Run the version that wrote it. If none did, delete the user's key: the next event reads the account again.",
        _RETRIED,
    )
    CLAIMED = (
        "claimed",
        "Another process is working on the user, or died doing so: its claim in the user's state lasts up to 30 s.",
        "Nothing: it passes by itself.",
        _RETRIED,
    )
    CONFLICT = (
        "conflict",
        "Another writer changed the user's record three times in a row.",
        "Nothing if it passes. If not: which other process writes to this state store?",
        _RETRIED,
    )
    DELETION_LIMIT_PENDING = (
        "deletion_limit_pending",
        (
            "Deletions in flight, or other pods, hold the rest of `MATRIX_MAX_DELETIONS_PER_HOUR`; whether they deactivate "
            "an account is known within four minutes. The deletion waits."
        ),
        "Nothing if it passes. If not: raise the limit, which is too low for the number of pods.",
        _RETRIED,
    )
    DELETION_COUNT_UNREADABLE = (
        "deletion_count_unreadable",
        "The state store's key `deletion-limit` holds a value that this version can't read. Every deletion waits.",
        "Run the version that wrote it, or delete the key: the count of the last hour then starts from zero.",
        _RETRIED,
    )
    RECHECK_UNREADABLE = (
        "recheck_unreadable",
        (
            "One of the state store's keys `recheck-00` to `recheck-3f` holds a value that this version can't read. The "
            "users whose rechecks it holds wait."
        ),
        "Run the version that wrote it, or delete the key: the rechecks in it are then lost.",
        _RETRIED,
    )
    MARKS_UNREADABLE = (
        "marks_unreadable",
        (
            "A key of the state store that says which dead letters were replayed or discarded holds a value that this "
            "version can't read. No event is affected."
        ),
        "Run the version that wrote it, or delete the key: the letters whose marks it holds are then open again.",
        _RETRIED,
    )
    PUBLISH_FAILED = (
        "publish_failed",
        "The dead letter, or the evidence of a change, could not be published; the detail names the topic.",
        "Does the topic exist, and may daprd write to it? `check` tries.",
        _RETRIED,
    )
    KAFKA_UNAVAILABLE = (
        "kafka_unavailable",
        "Kafka does not answer its own client, which asks for lag and dead letters, or refuses it; the detail has the error's name.",
        "Check KAFKA_BROKERS and KAFKA_CLIENT_CONFIG; with an AUTHORIZATION error, the rights of the client's user. Events are not affected.",
        _RETRIED,
    )
    TOO_SLOW = (
        "too_slow",
        "The calls for one user took over 30 s, or the batch's users did not all get their turn in that time.",
        "Check Synapse's load.",
        _RETRIED,
    )
    UNEXPECTED = (
        "unexpected",
        "A bug in this service. No event is lost: it stays in Kafka until a fixed version runs.",
        (
            "Look for `user_failed`, `batch_failed`, `probe_failed` or `start_failed` in the log and report `error` and "
            "`at`."
        ),
        _RETRIED,
    )
