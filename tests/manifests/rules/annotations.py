"""What must hold for the objects' own annotations: by these, k8s/settings finds what to change. Those of pods are Dapr's."""

from collections.abc import Iterator

from function.settings import DEAD_SUFFIX, REPLAY_SUFFIX, RESULTS_SUFFIX
from tests.manifests.rendering import Document, Manifests, dig
from tests.manifests.rules.names import APP, DASHBOARD, KAFKA_CLIENT, KAFKA_SECRET

FILLED = {
    "realtime-chat-service-secret": "homeserver", f"{APP}-app-token": "app-token", f"{APP}-api-token": "api-token",
    f"{APP}-statestore": "state-store", KAFKA_SECRET: "kafka",
}  # fmt: skip
SUFFIXES = {
    f"{APP}/dead-letter-suffix": DEAD_SUFFIX[1:], f"{APP}/replay-suffix": REPLAY_SUFFIX[1:],
    f"{APP}/results-suffix": RESULTS_SUFFIX[1:],
}  # fmt: skip


def an_object_has_the_annotations_that_are_looked_for(manifests: Manifests) -> Iterator[str]:
    for document in manifests.documents:
        yield from _annotated(manifests, document)


def _annotated(manifests: Manifests, document: Document) -> Iterator[str]:
    """An object's own annotations are those by which k8s/settings finds what to change, or where a part of it is."""
    kind, meta = document.get("kind"), document.get("metadata", {})
    kafka = dig(manifests.component("pubsub"), "spec", "metadata", 0, "value") in ("password", "mtls")
    pubsub = kind == "Component" and str(dig(document, "spec", "type")).startswith("pubsub.")
    wanted: dict[str, str] = {}
    if kind == "TriggerAuthentication" or (kafka and (kind in ("Deployment", "CronJob") or pubsub)):
        wanted = {f"{APP}/secret": "kafka"}
    elif kind == "ExternalSecret":
        wanted = {f"{APP}/secret": FILLED.get(str(meta.get("name")), "")}
    elif kind == "ConfigMap" and meta.get("name") not in (DASHBOARD, KAFKA_CLIENT):
        wanted = SUFFIXES
    if meta.get("annotations", {}) != wanted:
        yield f"{kind} {meta.get('name')} has the annotations {meta.get('annotations')}, not {wanted}"


RULES = (an_object_has_the_annotations_that_are_looked_for,)
