"""Prometheus' own tool finds the alerts as they are meant, and would notice if they were not."""

import re
from typing import Any

import pytest
import yaml

from dev.monitoring.alerts import ROOT, TESTS, judge, rules
from tests.manifests.rules.monitoring import adapted
from tests.monitoring.queries import known, misspelt, named

CASES: list[dict[str, Any]] = yaml.safe_load(TESTS.read_text())["tests"]
ALERTS: list[dict[str, Any]] = [rule for group in rules()["groups"] for rule in group["rules"]]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
PLACEHOLDER = "https://docs.example/matrix-account-sync/runbook.md"  # replaced by docs/deploy.md


def cases_of(alert: str) -> str:
    """The tests without those that do not speak of the alert: all of them take seconds."""
    own = [case for case in CASES if any(check["alertname"] == alert for check in case["alert_rule_test"])]
    return yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": own})


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    passed, said = judge(rules(), TESTS.read_text())
    assert passed, said


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_seen_to_fire_and_not_to_fire(alert: dict[str, Any]) -> None:
    expected = [
        bool(check["exp_alerts"])
        for case in CASES
        for check in case["alert_rule_test"]
        if check["alertname"] == alert["alert"]
    ]
    assert set(expected) == {True, False}


def test_with_links_and_hours_of_ones_own_each_alert_fires_as_before() -> None:
    """As docs/deploy.md sets them. The tests' day is a Thursday."""
    alerts = adapted("staging").one("PrometheusRule")
    page = alerts["metadata"]["annotations"]["runbook"]
    passed, said = judge(alerts["spec"], TESTS.read_text().replace(PLACEHOLDER, page))
    assert passed, said


@pytest.mark.parametrize("alert", [alert["alert"] for alert in ALERTS])
def test_the_tests_notice_an_alert_that_never_fires(alert: str) -> None:
    broken = rules()
    for rule in broken["groups"][0]["rules"]:
        if rule["alert"] == alert:
            rule["expr"] = "vector(0) > 1"
    passed, said = judge(broken, cases_of(alert))
    assert not passed
    assert alert in said


def test_a_query_that_does_not_parse_is_noticed() -> None:
    broken = rules()
    broken["groups"][0]["rules"][0]["expr"] = "sum by (namespace (up)"
    assert not judge(broken, TESTS.read_text())[0]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_metric_and_label_value_in_an_alert_is_one_that_the_function_has(alert: dict[str, Any]) -> None:
    """A misspelt one is no error to Prometheus: the alert is just silent."""
    assert misspelt(alert["expr"]) == []


def test_the_alerts_and_their_tests_use_the_same_names() -> None:
    series = " ".join(series["series"] for case in CASES for series in case["input_series"])
    assert named(series) <= known().keys()


def test_each_alert_has_its_section_in_the_runbook_and_the_other_way_round() -> None:
    sections = re.findall(r"^## (MatrixAccountSync\w+)$", RUNBOOK, re.MULTILINE)
    assert sections == [alert["alert"] for alert in ALERTS]


def test_each_section_says_what_to_look_at_and_what_to_do() -> None:
    for section in re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]:
        if section.startswith("MatrixAccountSync"):
            assert "**Check**" in section, section
            assert "**Do**" in section, section


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_where_its_section_is(alert: dict[str, Any]) -> None:
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"{PLACEHOLDER}#{alert['alert'].lower()}"
