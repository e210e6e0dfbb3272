"""Every rule holds for every overlay and every optional component, and the rules leave nothing uncovered: whatever is
changed in a manifest, one of them says so."""

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from dev.chart.files import CHART
from tests.manifests.rendering import (
    COMPONENTS,
    K8S,
    MEMBERS,
    OVERLAYS,
    VARIANTS,
    Manifests,
    dig,
    leaves,
    render,
    unhashed,
)
from tests.manifests.rules import annotations, jobs, kafka_client, monitoring, names, optional, sidecar, workload

Rule = Callable[[Manifests], Iterator[str]]
RULES: tuple[Rule, ...] = (*workload.RULES, *names.RULES, *sidecar.RULES, *optional.RULES, *monitoring.RULES, *jobs.RULES,
                           *kafka_client.RULES, *annotations.RULES)  # fmt: skip
Path = tuple[str | int, ...]
PUBSUB = "matrix-account-sync-pubsub"
annotation_names = st.sampled_from([f"dapr.io/{name}" for name in sidecar.ANNOTATIONS])


def problems(manifests: Manifests) -> Iterator[str]:
    return (f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(manifests))


@functools.cache
def places(variant: str) -> list[Path]:
    """Every scalar of an overlay; of a variant those of the documents that its components add or change."""
    overlay, _, component = variant.partition("+")
    known = render(overlay).documents if component else []
    documents = render(variant).documents
    return [path for path, _ in leaves(documents) if documents[int(path[0])] not in known]


def changed(variant: str, path: Path, change: Callable[[Any, Any], None]) -> Manifests:
    """The variant after `change`, which gets what holds the scalar, and its key there."""
    documents = render(variant).documents
    change(dig(documents, *path[:-1]), path[-1])
    return Manifests(documents)


def corrupt(holder: Any, key: Any) -> None:
    value = holder[key]
    holder[key] = not value if isinstance(value, bool) else value * 1000 + 1 if isinstance(value, int) else f"{value}x"


def drop(holder: Any, key: Any) -> None:
    del holder[key]


def shown(path: Path) -> str:
    return "/".join(map(str, path))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_holds(rule: Rule, variant: str) -> None:
    assert list(rule(render(variant))) == []


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("change", [corrupt, drop])
def test_a_rule_notices_whatever_is_changed(change: Callable[[Any, Any], None], variant: str) -> None:
    plain = unhashed(render(variant.partition("+")[0]).documents)
    made = {shown(path): changed(variant, path, change) for path in places(variant)}
    # What is left of a component that adds one line may be the overlay itself.
    assert [path for path, one in made.items() if not any(problems(one)) and unhashed(one.documents) != plain] == []


@given(name=annotation_names, data=st.data())
def test_a_mistyped_annotation_is_found(name: str, data: st.DataObject) -> None:
    """The injector ignores it, and the sidecar comes without what it asked for."""
    at = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz-./"))
    wrong = data.draw(
        st.sampled_from([name[:at] + name[at + 1 :], name[:at] + letter + name[at:], name.replace("-", "_")])
    )
    assume(wrong != name)
    manifests = render("staging")
    annotations = manifests.pod["metadata"]["annotations"]
    annotations[wrong] = annotations.pop(name)
    assert any(wrong in problem for problem in problems(manifests))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("app-port", "http"), ("sidecar-cpu-request", "fast"), ("enabled", "yes"), ("volume-mounts", "no-such:/x"),
        ("app-health-probe-interval", "1s"), ("graceful-shutdown-seconds", "5s"), ("enabled", True),
    ],
)  # fmt: skip
def test_a_value_that_the_injector_would_ignore_is_found(name: str, value: object) -> None:
    manifests = render("staging")
    manifests.pod["metadata"]["annotations"][f"dapr.io/{name}"] = value
    assert any(name in problem for problem in problems(manifests))


def problems_of_staging(break_members: Callable[[list[Any]], object]) -> list[str]:
    """What the rules say after `break_members`, which gets all documents."""
    documents = render("staging").documents
    break_members(documents)
    return list(problems(Manifests(documents)))


def component_in(documents: list[Any], name: str) -> Any:
    (found,) = [d for d in documents if d["kind"] == "Component" and d["metadata"]["name"] == name]
    return found


def test_a_missing_member_of_the_group_is_named() -> None:
    """daprd would say nothing."""
    found = problems_of_staging(lambda documents: documents.remove(component_in(documents, f"{PUBSUB}-3")))
    assert any("pubsub-3 is missing" in problem for problem in found)
    assert any(f"missing ['{PUBSUB}-3'], unknown []" in problem for problem in found)


