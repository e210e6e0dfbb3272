"""docs/deploy.md names what the manifests name. `make k8s-test` runs the commands that need no more than an API server."""

import re

import pytest
import yaml

from dev.k8s.control_plane import VALUES
from dev.monitoring.alerts import rules
from function.settings import DEAD_SUFFIX, REPLAY_SUFFIX
from tests.manifests.deploy_page import PAGE, scripts
from tests.manifests.rendering import K8S, MEMBERS, OVERLAYS, VARIANTS, metadata, render
from tests.manifests.rules.monitoring import adapted
from tests.manifests.rules.names import APP, secrets_of, settings_of
from tests.manifests.rules.optional import SASL


def created() -> set[tuple[str, str]]:
    """Every Secret and key that the page says to create."""
    found = set()
    for script in scripts("7. Secrets"):
        for command in script.replace("\\\n", " ").splitlines():
            name = re.search(r"create secret generic (\S+)", command)
            keys = re.findall(r"--from-(?:literal|file)=([\w.]+)=", command)
            found |= {(name[1], key) for key in keys if name}
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_page_creates_every_secret_that_an_overlay_reads(overlay: str) -> None:
    assert secrets_of(render(overlay)) <= created()


def test_the_page_creates_no_secret_that_nobody_reads() -> None:
    assert created() == set().union(*(secrets_of(render(overlay)) for overlay in OVERLAYS))


def test_the_keys_of_a_client_certificate_are_named() -> None:
    keys = {key for _, key in secrets_of(render("staging+kafka-mtls")) - secrets_of(render("staging"))}
    assert all(f"`{key}`" in PAGE for key in keys)


def test_the_topics_have_room_for_the_largest_letter() -> None:
    (script,) = scripts("3. Topics")
    settings = render("staging").settings
    main = settings["KAFKA_IDENTITY_EVENTS_TOPIC"]
    assert f"for topic in {main}{DEAD_SUFFIX} {main}{REPLAY_SUFFIX}; do" in script
    assert f"--describe --topic {main}" in script
    assert f"max.message.bytes={metadata(render('staging').component('pubsub'))['maxMessageBytes']}" in script
    assert '--partitions "$partitions"' in script


def test_dapr_is_installed_as_it_is_tested() -> None:
    (script,) = scripts("1. Dapr")
    assert dict(re.findall(r"--set (\S+)=(\S+)", script)) == VALUES


def test_every_folder_of_the_manifests_is_explained() -> None:
    named = set(re.findall(r"`k8s/((?:base|overlays|components|jobs|settings)[\w/-]*)`", PAGE))
    folders = {file.parent.relative_to(K8S).as_posix() for file in K8S.rglob("kustomization.yaml")}
    assert named == folders


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_lines_for_the_alerts_set_every_link_and_the_hours_and_nothing_else(overlay: str) -> None:
    """Where a delimiter is not found, kustomize appends, and says nothing."""
    made, before = adapted(overlay), render(f"{overlay}+monitoring")
    annotations = made.one("PrometheusRule")["metadata"].pop("annotations")
    wanted = rules()
    (group,) = wanted["groups"]
    for rule in group["rules"]:
        rule["annotations"]["runbook_url"] = f"{annotations['runbook']}#{rule['alert'].lower()}"
    (silence,) = [rule for rule in group["rules"] if rule["alert"] == "MatrixAccountSyncNothingProcessed"]
    assert silence["expr"].count("(hour() >= 7 < 22)") == 1
    silence["expr"] = silence["expr"].replace("(hour() >= 7 < 22)", annotations["active-hours"])
    before.one("PrometheusRule")["spec"] = wanted
    assert made.documents == before.documents


def test_the_lines_for_what_a_cluster_asks_of_pods_reach_every_pod() -> None:
    (lines,) = scripts("What a cluster asks of pods", "yaml")
    made = render("production", lines=yaml.safe_load(lines))
    assert made.one("ServiceAccount")["imagePullSecrets"] == [{"name": "registry"}]
    assert {template["spec"].get("priorityClassName") for _, template in made.pods()} == {"high"}
    assert {template["spec"]["serviceAccountName"] for _, template in made.pods()} == {APP}


def test_the_further_policy_selects_the_pods_of_the_first() -> None:
    (policy,) = scripts("Further egress", "yaml")
    further, first = yaml.safe_load(policy), render("production").one("NetworkPolicy")
    assert further["spec"]["podSelector"] == first["spec"]["podSelector"]
    assert further["metadata"]["name"] != first["metadata"]["name"]
    assert further["metadata"]["namespace"] == first["metadata"]["namespace"]


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_fewer_members_are_as_many_components_as_the_function_subscribes_through(overlay: str, members: str) -> None:
    made = render(f"{overlay}+{members}")
    settings = settings_of(made)
    assert settings is not None
    assert len(settings.pubsub_names) == int(members.removeprefix("members/"))
    assert {name for name in made.names("Component") if "pubsub" in name} == set(settings.pubsub_names)


def test_every_optional_component_is_explained() -> None:
    explained = PAGE.partition("## Optional parts")[2]
    for variant in VARIANTS:
        for component in variant.split("+")[1:]:
            assert component.startswith(("kafka-", "members/")) or f"- `{component}`:" in explained


def test_the_vault_makes_the_same_properties_of_kafkas_client_as_the_page() -> None:
    _, script = scripts("7. Secrets")
    (properties,) = re.findall(r"<<END\n(.*?)END\n", script, re.DOTALL)
    assert properties.replace("$KAFKA_USER", "{{ .username }}").replace("$KAFKA_PASSWORD", "{{ .password }}") == SASL


def test_the_ports_in_the_picture_are_those_that_the_network_policy_opens() -> None:
    (picture,) = scripts("The picture", "mermaid")
    drawn = {int(port) for label in re.findall(r">\|([^|]+)\|", picture) for port in re.findall(r"\b\d{3,5}\b", label)}
    [policy] = render("production+mas+monitoring").of("NetworkPolicy")
    rules_of = policy["spec"]["ingress"] + policy["spec"]["egress"]
    assert drawn == {one["port"] for rule in rules_of for one in rule["ports"]} - {53}
