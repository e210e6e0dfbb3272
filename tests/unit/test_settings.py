"""Settings: a wrong one stops the start with one line that names the variable and what it should be."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from function import __version__
from function.cli import cli
from function.environment import WrongSettings, load
from function.settings import SECRET_KEYS, Settings

RIGHT = {
    "MATRIX_HOMESERVER_URL": "http://127.0.0.1:8008",
    "MATRIX_SERVER_NAME": "test.example",
    "APP_API_TOKEN": "token-of-the-sidecar",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The smallest valid environment, without any other variable of ours."""
    fields = {name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.upper() in fields or name.startswith(
            ("MATRIX_", "KAFKA_", "SECRET_", "STATE_STORE_", "PUBSUB_", "APP_")
        ):
            monkeypatch.delenv(name)
    for name, value in RIGHT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def problems() -> list[str]:
    with pytest.raises(WrongSettings) as caught:
        load(Settings)
    return caught.value.problems


def test_the_least_environment_gives_the_documented_defaults(environment: pytest.MonkeyPatch) -> None:
    """The seed's names and meanings."""
    settings = load(Settings)
    assert settings.enabled
    assert settings.kafka_identity_events_topic == "nova.identity.events"
    assert settings.dead_letter_topic == "nova.identity.events.matrix.dead"
    assert settings.replay_topic == "nova.identity.events.matrix.replay"
    assert (settings.app_host, settings.app_port) == ("127.0.0.1", 18080)
    assert settings.secret_name == "realtime-chat-service-secret"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_ENABLED", "perhaps"),
        ("KAFKA_ENABLED", ""),
        ("MATRIX_ENABLED", "2"),
        ("MATRIX_HOMESERVER_URL", "synapse"),
        ("MATRIX_HOMESERVER_URL", "ftp://synapse"),
        ("MATRIX_HOMESERVER_URL", ""),
        ("MATRIX_SERVER_NAME", "https://test.example"),
        ("MATRIX_SERVER_NAME", "@nova:test.example/"),
        ("MATRIX_SERVER_NAME", ""),
        ("MATRIX_SERVICE_USER", "service"),
        ("MATRIX_SERVICE_USER", "@service:elsewhere.example"),
        ("APP_PORT", "0"),
        ("APP_PORT", "65536"),
        ("APP_PORT", "http"),
        ("APP_API_TOKEN", ""),
        ("APP_API_TOKEN", "short"),
        ("LOG_LEVEL", "LOUD"),
        ("MATRIX_MAS_URL", "mas"),
        ("MATRIX_MAS_PROVIDER", "oidc-nova"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A person reads it in the log of a pod that does not start."""
    environment.setenv(name, value)
    [problem] = problems()
    assert problem.startswith(f"{name}: ")
    assert "\n" not in problem


@pytest.mark.parametrize("name", RIGHT)
def test_a_missing_setting_is_named_with_its_meaning(environment: pytest.MonkeyPatch, name: str) -> None:
    """What to put there is in the line."""
    environment.delenv(name)
    assert problems() == [f"{name}: is not set; expected {Settings.model_fields[name.lower()].description}"]


def test_all_problems_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    """One start, one list, instead of a start for each mistake."""
    environment.setenv("APP_PORT", "0")
    environment.setenv("LOG_LEVEL", "LOUD")
    environment.setenv("KAFKA_ENABLE", "false")
    environment.delenv("MATRIX_SERVER_NAME")
    assert sorted(problem.partition(":")[0] for problem in problems()) == [
        "APP_PORT",
        "KAFKA_ENABLE",
        "LOG_LEVEL",
        "MATRIX_SERVER_NAME",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MATRIX_HOMESERVER_URI", "MATRIX_HOMESERVER_URL"),
        ("KAFKA_ENABLE", "KAFKA_ENABLED"),
        ("KAFKA_IDENTITY_EVENT_TOPIC", "KAFKA_IDENTITY_EVENTS_TOPIC"),
        ("matrix_server_nam", "MATRIX_SERVER_NAME"),
        ("STATE_STORE", "STATE_STORE_NAME"),
        ("LOG_LEVELS", "LOG_LEVEL"),
    ],
)
def test_a_mistyped_variable_is_refused_with_a_suggestion(
    environment: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    """KAFKA_ENABLE=false would consume all the same."""
    environment.setenv(name, "false")
    assert problems() == [f"{name}: is not a setting; did you mean {meant}?"]


def test_a_variable_that_is_like_none_of_ours_is_refused_under_our_prefix(environment: pytest.MonkeyPatch) -> None:
    """MATRIX_ is ours alone."""
    environment.setenv("MATRIX_COLOUR", "green")
    assert problems() == ["MATRIX_COLOUR: is not a setting; the README lists them"]


@pytest.mark.parametrize(
    "name",
    [
        "KAFKA_PORT",
        "KAFKA_PORT_9092_TCP",
        "KAFKA_PORT_9092_TCP_ADDR",
        "KAFKA_PORT_9092_TCP_PROTO",
        "KAFKA_SERVICE_HOST",
        "KAFKA_SERVICE_PORT",
        "KAFKA_SERVICE_PORT_TCP_CLIENT",
        "MATRIX_SYNAPSE_SERVICE_HOST",
        "MATRIX_SYNAPSE_SERVICE_PORT",
        "MATRIX_SYNAPSE_PORT",
        "MATRIX_SYNAPSE_PORT_8008_TCP",
        "MATRIX_SERVICE_HOST",
        "APP_ID",
        "APP_PROTOCOL",
        "APP_HEALTH_CHECK_PATH",
        "LOG_FORMAT",
        "KAFKA_HEAP_OPTS",
    ],
)
def test_variables_of_kubernetes_and_of_others_are_let_pass(environment: pytest.MonkeyPatch, name: str) -> None:
    """A Service named kafka or matrix-synapse puts these into every pod of its namespace."""
    environment.setenv(name, "tcp://10.0.0.1:9092")
    load(Settings)


@pytest.mark.parametrize("key", sorted(SECRET_KEYS))
def test_a_key_of_the_secret_in_the_environment_is_refused_without_showing_it(
    environment: pytest.MonkeyPatch, key: str
) -> None:
    """It belongs into the secret store: an environment is shown by too many tools."""
    environment.setenv(key, "syt_secret")
    [problem] = problems()
    assert problem.startswith(f"{key}: ")
    assert "SECRET_NAME" in problem
    assert "syt_secret" not in problem


def test_the_sidecars_token_is_not_shown(environment: pytest.MonkeyPatch) -> None:
    """Neither in a dump of the settings nor in a complaint about it."""
    assert RIGHT["APP_API_TOKEN"] not in repr(load(Settings))
    environment.setenv("APP_API_TOKEN", "sh0rt")
    assert "sh0rt" not in problems()[0]


def test_creation_under_mas_needs_the_provider(environment: pytest.MonkeyPatch) -> None:
    """Without the link the first login would not find the account."""
    environment.setenv("MATRIX_MAS_URL", "http://mas:8080")
    assert load(Settings).provider == ""
    environment.setenv("MATRIX_PRECREATE_USERS", "true")
    assert problems() == ["MATRIX_MAS_PROVIDER: is not set; MATRIX_PRECREATE_USERS=true needs it under MAS"]
    environment.setenv("MATRIX_MAS_PROVIDER", "01HFVBY12TMNTYTBV8W921M5FA")
    assert load(Settings).provider == "01HFVBY12TMNTYTBV8W921M5FA"


def test_the_admin_account_may_leave_out_the_server(environment: pytest.MonkeyPatch) -> None:
    """So that a deployment names the server once."""
    environment.setenv("MATRIX_SERVER_NAME", "nova.app:8448")
    environment.setenv("MATRIX_SERVICE_USER", "@nova-service")
    assert load(Settings).matrix_service_user == "@nova-service:nova.app:8448"
    environment.setenv("MATRIX_SERVICE_USER", "nova-service")
    assert problems() == [
        "MATRIX_SERVICE_USER: expected a Matrix id of this server, such as @nova-service:nova.app:8448"
    ]


def test_an_empty_address_of_mas_is_none(environment: pytest.MonkeyPatch) -> None:
    """As an overlay leaves it."""
    environment.setenv("MATRIX_MAS_URL", "")
    assert load(Settings).matrix_mas_url is None
    assert load(Settings).provider == "oidc-nova"


@pytest.mark.parametrize("switch", ["KAFKA_ENABLED", "MATRIX_ENABLED"])
def test_either_switch_turns_consuming_off(environment: pytest.MonkeyPatch, switch: str) -> None:
    """As the seed has it."""
    environment.setenv(switch, "false")
    assert not load(Settings).enabled


@pytest.mark.parametrize("command", ["serve", "audit"])
def test_the_command_line_ends_with_2_and_no_traceback(environment: pytest.MonkeyPatch, command: str) -> None:
    """Kubernetes shows the last lines of a pod that fails: they should be the problem."""
    environment.setenv("APP_PORT", "http")
    environment.setenv("MATRIX_HOMESERVER_URI", "http://synapse")
    result = CliRunner().invoke(cli, [command])
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("matrix-account-sync: ") for line in lines)
    assert "Traceback" not in result.output


def test_the_version_is_shown() -> None:
    """The first thing a report needs: between two tags it has more than three parts."""
    result = CliRunner().invoke(cli, ["--version"])
    assert (result.exit_code, result.stdout.split()) == (0, [__version__])


@pytest.mark.parametrize("group", ["group", ""])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sasl.password", "line 1 is not property=value"),
        ("no.such.property=secret", 'No such configuration property: "no.such.property"'),
        ("queued.max.messages.kbytes=secret", 'Invalid value for configuration property "queued.max.messages.kbytes"'),
        ("message.max.bytes=10000000", "`fetch.max.bytes` must be >= `message.max.bytes`"),
        ("error_cb=secret", "error_cb can't be set in a file"),
    ],
)
def test_a_wrong_file_of_kafkas_client_prevents_the_start(
    environment: pytest.MonkeyPatch, tmp_path: Path, text: str, problem: str, group: str
) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text(f"{text}\n")
    environment.setenv("KAFKA_CLIENT_CONFIG", str(path))
    environment.setenv("KAFKA_BROKERS", "127.0.0.1:1")
    environment.setenv("KAFKA_CONSUMER_GROUP_ID", group)
    done = CliRunner().invoke(cli, ["serve"])
    assert done.exit_code == 2
    assert "KAFKA_CLIENT_CONFIG: " in done.output
    assert problem in done.output
    assert "secret" not in done.output.replace("no.such.property", "")
