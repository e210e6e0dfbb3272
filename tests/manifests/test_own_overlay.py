"""The overlay of ten lines in docs/deploy.md, on top of production: each value is said once, and reaches every object that
needs it. What production has instead is left nowhere."""

import functools
from collections.abc import Iterator

import pytest
import yaml

from function.settings import RESULTS_SUFFIX
from tests.manifests.own_overlay import EVERYTHING, OVERLAY
from tests.manifests.rendering import COMMANDS, K8S, Manifests, dig, leaves, metadata, render, render_overlay
from tests.manifests.rules.names import APP, SECRET_NAMES, settings_of

TAG = yaml.safe_load((K8S / "overlays/production/kustomization.yaml").read_text())["images"][0]["newTag"]
# Production's own values, none of which may be left. The state store's Secret has the name of the Component.
OLD = ("infrastructure", "nova.identity.events", "realtime-chat-service", "kafka-headless", "nova.app", "registry.example", TAG,
       *sorted({*SECRET_NAMES.values()} - {f"{APP}-statestore"}))  # fmt: skip
# The same without a change: the control.
PRODUCTION = "{resources: [../production], components: []}"


@functools.cache
def own(*, oldest: bool = False) -> Manifests:
    return render_overlay(OVERLAY, *EVERYTHING, oldest=oldest)


def values(manifests: Manifests) -> Iterator[tuple[str, str]]:
    """Every text of the objects except the dashboard, with its place."""
    for document in manifests.documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        for path, value in leaves(document):
            if not name.endswith("-dashboard"):
                yield f"{name} {'/'.join(map(str, path))}", str(value)


def test_it_has_ten_lines() -> None:
    assert len(OVERLAY.splitlines()) == 10


@pytest.mark.parametrize("old", OLD)
def test_nothing_is_left_of_a_value_of_production(old: str) -> None:
    before = render_overlay(PRODUCTION, *EVERYTHING)
    assert any(old in value for _, value in values(before)), "the test looks for a word that production does not have"
    assert [place for place, value in values(own()) if old in value] == []


def test_the_oldest_kubectl_renders_the_same() -> None:
    assert own(oldest=True).documents == own().documents


def test_every_value_is_where_it_is_needed() -> None:
    made = own()
    settings = settings_of(made)
    assert settings is not None
    main, dead, replay = settings.kafka_identity_events_topic, settings.dead_letter_topic, settings.replay_topic
    assert {name for name in made.names("Component") if "pubsub" in name} == set(settings.pubsub_names)
    for name in settings.pubsub_names:
        found = metadata(made.one("Component", name))
        assert found["brokers"] == settings.kafka_brokers
        assert found["consumerGroup"] == settings.kafka_consumer_group_id
        assert found["allowedTopics"] == f"{main},{dead},{replay},{main}{RESULTS_SUFFIX}"
        assert found["publishingScopes"] == f"{APP}={dead},{replay},{main}{RESULTS_SUFFIX}"
        assert found["subscriptionScopes"] == f"{APP}={main},{replay}"
        assert found["saslPassword"] == (made.settings["K8S_KAFKA_SECRET"], "password")
    for trigger in made.one("ScaledObject")["spec"]["triggers"]:
        asked = trigger["metadata"]
        assert (asked["bootstrapServers"], asked["consumerGroup"]) == (
            settings.kafka_brokers,
            settings.kafka_consumer_group_id,
        )
    assert [trigger["metadata"]["topic"] for trigger in made.one("ScaledObject")["spec"]["triggers"]] == [main, replay]
    assert settings.matrix_service_user.endswith(f":{settings.matrix_server_name}")
    assert made.one("Role")["rules"][0]["resourceNames"] == [settings.secret_name]
    assert metadata(made.component("state"))["connectionString"] == (
        made.settings["K8S_STATE_STORE_SECRET"],
        "connectionString",
    )
    assert dig(made.one("Configuration"), "spec", "secrets", "scopes", 0, "allowedSecrets") == [settings.secret_name]


def test_the_secrets_are_those_that_it_names() -> None:
    made = own()
    named = {made.settings[name] for name in SECRET_NAMES}
    assert made.names("ExternalSecret") == named
    assert {external["spec"]["target"]["name"] for external in made.of("ExternalSecret")} == named
    read = {str(value) for _, template in made.pods() for value in secret_names(template)}
    assert read <= named


def secret_names(template: dict[str, object]) -> Iterator[object]:
    for path, value in leaves(template):
        if path[-1] == "name" and ("secret" in path or "secretKeyRef" in path):
            yield value
        if str(path[-1]).endswith("token-secret"):
            yield value


def test_every_pod_has_the_image_and_the_settings() -> None:
    made = own()
    pods = list(made.pods())
    assert len(pods) == 1 + len(COMMANDS)
    (image,) = {dig(template, "spec", "containers", 0, "image") for _, template in pods}
    assert image == made.container["image"]
    assert "@sha256:" in image
    assert len({str(dig(template, "spec", "containers", 0, "envFrom")) for _, template in pods}) == 1


def test_a_changed_setting_changes_the_pods() -> None:
    """The name of the ConfigMap has a hash of its values, so that a change is a new version of the Deployment."""
    before, after = render("staging"), render("staging", {"LOG_LEVEL": "WARNING"})
    assert before.pod != after.pod
    assert [one for one in after.documents if one["kind"] not in ("ConfigMap", "Deployment", "CronJob")] == [
        one for one in before.documents if one["kind"] not in ("ConfigMap", "Deployment", "CronJob")
    ]