def test_a_member_of_the_group_that_is_not_asked_for_is_named() -> None:
    def add_a_fourth(documents: list[Any]) -> None:
        fourth = copy.deepcopy(component_in(documents, f"{PUBSUB}-3"))
        fourth["metadata"]["name"] = f"{PUBSUB}-4"
        documents.append(fourth)

    assert any(f"missing [], unknown ['{PUBSUB}-4']" in problem for problem in problems_of_staging(add_a_fourth))


@pytest.mark.parametrize("name", [PUBSUB, *(f"{PUBSUB}-{number}" for number in range(2, 4))])
def test_a_member_of_the_group_that_differs_is_found(name: str) -> None:
    """As it would if a selector of k8s/settings or kafka-sasl reached only some of them."""

    def change_the_group(documents: list[Any]) -> None:
        metadata = component_in(documents, name)["spec"]["metadata"]
        (group,) = [item for item in metadata if item["name"] == "consumerGroup"]
        group["value"] = "another-group"

    found = problems_of_staging(change_the_group)
    assert any("differs from the first" in problem for problem in found)


def test_a_member_of_the_group_that_others_may_use_is_found() -> None:
    found = problems_of_staging(lambda documents: component_in(documents, f"{PUBSUB}-2").update(scopes=["another-app"]))
    assert any(f"Component {PUBSUB}-2 is for ['another-app']" in problem for problem in found)


def test_liveness_never_asks_for_readiness() -> None:
    """Restarting every pod does not repair Synapse."""
    manifests = render("staging")
    manifests.container["livenessProbe"]["httpGet"]["path"] = "/health/ready"
    assert any("liveness" in problem for problem in problems(manifests))


def test_both_environments_are_there() -> None:
    assert OVERLAYS == ["production", "staging"]


def test_every_file_is_part_of_some_variant() -> None:
    """A manifest that no kustomization names is never applied, and no error says so."""
    named = set()
    for kustomization in K8S.rglob("kustomization.yaml"):
        named.add(kustomization.resolve())
        read = yaml.safe_load(kustomization.read_text())
        for entry in [*read.get("resources", []), *read.get("transformers", [])]:
            target = (kustomization.parent / entry).resolve()
            named.add(target / "kustomization.yaml" if target.is_dir() else target)
    assert {file.resolve() for file in K8S.rglob("*.yaml") if CHART not in file.parents} - named == set()
    assert {name for variant in VARIANTS for name in variant.split("+")[1:]} == {*COMPONENTS} - {*MEMBERS[1:]}
    assert set(OVERLAYS) <= set(VARIANTS)


def test_where_the_network_is_fenced_the_monitoring_component_lets_prometheus_in() -> None:
    policy = render("production+monitoring").one("NetworkPolicy")
    assert [port["port"] for port in dig(policy, "spec", "ingress", 0, "ports")] == [9090, 18080]
    assert list(problems(render("production+monitoring"))) == []


def test_where_the_network_is_fenced_the_component_for_mas_lets_the_pods_reach_it() -> None:
    policy = render("production+mas").one("NetworkPolicy")
    assert dig(policy, "spec", "egress", -1, "ports") == [{"protocol": "TCP", "port": 8081}]


def test_a_mas_that_the_fence_keeps_out_is_found() -> None:
    without = render("production+mas")
    without.one("NetworkPolicy")["spec"]["egress"].pop()
    assert any("egress is" in problem for problem in problems(without))


def test_pods_that_an_overlay_counts_itself_are_found_beside_the_scaler() -> None:
    """An overlay's own `replicas` are set after its components, so that none of them can take the number away."""
    count = {"replicas": [{"name": "matrix-account-sync", "count": 3}]}
    assert "replicas" not in render("production+keda").function["spec"]
    found = problems(render("production+keda", lines=count))
    assert any("Deployment and scaler both set the replicas" in problem for problem in found)


def test_a_value_that_nobody_set_is_named() -> None:
    def unset_the_brokers(documents: list[Any]) -> None:
        (brokers,) = [item for item in component_in(documents, PUBSUB)["spec"]["metadata"] if item["name"] == "brokers"]
        brokers["value"] = "set by k8s/settings"

    assert any("still says `set by" in problem for problem in problems_of_staging(unset_the_brokers))


def test_production_shows_kafka_a_password_over_tls() -> None:
    (pubsub,) = [c for c in render("production").of("Component") if c["metadata"]["name"] == PUBSUB]
    given_metadata = {item["name"] for item in pubsub["spec"]["metadata"]}
    assert {"saslUsername", "saslPassword", "caCert"} <= given_metadata
    assert "disableTls" not in given_metadata
