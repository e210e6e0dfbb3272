"""Names agree across the files that a person edits: components, configuration, dapr.yaml and the function's settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from function.routes import READY_ROUTE
from function.settings import DEAD_SUFFIX, REPLAY_SUFFIX, RESULTS_SUFFIX, SECRET_KEY, Settings

ROOT = Path(__file__).parents[2]
RUN: dict[str, Any] = yaml.safe_load((ROOT / "dapr.yaml").read_text())
(APP,) = RUN["apps"]
RESOURCES = [
    document
    for path in sorted((ROOT / RUN["common"]["resourcesPath"]).glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
COMPONENTS = [resource for resource in RESOURCES if resource["kind"] == "Component"]
CONFIGURATION: dict[str, Any] = yaml.safe_load((ROOT / RUN["common"]["configFilePath"]).read_text())


FURTHER = {f"pubsub-{number}" for number in range(2, Settings.model_fields["pubsub_components"].default + 1)}


def default(setting: str) -> Any:
    return Settings.model_fields[setting].default


def component(kind: str) -> dict[str, Any]:
    """The one component of a building block; of the pub/sub components, the first."""
    found: dict[str, Any]
    (found,) = [
        c for c in COMPONENTS if c["spec"]["type"].startswith(f"{kind}.") and c["metadata"]["name"] not in FURTHER
    ]
    return found


def metadata(found: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("envRef")) for item in found["spec"]["metadata"]}


def resiliency() -> dict[str, Any]:
    spec: dict[str, Any]
    (spec,) = [resource["spec"] for resource in RESOURCES if resource["kind"] == "Resiliency"]
    return spec


@pytest.mark.parametrize(
    ("kind", "setting"),
    [("pubsub", "pubsub_name"), ("state", "state_store_name"), ("secretstores", "secret_store_name")],
)
def test_a_component_has_the_name_that_the_function_asks_for(kind: str, setting: str) -> None:
    name = APP["env"].get(setting.upper(), default(setting))
    assert component(kind)["metadata"]["name"] == name


def test_every_further_member_of_the_group_is_the_same_as_the_first() -> None:
    members = {c["metadata"]["name"]: c["spec"] for c in COMPONENTS if c["metadata"]["name"] in FURTHER}
    assert members == dict.fromkeys(FURTHER, component("pubsub")["spec"])


USED_BY = {
    **{name: {APP["appID"]} for name in ("pubsub", *FURTHER)},
    "resiliency": {APP["appID"]},
    "secretstore": {APP["appID"]},
    "statestore": {APP["appID"]},
}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource["metadata"]["name"])
def test_every_resource_is_for_the_apps_that_use_it_only(resource: dict[str, Any]) -> None:
    assert set(resource["scopes"]) == USED_BY[resource["metadata"]["name"]]


def test_the_configuration_is_not_loaded_as_a_resource() -> None:
    assert CONFIGURATION["kind"] == "Configuration"
    assert {resource["kind"] for resource in RESOURCES} == {"Component", "Resiliency"}


def test_dapr_checks_the_readiness_of_the_function_and_does_so_often() -> None:
    assert APP["enableAppHealthCheck"] is True
    assert APP["appHealthCheckPath"] == READY_ROUTE
    assert APP["appHealthProbeInterval"] * APP["appHealthThreshold"] <= 5


def test_the_sidecar_calls_the_port_that_the_function_listens_on() -> None:
    assert APP["appPort"] == int(APP["env"].get("APP_PORT", default("app_port")))


def test_the_function_may_read_its_own_secret_and_no_other() -> None:
    (scope,) = CONFIGURATION["spec"]["secrets"]["scopes"]
    assert scope["storeName"] == component("secretstores")["metadata"]["name"]
    assert scope["defaultAccess"] == "deny"
    assert scope["allowedSecrets"] == [APP["env"].get("SECRET_NAME", default("secret_name"))]


def test_the_sidecar_offers_what_the_function_uses_and_no_more() -> None:
    allowed = {(api["name"], api["protocol"]) for api in CONFIGURATION["spec"]["api"]["allowed"]}
    assert allowed == {
        ("state", "grpc"), ("secrets", "grpc"), ("publish", "grpc"), ("metadata", "grpc"), ("healthz", "http"),
    }  # fmt: skip


def test_a_batch_that_waits_is_retried_for_ever_at_a_constant_pace() -> None:
    targets = resiliency()["targets"]["components"]
    policy = resiliency()["policies"]["retries"][targets[component("pubsub")["metadata"]["name"]]["inbound"]["retry"]]
    assert (policy["policy"], policy["maxRetries"]) == ("constant", -1)


def test_nothing_else_stands_between_a_batch_and_the_function() -> None:
    """A timeout redelivers what is still running; an open circuit breaker sends everything to the dead letters."""
    assert set(resiliency()["policies"]) == {"retries"}
    waits = {"inbound": {"retry": "retry-until-available"}}
    assert resiliency()["targets"] == {"components": dict.fromkeys({"pubsub", *FURTHER}, waits)}


def test_the_kafka_component_reads_the_variables_that_the_function_knows() -> None:
    values = metadata(component("pubsub"))
    for item, setting in (("brokers", "kafka_brokers"), ("consumerGroup", "kafka_consumer_group_id")):
        assert values[item] == setting.upper()
        assert setting in Settings.model_fields
        assert APP["env"][values[item]]


def test_a_new_consumer_group_starts_at_the_first_record() -> None:
    assert metadata(component("pubsub"))["initialOffset"] == "oldest"


def test_replayed_records_of_a_user_meet_the_same_member_as_the_main_ones() -> None:
    assert metadata(component("pubsub"))["consumerGroupRebalanceStrategy"] == "range"


def test_a_secret_is_a_map_of_keys_as_in_kubernetes() -> None:
    assert metadata(component("secretstores"))["multiValued"] == "true"


def test_every_variable_that_a_component_reads_is_given_by_dapr_yaml() -> None:
    wanted = {item["envRef"] for c in COMPONENTS for item in c["spec"]["metadata"] if "envRef" in item}
    assert wanted <= APP["env"].keys()
    assert not any(re.match(r"DAPR_|APP_API_TOKEN", name) for name in wanted), "daprd refuses these as envRef"


def test_the_function_accepts_the_environment_of_dapr_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in APP["env"].items():
        monkeypatch.setenv(name, value)
    assert Settings().enabled  # type: ignore[call-arg]  # the environment fills it
    assert SECRET_KEY not in APP["env"]


def test_the_app_publishes_and_reads_what_it_must_and_no_more() -> None:
    """The function publishes dead letters and evidence, and the tools, through the same sidecar, replays. None forges an event."""
    main = default("kafka_identity_events_topic")
    dead, replay, results = main + DEAD_SUFFIX, main + REPLAY_SUFFIX, main + RESULTS_SUFFIX
    assert scopes("publishingScopes") == {APP["appID"]: {dead, replay, results}}
    assert scopes("subscriptionScopes") == {APP["appID"]: {main, replay}}


def scopes(which: str) -> dict[str, set[str]]:
    """Topics by app id, as daprd reads them."""
    apps = (app.partition("=") for app in metadata(component("pubsub"))[which].split(";"))
    return {app: set(topics.split(",")) - {""} for app, _, topics in apps}


def test_the_function_recognises_its_members_of_the_group_by_the_name_that_they_have() -> None:
    assert metadata(component("pubsub"))["clientId"] == "KAFKA_CLIENT_ID"
    assert "kafka_client_id" in Settings.model_fields
