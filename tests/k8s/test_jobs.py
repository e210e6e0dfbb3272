"""The Jobs for dead letters on a real API server: made with the commands of the deploy page, run with the pod's own identity,
and ended by the real Job controller as soon as the tool has ended. There is no kubelet: the tests report what it would."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dev.identity_events import new_user, profile
from dev.k8s.cluster import Cluster
from dev.k8s.control_plane import ControlPlane
from dev.k8s.pod import daprd_of, flags
from dev.processes import listens
from dev.stack import Stack
from tests.integration.stack import DEAD_TOPIC, wait_until
from tests.k8s.events import Events, members
from tests.k8s.namespace import Namespace, Warnings, settings_for
from tests.manifests.rendering import COMMANDS
from tests.manifests.rules.names import APP

Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def deployed(
    cluster: Cluster, control_plane: ControlPlane, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Namespace]:
    """Applies staging with the addresses of the real servers."""
    with Namespace(cluster, control_plane, tmp_path_factory.mktemp("jobs")) as made:
        made.create_secrets(stack.synapse.token, stack.postgres.url("state"))
        made.apply("staging", settings_for(stack))
        yield made


def ended(namespace: Namespace, job: str) -> dict[str, str]:
    """Returns the type and reason of the condition with which the controller ended the Job; empty while it runs."""
    status = namespace.cluster.get("job", job, namespace.name)["status"]
    for condition in status.get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return {"type": condition["type"], "reason": condition.get("reason", "")}
    return {}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pod_comes_out_with_a_sidecar_that_ends_with_the_tool(
    command: str, deployed: Namespace, control_plane: ControlPlane
) -> None:
    """In a namespace that admits only restricted pods. Kubelet ends native sidecars after the other containers."""
    warnings = Warnings(control_plane)
    pod = deployed.job_pod(deployed.make_job(command, "--dry-run"))
    daprd = daprd_of(pod.manifest)
    assert daprd in pod.manifest["spec"]["initContainers"]
    assert daprd["restartPolicy"] == "Always"
    found = flags(daprd)
    assert (found["app-id"], found["config"]) == (APP, APP)
    assert not {"app-port", "enable-app-health-check"} & found.keys()
    assert pod.arguments()[0] == command
    assert warnings.new() == []


def test_a_job_replays_a_letter_and_joins_no_consumer_group(deployed: Namespace, stack: Stack, tell: Tell) -> None:
    """Its daprd has the function's app id and components. The group has the members of the function's pod only, which
    processes what the Job publishes."""
    job = deployed.job_pod(deployed.make_job("replay", "--dry-run"))
    job.start_sidecar()
    wait_until(lambda: listens(job.http_port), "daprd's API")
    function = deployed.run(deployed.wait_for_pods(2)[0])
    wait_until(lambda: members(stack) == [function.name] * 3, "the function's three members")

    events, user = Events(stack), new_user()
    stack.create_account(f"nova-{user}", "before")
    events.send(profile(user, "replayed by a Job").on(DEAD_TOPIC))
    wait_until(lambda: function.ready().get("ready") is True, "the function is ready")
    done = job.in_function("replay", "--yes", "--user", user)
    tell(f"replay in a Job's pod: exit code {done.returncode}: {done.stdout.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    events.wait_named(user, "replayed by a Job")
    assert members(stack) == [function.name] * 6


@pytest.mark.parametrize("command", COMMANDS)
def test_a_tool_that_starts_before_its_sidecar_answers_waits_for_it(command: str, deployed: Namespace) -> None:
    """Kubelet starts the tool as soon as daprd runs: the injector gives a native sidecar no startup probe."""
    job = deployed.job_pod(deployed.make_job(command, "--dry-run"))
    with ThreadPoolExecutor() as side:
        running = side.submit(job.in_function, *job.arguments())
        job.start_sidecar()
        done = running.result()
    assert done.returncode in (0, 1), done.stdout + done.stderr


def test_an_audit_runs_in_its_jobs_pod_with_the_admin_token(deployed: Namespace, stack: Stack, tell: Tell) -> None:
    """Its daprd may read the one Secret. It repairs nothing, and the accounts of the stack have drift or none."""
    stack.create_account(f"nova-{new_user()}", "before")
    job = deployed.job_pod(deployed.make_job("audit"))
    job.start_sidecar()
    wait_until(lambda: listens(job.http_port), "daprd's API")
    done = job.in_function(*job.arguments(), "--json")
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    tell(f"audit in a Job's pod: exit code {done.returncode}: {json.dumps(summary)}")
    assert done.returncode == summary["exit_code"] in {0, 1}, done.stdout + done.stderr
    assert summary["accounts"] >= 1
    assert summary["next"] is None


@pytest.mark.parametrize(
    ("options", "settings", "said"),
    [
        (("--reason=synapse_eror",), {}, "--reason"),
        (("--no-such-option",), {}, "--no-such-option"),
        (("--reason=synapse_error",), {}, "--yes"),
        (("--yes",), {"KAFKA_BROKERS": ""}, "KAFKA_BROKERS"),
        (("--yes",), {"KAFKA_CLIENT_CONFIG": "/no/such/file"}, "KAFKA_CLIENT_CONFIG"),
        (("--yes",), {"KAFKA_BROKER": "kafka:9092"}, "KAFKA_BROKER"),
    ],
    ids=["reason", "option", "no confirmation", "setting missing", "client's file", "setting mistyped"],
)
def test_a_mistake_ends_the_tool_with_its_own_code(
    options: tuple[str, ...], settings: dict[str, str], said: str, deployed: Namespace
) -> None:
    before = deployed.cluster.get("configmap", config_map(deployed), deployed.name)["data"]
    removed = dict.fromkeys(settings.keys() - before.keys())
    configure(deployed, settings)
    try:
        pod = deployed.job_pod(deployed.make_job("replay", *options))
        done = pod.in_function(*pod.arguments())
    finally:
        configure(deployed, removed | {name: before[name] for name in settings if name in before})
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def config_map(namespace: Namespace) -> str:
    """Returns the name, with its hash, of the ConfigMap that a Job's pod reads."""
    job = namespace.cluster.get("cronjob", f"{APP}-replay", namespace.name)["spec"]["jobTemplate"]["spec"]
    name: str = job["template"]["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"]
    return name


