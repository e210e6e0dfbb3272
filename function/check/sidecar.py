"""Checks what daprd has loaded and subscribed, and whether it may publish where the function and its tools publish."""

import itertools
from collections.abc import AsyncIterator, Iterator

from function.check.finding import Finding, Mark, failed, ok, row_of, rows, warning
from function.dapr.proved import ADVICE, PROVED
from function.dapr.sidecar import Loaded, Publishing, Sidecar
from function.outcomes import TryAgain
from function.settings import Settings

SIDECAR, VERSION, COMPONENTS, SUBSCRIPTIONS = "sidecar", "daprd's version", "pub/sub components", "subscriptions"
UNREACHED = (
    "Run it next to daprd, in the function's container: DAPR_HTTP_PORT, DAPR_GRPC_PORT and DAPR_API_TOKEN must be the sidecar's. "
    "State store, secret and Synapse are checked through it."
)
_KAFKA = "pubsub.kafka"


async def sidecar_rows(settings: Settings, sidecar: Sidecar) -> AsyncIterator[Finding]:
    """Yields the rows of the sidecar."""
    for row in await rows(SIDECAR, _loaded(settings, sidecar)):
        yield row
    for what, topic in (
        ("publish dead letters", settings.dead_letter_topic), ("publish replays", settings.replay_topic),
        ("publish evidence", settings.matrix_results_topic),
    ):  # fmt: skip
        if not topic:
            continue
        if settings.matrix_dry_run:
            yield ok(what, "not tried: MATRIX_DRY_RUN")
            continue
        for row in await rows(what, _publish(what, settings.pubsub_name, topic, sidecar)):
            yield row


async def _loaded(settings: Settings, sidecar: Sidecar) -> list[Finding]:
    try:
        loaded = await sidecar.loaded()
    except TryAgain as failure:
        return [row_of(SIDECAR, failure, UNREACHED)]
    if loaded is None:
        return [warning(SIDECAR, "answers, but does not tell what it has loaded",
                        "Allow `{name: metadata, version: v1, protocol: grpc}` in its Configuration.")]  # fmt: skip
    return judge(settings, loaded)


def judge(settings: Settings, loaded: Loaded) -> list[Finding]:
    """Returns the rows of what the sidecar has loaded and subscribed."""
    found = [ok(SIDECAR, f"daprd {loaded.version} answers as {loaded.app_id}"), _version(loaded), *_policies(loaded)]
    rows = [(COMPONENTS, ", ".join(settings.pubsub_names), list(_components(settings, loaded)))]
    if loaded.has_app:
        rows.append((SUBSCRIPTIONS, _described(settings, loaded), list(_subscriptions(settings, loaded))))
    else:
        found.append(warning(SUBSCRIPTIONS, "this daprd has no app and delivers no events, like that of a Job",
                             "Run check in the function's container too; if this is one, set dapr.io/app-port."))  # fmt: skip
    for what, described, problems in rows:
        if not any(problem.mark is Mark.FAILED for problem in problems):
            found.append(ok(what, described))
        found += problems
    return found


def _version(loaded: Loaded) -> Finding:
    if loaded.version in PROVED:
        return ok(VERSION, "the tests ran on it")
    return warning(VERSION, f"the tests ran on {', '.join(PROVED)}, not on {loaded.version}", ADVICE)


def _policies(loaded: Loaded) -> Iterator[Finding]:
    if not loaded.resiliencies:
        yield failed("resiliency", "no policy is loaded: daprd makes a dead letter of every event that has to wait",
                     "Load the Resiliency of components/resiliency.yaml or k8s/base/dapr/resiliency.yaml.")  # fmt: skip
    if loaded.has_app and not loaded.health_checked:
        yield failed("app health check", "is off: daprd delivers while the function is not ready",
                     "Set --enable-app-health-check and --app-health-check-path /health/ready, or their annotations.")  # fmt: skip


def _components(settings: Settings, loaded: Loaded) -> Iterator[Finding]:
    for name in settings.pubsub_names:
        if (kind := loaded.components.get(name)) is None:
            yield failed(COMPONENTS, f"{name} is not loaded",
                         "Add the Component with this app id in its scopes, or lower PUBSUB_COMPONENTS to their number.")  # fmt: skip
        elif kind != _KAFKA:
            yield failed(COMPONENTS, f"{name} is a {kind}", f"Its type must be {_KAFKA}.")
    following = f"{settings.pubsub_name}-{settings.pubsub_components + 1}"
    if following in loaded.components:
        yield warning(COMPONENTS, f"{following} is loaded and not used", "Raise PUBSUB_COMPONENTS to their number.")


def _wanted(settings: Settings) -> set[tuple[str, str]]:
    topics = (settings.kafka_identity_events_topic, settings.replay_topic)
    return set(itertools.product(settings.pubsub_names, topics)) if settings.enabled else set()


def _described(settings: Settings, loaded: Loaded) -> str:
    if not settings.enabled:
        return "none: consuming is switched off"
    return f"{len(_wanted(settings) & loaded.subscriptions)}: each component to the main and the replay topic"


def _subscriptions(settings: Settings, loaded: Loaded) -> Iterator[Finding]:
    wanted = _wanted(settings)
    if missing := sorted(wanted - loaded.subscriptions):
        yield failed(
            SUBSCRIPTIONS, f"{len(missing)} of {len(wanted)} are missing, such as {missing[0][0]} to {missing[0][1]}",
            "daprd asks the function for them when it starts: check APP_PORT, APP_API_TOKEN and daprd's log, then restart daprd.",
        )  # fmt: skip
    if further := sorted(loaded.subscriptions - wanted):
        yield failed(
            SUBSCRIPTIONS, f"{len(further)} that the settings do not ask for, such as {further[0][0]} to {further[0][1]}",
            "Remove the Subscription, or restart daprd if settings were changed.",
        )  # fmt: skip


async def _publish(what: str, pubsub: str, topic: str, sidecar: Sidecar) -> list[Finding]:
    found = await sidecar.try_publishing(pubsub, topic)
    if found is Publishing.ALLOWED:
        return [ok(what, f"{pubsub} lets this app id publish to {topic}")]
    problem, advice = {
        Publishing.FORBIDDEN: (
            f"{pubsub} does not allow this app id to publish to {topic}", "Add the topic to publishingScopes of the component."
        ),
        Publishing.NO_COMPONENT: (f"{pubsub} is not loaded", "Add the Component, with this app id in its scopes."),
        Publishing.NO_TOPIC: (f"daprd finds no topic {topic}", "Create the topic: docs/deploy.md, Topics."),
        Publishing.DENIED: (
            f"Kafka denies the component's user access to {topic}", "Grant READ and WRITE on the topic to the component's user."
        ),
        Publishing.PUBLISHED: (
            f"this daprd published a record to {topic} instead of refusing it", "Use the daprd version that SECURITY.md names."
        ),
    }[found]  # fmt: skip
    return [failed(what, problem, advice)]
