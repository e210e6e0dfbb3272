"""What is told of a removal: a log line that does not know the user, and two numbers."""

import logging

import pytest

from function.accounts.traces import Part, Removal, RemovalResult
from function.processing.removals import told_removals
from function.telemetry.metrics import REMOVAL_RESULTS, REMOVED_PARTS, Metrics
from tests.support.metrics_page import samples


def test_each_removal_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "function")
    metrics = Metrics()
    told_removals(metrics)([
        Removal(Part.MESSAGES, RemovalResult.BEGUN, 3, "abc"),
        Removal(Part.MEDIA, RemovalResult.WAITS, 0, "DELETE: 500"),
        Removal(Part.MESSAGES, RemovalResult.FAILED, 2, "complete abc"),
    ])  # fmt: skip
    lines = [(record.levelname, record.__dict__["fields"]) for record in caplog.records]
    assert lines == [
        ("INFO", {"part": "messages", "outcome": "begun", "size": 3, "detail": "abc"}),
        ("WARNING", {"part": "media", "outcome": "waits", "size": 0, "detail": "DELETE: 500"}),
        ("ERROR", {"part": "messages", "outcome": "failed", "size": 2, "detail": "complete abc"}),
    ]
    found = samples(metrics.exposed())
    name = "matrix_account_sync_removals_total"
    counted = {dict(labels)["result"]: value for (one, labels), value in found.items() if one == name and value}
    assert counted == {"begun": 1, "waits": 1, "failed": 1}


def test_the_metric_has_every_part_and_every_result() -> None:
    """From the start, at 0."""
    assert (set(REMOVED_PARTS), set(REMOVAL_RESULTS)) == (set(Part), set(RemovalResult))
