"""The real daprd logs in to a real broker with the manifests' credentials: production's password over TLS, or a client
certificate. An event arrives, and does not with a wrong password. So does Kafka's own client, in the function's container and
in a Job's, with the files that are mounted there."""

import base64
import json
from collections.abc import Iterator

import pytest

from dev.identity_events import new_user, profile
from dev.k8s.pod import Pod
from dev.stack import Stack
from tests.contract.servers.secure_kafka import PASSWORD, USER, SecureKafka
from tests.integration.stack import DEAD_TOPIC, wait_until
from tests.k8s.events import Events
from tests.k8s.namespace import Namespace, settings_for
from tests.manifests.rules.names import KAFKA_SECRET


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure-kafka")) as broker:
        yield broker


def deploy(namespace: Namespace, stack: Stack, variant: str, port: int) -> None:
    namespace.create_secrets(stack.synapse.token, stack.postgres.url("state"))
    brokers = {"KAFKA_BROKERS": f"127.0.0.1:{port}"}
    server = {"MATRIX_SERVER_NAME": "staging.nova.app", "MATRIX_SERVICE_USER": "@nova-service:staging.nova.app"}
    namespace.apply(variant, settings_for(stack) | brokers | server)


def event_arrives(namespace: Namespace, stack: Stack, kafka: SecureKafka) -> Pod:
    user = new_user()
    stack.create_account(f"nova-{user}", "before")
    pod = namespace.run(namespace.pods()[0])
    Events(stack, kafka.brokers).until_named(profile(user, "past the door"), "past the door")
    return pod


def letter_is_read(pod: Pod, stack: Stack, kafka: SecureKafka) -> None:
    """Reads a dead letter with Kafka's own client, as an operator would in this container."""
    user = new_user()
    letter = profile(user, "Ada").on(DEAD_TOPIC)
    Events(stack, kafka.brokers).send(letter)
    done = pod.in_function("replay", "--dry-run", "--user", user)
    assert done.returncode == 0, done.stdout + done.stderr
    assert letter.event_id in done.stdout


def test_production_shows_a_password_over_tls(namespace: Namespace, stack: Stack, kafka: SecureKafka) -> None:
    deploy(namespace, stack, "production", kafka.sasl_port)
    namespace.follow("7. Secrets", 1, kafka.certificate.parent, KAFKA_USER=USER, KAFKA_PASSWORD=PASSWORD)
    namespace.wait_for_pods(3)
    function = event_arrives(namespace, stack, kafka)
    letter_is_read(function, stack, kafka)
    job = namespace.job_pod(namespace.make_job("dead-letters"))
    job.start_sidecar()
    letter_is_read(job, stack, kafka)

    wrong = base64.b64encode(client_properties(namespace).replace(PASSWORD, "wrong").encode()).decode()
    patch = json.dumps({"data": {"client.properties": wrong}})
    namespace.cluster.kubectl("patch", "secret", KAFKA_SECRET, "-n", namespace.name, "--type=merge", "-p", patch)
    done = function.in_function("replay", "--dry-run")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "AUTHENTICATION" in done.stderr
    assert "wrong" not in done.stdout + done.stderr


def client_properties(namespace: Namespace) -> str:
    """Returns the properties as the page's command made them."""
    return base64.b64decode(
        namespace.cluster.get("secret", KAFKA_SECRET, namespace.name)["data"]["client.properties"]
    ).decode()


def test_with_a_wrong_password_daprd_says_so_and_ends(namespace: Namespace, stack: Stack, kafka: SecureKafka) -> None:
    """The negative control: the broker checks the password. Kubelet would restart daprd."""
    deploy(namespace, stack, "production", kafka.sasl_port)
    namespace.follow("7. Secrets", 1, kafka.certificate.parent, KAFKA_USER=USER, KAFKA_PASSWORD="wrong")
    pod = namespace.prepare(namespace.wait_for_pods(3)[0])
    pod.start_sidecar()
    wait_until(lambda: not pod.sidecar.running(), "daprd has ended")
    assert "SASL Authentication failed" in pod.sidecar.log.read_text()


def test_a_client_certificate_does_as_well(namespace: Namespace, stack: Stack, kafka: SecureKafka) -> None:
    deploy(namespace, stack, "staging+kafka-mtls", kafka.mtls_port)
    files = {"ca.crt": kafka.certificate, "user.crt": kafka.certificate, "user.key": kafka.key}
    literals = [f"--from-file={name}={path}" for name, path in files.items()]
    namespace.cluster.kubectl("create", "secret", "generic", KAFKA_SECRET, "-n", namespace.name, *literals)
    namespace.wait_for_pods(2)
    letter_is_read(event_arrives(namespace, stack, kafka), stack, kafka)
