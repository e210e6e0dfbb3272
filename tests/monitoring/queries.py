"""Compares the queries of alerts and dashboard with the metrics that the function has."""

import re

from function.telemetry.metrics import METRICS

TARGET = {"namespace"}  # a label of the target, not the function's
PARTS_OF_HISTOGRAM = ("_bucket", "_sum", "_count")


def named(expression: str) -> set[str]:
    """The metrics of this service in a query."""
    return set(re.findall(r"matrix_account_sync_\w+", expression))


def known() -> dict[str, dict[str, set[str]]]:
    """Every name that a query can use, with its labels and their values."""
    found: dict[str, dict[str, set[str]]] = {}
    for metric in METRICS:
        labels = {label: set(values) for label, values in metric.labels.items()}
        suffixes = PARTS_OF_HISTOGRAM if metric.buckets else ("",)
        found |= {metric.name + suffix: labels for suffix in suffixes}
    return found


def misspelt(expression: str) -> list[str]:
    """The metrics of a query that do not exist, and the values that their labels never have."""
    problems = []
    for name, selector in re.findall(r"(matrix_account_sync_\w+)(?:\{([^}]*)\})?", expression):
        if name not in known():
            problems.append(name)
            continue
        for label, pattern in re.findall(r'(\w+)!?=~?"([^"]*)"', selector):
            if label not in TARGET:
                problems += sorted(set(pattern.split("|")) - known()[name].get(label, set()))
    return problems