def configure(namespace: Namespace, settings: dict[str, Any]) -> None:
    """Changes values of the ConfigMap; None removes one."""
    scope = ["-n", namespace.name, "--type=merge", "-p", json.dumps({"data": settings})]
    namespace.cluster.kubectl("patch", "configmap", config_map(namespace), *scope)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130, 137], ids=lambda code: f"code {code}")
def test_a_job_ends_with_its_tool_and_is_not_tried_again(code: int, deployed: Namespace) -> None:
    """137: the kernel killed it for its memory. The controller sees the phase that kubelet reports, after the sidecar's end."""
    job = deployed.make_job("dead-letters")
    pod = deployed.job_pod(job)
    deployed.report_ended(pod.manifest, code)
    wanted = {"type": "Failed", "reason": "BackoffLimitExceeded"} if code else {"type": "Complete"}
    wait_until(lambda: ended(deployed, job).items() >= wanted.items(), f"{wanted}: {ended(deployed, job)}")
    assert [found["metadata"]["name"] for found in deployed.pods_of(job)] == [pod.name]


def test_a_job_that_hangs_ends_at_its_deadline(deployed: Namespace) -> None:
    job = deployed.make_job("replay", "--dry-run", deadline=1)
    wait_until(lambda: ended(deployed, job).get("reason") == "DeadlineExceeded", f"the deadline of {job}")


def test_a_jobs_pod_is_none_of_the_functions(deployed: Namespace) -> None:
    """`kubectl exec deployment/...` and the disruption budget select by the same label."""
    pod = deployed.job_pod(deployed.make_job("dead-letters"))
    assert pod.name not in {found["metadata"]["name"] for found in deployed.pods()}
