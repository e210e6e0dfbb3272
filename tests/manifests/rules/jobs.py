"""What must hold for the Jobs of the tools: a Job runs once, ends whatever happens, and has the identity and rights of the
function, in whose container the tools run otherwise."""

import re
from collections.abc import Iterator

from tests.manifests.rendering import COMMANDS, Document, Manifests, dig
from tests.manifests.rules.names import JOB_LABELS
from tests.manifests.rules.workload import number

ARGUMENTS = {"dead-letters": ["dead-letters"], "replay": ["replay", "--dry-run"], "audit": ["audit"]}
GRACE = {"audit": 90}  # seconds; a repair is finished
TOKENS = {"audit": {"DAPR_API_TOKEN", "APP_API_TOKEN"}}  # it reads the function's settings
WAITS = {"name": "DAPR_HEALTH_TIMEOUT", "value": "60"}  # for its sidecar, which starts together with the tool
# Annotations of the function's that make no sense for a tool. Without app-port daprd asks for no subscriptions, so that it
# does not join the consumer group.
LEFT_OUT = re.compile(r"dapr\.io/(app-port|app-protocol|app-token-secret|enable-metrics|metrics-port|.*app-health-.*)")
OTHER = {"dapr.io/sidecar-memory-limit": "384Mi", "dapr.io/env": "GOMEMLIMIT=345MiB"}


def jobs(manifests: Manifests) -> Iterator[tuple[str, Document, Document, Document]]:
    """Each command with its CronJob's spec, its Job's spec and its pod template."""
    for command in COMMANDS:
        spec = manifests.job(command).get("spec") or {}
        job = dig(spec, "jobTemplate", "spec") or {}
        yield command, spec, job, job.get("template") or {}


def only_a_person_starts_a_job(manifests: Manifests) -> Iterator[str]:
    for command, spec, _, _ in jobs(manifests):
        if spec.get("suspend") is not True:
            yield f"{command} starts by itself"
        if spec.get("schedule") != "0 3 * * *":
            yield f"{command}: schedule {spec.get('schedule')}"
        if spec.get("concurrencyPolicy") != (wanted := "Forbid" if command == "audit" else None):
            yield f"{command}: concurrencyPolicy {spec.get('concurrencyPolicy')}, not {wanted}"
        if spec.get("startingDeadlineSeconds") != (late := 3600 if command == "audit" else None):
            yield f"{command}: startingDeadlineSeconds {spec.get('startingDeadlineSeconds')}, not {late}"
        # Kubernetes' defaults, three and one, delete the logs of earlier runs.
        if {spec.get(f"{kind}JobsHistoryLimit") for kind in ("successful", "failed")} != {50}:
            yield f"{command}: the logs of earlier runs are deleted"


def a_job_runs_once_and_ends(manifests: Manifests) -> Iterator[str]:
    for command, _, job, template in jobs(manifests):
        if job.get("backoffLimit") != 0 or dig(template, "spec", "restartPolicy") != "Never":
            yield f"{command} is tried again"
        if not 600 <= number(job.get("activeDeadlineSeconds")) <= 14400:
            yield f"{command}: no sensible deadline"
        if job.get("ttlSecondsAfterFinished") != 604800:
            yield f"{command}: its log is not kept for a week"
        if dig(template, "spec", "terminationGracePeriodSeconds") != GRACE.get(command, 40):
            yield f"{command}: a tool that is told to end has no time to print its counts"


def a_jobs_pod_is_none_of_the_functions(manifests: Manifests) -> Iterator[str]:
    for command, spec, _, template in jobs(manifests):
        labels = [dig(found, "metadata", "labels") for found in (template, spec.get("jobTemplate"))]
        if labels != [JOB_LABELS, JOB_LABELS]:
            yield f"{command}: labels {labels}"


def a_jobs_sidecar_is_the_functions(manifests: Manifests) -> Iterator[str]:
    own = {name: value for name, value in manifests.annotations.items() if not LEFT_OUT.fullmatch(str(name))} | OTHER
    for command, _, _, template in jobs(manifests):
        found = dig(template, "metadata", "annotations") or {}
        if found != own:
            differing = {name for name in found | own if found.get(name) != own.get(name)}
            yield f"{command}: annotations {sorted(differing)} differ from the function's"


def a_jobs_container_runs_the_command_as_the_function_would(manifests: Manifests) -> Iterator[str]:
    for command, _, _, template in jobs(manifests):
        containers = dig(template, "spec", "containers") or []
        container = containers[0] if len(containers) == 1 else {}
        if container.get("args") != ARGUMENTS[command]:
            yield f"{command}: arguments {container.get('args')}"
        wanted = TOKENS.get(command, {"DAPR_API_TOKEN"})
        tokens = [one for one in manifests.container.get("env", []) if one.get("name") in wanted] + [WAITS]
        found = [one for one in container.get("env", []) if one.get("name") != "KAFKA_CLIENT_CONFIG"]
        if sorted(found, key=str) != sorted(tokens, key=str):
            yield f"{command}: environment {container.get('env')}"
        for key in ("name", "image", "imagePullPolicy", "envFrom", "securityContext"):
            if container.get(key) != manifests.container.get(key):
                yield f"{command}: {key} is {container.get(key)}, not the function's"
        for key in ("serviceAccountName", "volumes"):
            if dig(template, "spec", key) != dig(manifests.pod, "spec", key):
                yield f"{command}: {key} differs from the function's"


RULES = (
    only_a_person_starts_a_job, a_job_runs_once_and_ends, a_jobs_pod_is_none_of_the_functions,
    a_jobs_sidecar_is_the_functions, a_jobs_container_runs_the_command_as_the_function_would,
)  # fmt: skip
