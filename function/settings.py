"""Defines every setting with its default and meaning; environment.py reads them.

The admin token and MAS's client are not settings: they are read from Dapr's secret store. docs/reference/settings.md is
generated from here.
"""

import re
from typing import Literal

from pydantic import Field, HttpUrl, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from function.avatars.ssrf_guard import allowed_origin

# Names of keys inside the secret, not secrets.
SECRET_KEY = "MATRIX_ADMIN_TOKEN"  # noqa: S105
MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY = "MATRIX_MAS_CLIENT_ID", "MATRIX_MAS_CLIENT_SECRET"
SECRET_KEYS = frozenset({SECRET_KEY, MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY})
DEAD_SUFFIX, REPLAY_SUFFIX, RESULTS_SUFFIX = ".matrix.dead", ".matrix.replay", ".matrix.results"
DRY_SUFFIX = "-dry-run"

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_NAME = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}")


class CommonSettings(BaseSettings):
    """The settings that function and tools share; each field is the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, case_sensitive=False, extra="ignore")

    kafka_brokers: str = Field(
        "",
        description="read by daprd's pub/sub component; also where function and tools ask Kafka for lag and dead letters; "
        "empty: the function does not ask",
    )
    kafka_client_config: str = Field(
        "",
        description="file with further properties of Kafka's own client, as librdkafka and kcat know them, such as "
        "`security.protocol=SSL`; empty: none",
    )
    kafka_consumer_group_id: str = Field("", description="the group of daprd's pub/sub component; its lag is shown")
    kafka_identity_events_topic: str = Field(
        "nova.identity.events",
        min_length=1,
        description="the topic of the identity service; `.matrix.dead` and `.matrix.replay` are appended for the other two",
    )
    pubsub_name: str = Field(
        "pubsub",
        description="name of the first Dapr pub/sub component; dead letters and replays go through it",
    )
    state_store_name: str = Field("statestore", description="name of the Dapr state store component")
    matrix_max_deletions_per_hour: int = Field(
        500,
        ge=0,
        description="limit over all pods; deletions over it are dead-lettered as `deletion_limit`; `0` for no limit",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="`DEBUG` adds a line for every event, `INFO` for every change; also `WARNING`, `ERROR`"
    )

    @property
    def dead_letter_topic(self) -> str:
        return self.kafka_identity_events_topic + DEAD_SUFFIX

    @property
    def replay_topic(self) -> str:
        return self.kafka_identity_events_topic + REPLAY_SUFFIX


class ToolSettings(CommonSettings):
    """The settings of the tools that look at Kafka: `dead-letters`, `replay` and `discard`."""

    kafka_brokers: str = Field(min_length=1, description="addresses of Kafka's brokers, separated by commas")


class Settings(CommonSettings):
    """The function's settings."""

    app_host: str = Field("127.0.0.1", description="address to listen on; `0.0.0.0` where kubelet probes the pod")
    app_port: int = Field(18080, ge=1, le=65535, description="port to listen on; `dapr run` sets it")
    app_api_token: SecretStr = Field(
        min_length=8,
        description="the token that daprd sends as `dapr-api-token` with each request; at least 8 characters",
    )
    kafka_enabled: bool = Field(True, description="`false`: subscribe to nothing; offsets stay, `true` resumes there")
    matrix_enabled: bool = Field(True, description="`false`: the same as `KAFKA_ENABLED=false`")
    matrix_homeserver_url: HttpUrl = Field(description="base URL of Synapse's client and admin APIs")
    matrix_server_name: str = Field(description="the part after the colon of a Matrix id")
    matrix_service_user: str = Field(
        "",
        description="the Matrix id of the admin account that owns the token, or only `@` and its first part: `check` compares it; "
        "under MAS the function makes a session for this user if the secret has no `MATRIX_ADMIN_TOKEN`",
    )
    matrix_mas_url: HttpUrl | None = Field(
        None,
        description="base URL of Matrix Authentication Service (MAS) and its admin API, where it owns the accounts; empty: Synapse "
        "owns them. The secret then has `MATRIX_MAS_CLIENT_ID` and `MATRIX_MAS_CLIENT_SECRET`",
    )
    matrix_mas_provider: str = Field(
        "",
        description="under MAS the id (a ULID) of its upstream provider for the identity service; needed to create accounts",
    )
    matrix_results_topic: str = Field(
        "",
        description="the topic to which each change of an account is published, such as `nova.identity.events.matrix.results`, which "
        "the pub/sub components allow: see [evidence](../evidence.md); empty: none is",
    )
    matrix_precreate_users: bool = Field(False, description="`true`: create accounts before the first login")
    matrix_oidc_provider: str = Field(
        "oidc-nova",
        description="Synapse's auth provider id of the identity service: `oidc-` followed by its `idp_id`; not used under MAS",
    )
    matrix_erase_messages: bool = Field(
        False, description="`true`: a hard deletion also redacts the user's messages in every room; needs Synapse 1.145"
    )
    matrix_erase_media: bool = Field(
        False, description="`true`: a hard deletion also deletes the files that the user uploaded"
    )
    matrix_dry_run: bool = Field(
        False,
        description="`true`: log the calls instead of making them; needs its own consumer group, whose name ends with `-dry-run`",
    )
    avatar_allowed_hosts: str = Field(
        "", description="comma-separated hosts from which `https://` avatars may be copied; empty: none"
    )
    kafka_client_id: str = Field(
        "",
        description="the `clientId` of the pub/sub components, different in each pod: how the function knows its own members of "
        "the group; empty: partitions that daprd stops reading are not noticed",
    )
    pubsub_components: int = Field(
        3, ge=1, le=16,
        description="number of pub/sub components: `PUBSUB_NAME`, `PUBSUB_NAME-2` and so on; each has its own batch in flight; "
        "daprd does not report a missing one, `check` does",
    )  # fmt: skip
    secret_store_name: str = Field("secretstore", description="name of the Dapr secret store component")
    secret_name: str = Field(
        "realtime-chat-service-secret",
        description="the secret with the key `MATRIX_ADMIN_TOKEN`, or those of MAS's client",
    )

    @property
    def pubsub_names(self) -> list[str]:
        """The pub/sub components: each is a member of the consumer group."""
        return [self.pubsub_name, *(f"{self.pubsub_name}-{number}" for number in range(2, self.pubsub_components + 1))]

    @property
    def enabled(self) -> bool:
        return self.kafka_enabled and self.matrix_enabled

    @field_validator("matrix_server_name")
    @classmethod
    def _is_server_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("expected a Matrix server name such as staging.nova.app, without @ or https://")
        return value

    @field_validator("matrix_service_user")
    @classmethod
    def _with_server_name(cls, value: str, info: ValidationInfo) -> str:
        """Completes `@nova-service`, so that a deployment says the server's name once."""
        server = info.data.get("matrix_server_name")
        return f"{value}:{server}" if value and server and ":" not in value else value

    @field_validator("matrix_mas_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("matrix_mas_provider")
    @classmethod
    def _is_ulid(cls, value: str) -> str:
        if value and not _ULID.fullmatch(value):
            raise ValueError(
                "expected the provider's `id` in MAS's configuration, a ULID such as 01HFVBY12TMNTYTBV8W921M5FA"
            )
        return value

    @field_validator("matrix_results_topic")
    @classmethod
    def _is_topic(cls, value: str) -> str:
        if value and not _TOPIC.fullmatch(value):
            raise ValueError("expected the name of a Kafka topic such as nova.identity.events.matrix.results")
        return value

    @field_validator("avatar_allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        for entry in _listed(value):
            try:
                allowed_origin(entry)
            except ValueError:
                raise ValueError(
                    "expected hosts such as cdn.example.org or cdn.example.org:8443, separated by commas"
                ) from None
        return value

    @property
    def avatar_hosts(self) -> frozenset[str]:
        return frozenset(_listed(self.avatar_allowed_hosts))

    @model_validator(mode="after")
    def _dry_run_has_its_own_group(self) -> "Settings":
        """Requires another group: a dry run acknowledges events unapplied, which in the function's group would lose them."""
        if self.matrix_dry_run and not self.kafka_consumer_group_id.endswith(DRY_SUFFIX):
            raise ValueError(
                f"KAFKA_CONSUMER_GROUP_ID: with MATRIX_DRY_RUN=true expected a group of its own, ending with {DRY_SUFFIX}"
            )
        return self

    @model_validator(mode="after")
    def _results_have_their_own_topic(self) -> "Settings":
        """Requires another topic: the function would read its own messages as events."""
        if self.matrix_results_topic in {self.kafka_identity_events_topic, self.dead_letter_topic, self.replay_topic}:
            raise ValueError(
                f"MATRIX_RESULTS_TOPIC: expected a topic of its own such as {self.kafka_identity_events_topic}{RESULTS_SUFFIX}"
            )
        return self

    @model_validator(mode="after")
    def _creation_has_a_provider(self) -> "Settings":
        """Requires MAS's provider for creation: without the link the person's first login would not find the account."""
        if self.matrix_mas_url and self.matrix_precreate_users and not self.matrix_mas_provider:
            raise ValueError("MATRIX_MAS_PROVIDER: is not set; MATRIX_PRECREATE_USERS=true needs it under MAS")
        return self

    @property
    def provider(self) -> str:
        """The identity service's id where accounts are linked; "" under MAS if none are created, since it costs a request."""
        if self.matrix_mas_url:
            return self.matrix_mas_provider if self.matrix_precreate_users else ""
        return self.matrix_oidc_provider

    @model_validator(mode="after")
    def _service_user_is_local(self) -> "Settings":
        user, server = self.matrix_service_user, self.matrix_server_name
        if user and not (user.startswith("@") and user.endswith(f":{server}")):
            raise ValueError(
                f"MATRIX_SERVICE_USER: expected a Matrix id of this server, such as @nova-service:{server}"
            )
        return self


def _listed(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()]
