"""Reads the metrics of a running function."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from dev.running_stack import RunningStack


def shown(running: RunningStack) -> tuple[str, dict[str, float]]:
    """Returns the page, and its samples by name and labels as they are written there."""
    text = httpx.get(f"http://127.0.0.1:{running.environment['APP_PORT']}/metrics").raise_for_status().text
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name.removeprefix('matrix_account_sync_')}{{{labels}}}"] = sample.value
    return text, samples


def refused(running: RunningStack, cause: str) -> float:
    """Returns how many deliveries the function has refused for the given cause."""
    return shown(running)[1][f"rejected_requests_total{{cause={cause}}}"]
