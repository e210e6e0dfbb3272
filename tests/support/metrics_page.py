"""Reads the metrics, of a running function or in memory."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from dev.running_stack import RunningStack
from function.telemetry.metrics import Metrics


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


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the text format by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics.exposed())[f"matrix_account_sync_{name}", frozenset(labels.items())]
