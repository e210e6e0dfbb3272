"""The real daprd in Kubernetes mode with the pod's own identity, and the real function: what they may do, and one event
from Kafka to Synapse."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from dapr.aio.clients import DaprClient

from dev.identity_events import new_user, profile
from dev.k8s.cluster import Cluster
from dev.k8s.control_plane import ControlPlane
from dev.k8s.pod import Pod, daprd_of
from dev.stack import Stack
from tests.integration.stack import wait_until
from tests.k8s.events import Events
from tests.k8s.namespace import Namespace, settings_for
from tests.manifests.pages import blocks
from tests.manifests.rules.names import APP

pytestmark = pytest.mark.quick

TOKEN_SECRET = "realtime-chat-service-secret"
Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def deployed(
    cluster: Cluster, control_plane: ControlPlane, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Namespace]:
    """Applies staging with the addresses of the real servers in its ConfigMap and Secrets."""
    with Namespace(cluster, control_plane, tmp_path_factory.mktemp("deployed")) as made:
        made.create_secrets(stack.synapse.token, stack.postgres.url("state"))
        made.apply("staging", settings_for(stack))
        yield made


@pytest.fixture(scope="module")
def pod(deployed: Namespace) -> Pod:
    return deployed.run(deployed.wait_for_pods(2)[0])


@pytest.fixture
def account(deployed: Namespace, pod: Pod) -> Path:
    """Returns a kubeconfig with the pod's token."""
    return deployed.cluster.kubeconfig("pod", pod.account_token())


def asked(pod: Pod, secret: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Reads a secret through the pod's daprd, as the function does."""

    async def ask() -> dict[str, str]:
        async with DaprClient(f"127.0.0.1:{pod.grpc_port}") as client:
            return dict((await client.get_secret(f"{APP}-secretstore", secret)).secret)

    monkeypatch.setenv("DAPR_API_TOKEN", pod.environment(daprd_of(pod.manifest))["DAPR_API_TOKEN"])
    monkeypatch.setenv("DAPR_HTTP_PORT", str(pod.http_port))
    return asyncio.run(ask())


def test_the_function_becomes_ready(pod: Pod) -> None:
    """daprd got its components from the operator, the token from the secret store and the state store's address from
    its Secret; the function found all of them, and Synapse."""
    wait_until(lambda: pod.ready().get("ready") is True, f"ready: {pod.ready()}")
    assert pod.ready() == {"ready": True, "consuming": True}


def test_check_says_that_everything_is_there(pod: Pod) -> None:
    """The command that the deploy page tells operators to run in the container."""
    done = pod.in_function("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [line for line in done.stdout.splitlines() if line.startswith("not ok")]


def test_daprd_loaded_the_components_and_policies(pod: Pod) -> None:
    """daprd only logs a policy that it can't parse, or a component that it can't start."""
    log = pod.sidecar.log.read_text()
    for component in (
        *(
            f"{name} (pubsub.kafka/v1)"
            for name in (f"{APP}-pubsub", *(f"{APP}-pubsub-{number}" for number in range(2, 4)))
        ),
        f"{APP}-statestore (state.postgresql/v2)",
        f"{APP}-secretstore (secretstores.kubernetes/v1)",
    ):
        assert f"Component loaded: {component}" in log
    assert f"Loading Resiliency configuration: {APP}" in log
    assert "Hot reloading enabled" not in log
    assert [line for line in log.splitlines() if '"level":"error"' in line or "Could not read resiliency" in line] == []


def test_an_event_goes_from_kafka_to_synapse(deployed: Namespace, pod: Pod, stack: Stack, tell: Tell) -> None:
    events, user = Events(stack), new_user()
    stack.create_account(f"nova-{user}", "before")
    took = events.until_named(profile(user, "Ada Lovelace"), "Ada Lovelace")
    tell(f"from Kafka to Synapse through the pod's daprd: {took:.2f} s")


def test_the_secret_store_gives_the_one_secret(pod: Pod, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(pod, TOKEN_SECRET, monkeypatch) == {"MATRIX_ADMIN_TOKEN": stack.synapse.token}


@pytest.mark.parametrize("secret", [f"{APP}-app-token", f"{APP}-statestore", "no-such-secret"])
def test_the_secret_store_refuses_any_other(secret: str, pod: Pod, monkeypatch: pytest.MonkeyPatch, tell: Tell) -> None:
    """Dapr's Configuration denies it before daprd asks the API server."""
    with pytest.raises(grpc.RpcError) as refused:
        asked(pod, secret, monkeypatch)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    tell(f"daprd: {refused.value.details()}")


def test_a_rotated_token_is_taken_up_without_a_restart(
    deployed: Namespace, pod: Pod, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the page on credentials: the Secret is patched, and daprd returns the new value immediately."""
    (script,) = [block.text for block in blocks("credentials") if block.heading == "The admin token"]
    patch = script.partition("\ncurl")[0]
    deployed.cluster.script(patch, {"TOKEN": "syt_new"})
    assert asked(pod, TOKEN_SECRET, monkeypatch) == {"MATRIX_ADMIN_TOKEN": "syt_new"}
    deployed.cluster.script(patch, {"TOKEN": stack.synapse.token})
    assert pod.ready() == {"ready": True, "consuming": True}


def test_the_account_may_get_the_one_secret(deployed: Namespace, account: Path) -> None:
    done = deployed.cluster.run("get", "secret", TOKEN_SECRET, "-n", deployed.name, config=account)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "attempt",
    [
        ("get", "secret", f"{APP}-app-token", "-n", "infrastructure"),
        ("get", "secret", f"{APP}-statestore", "-n", "infrastructure"),
        ("get", "secrets", "-n", "infrastructure"),
        ("get", "secret", TOKEN_SECRET, "-n", "infrastructure", "--watch"),
        ("delete", "secret", TOKEN_SECRET, "-n", "infrastructure"),
        ("get", "secret", "dapr-trust-bundle", "-n", "dapr-system"),
        ("get", "configmap", f"{APP}-config", "-n", "infrastructure"),
        ("get", "components.dapr.io", "-n", "infrastructure"),
        ("get", "pods", "-n", "infrastructure"),
        ("create", "token", APP, "-n", "infrastructure"),
    ],
    ids=" ".join,
)
def test_the_account_may_do_nothing_else(
    attempt: tuple[str, ...], deployed: Namespace, account: Path, tell: Tell
) -> None:
    done = deployed.cluster.run(*attempt, config=account)
    assert done.returncode == 1
    assert f'User "system:serviceaccount:infrastructure:{APP}" cannot' in done.stderr
    tell(done.stderr.strip())


def test_the_api_server_refuses_even_what_dapr_would_allow(
    deployed: Namespace, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    """RBAC is enough without Dapr's scopes: the Configuration of the second pod's daprd allows every secret."""
    open_scopes = '{"spec":{"secrets":{"scopes":[]}}}'
    deployed.cluster.kubectl(
        "patch", "configuration.dapr.io", APP, "-n", deployed.name, "--type=merge", "-p", open_scopes
    )
    second = deployed.run(deployed.pods()[1])
    assert asked(second, TOKEN_SECRET, monkeypatch).keys() == {"MATRIX_ADMIN_TOKEN"}
    with pytest.raises(grpc.RpcError) as refused:
        asked(second, f"{APP}-app-token", monkeypatch)
    assert f'User "system:serviceaccount:infrastructure:{APP}" cannot get resource "secrets"' in str(
        refused.value.details()
    )
    tell(f"daprd without scopes: {refused.value.details()}")
