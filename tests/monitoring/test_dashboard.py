"""The committed dashboard is what the code writes, and Prometheus understands each of its queries."""

import json
from typing import Any

import pytest

from dev.monitoring.alerts import judge
from dev.monitoring.dashboard import FILE, Panel, as_json, panels
from tests.monitoring.queries import misspelt

NO_TESTS = "rule_files: [rules.yaml]\ntests: []\n"


def plain(expression: str) -> str:
    """The query as Prometheus gets it from Grafana."""
    return expression.replace("$__rate_interval", "1m").replace("$namespace", ".*")


def in_json(document: dict[str, Any]) -> set[str]:
    return {target["expr"] for panel in document["panels"] for target in panel.get("targets", [])}


def test_the_committed_dashboard_is_what_the_code_makes() -> None:
    assert FILE.read_text() == as_json(), "run `make dashboard`"


def test_every_query_of_the_dashboard_is_one_of_its_panels() -> None:
    queries = {query.expression for panel in panels() for query in panel.queries}
    assert in_json(json.loads(FILE.read_text())) == queries


def test_prometheus_understands_every_query() -> None:
    expressions = [plain(expression) for expression in sorted(in_json(json.loads(FILE.read_text())))]
    rules = [{"record": f"query:{place}", "expr": expression} for place, expression in enumerate(expressions)]
    well, said = judge({"groups": [{"name": "dashboard", "rules": rules}]}, NO_TESTS)
    assert well, said
    assert f"{len(expressions)} rules found" in said


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel.title)
def test_a_panel_shows_what_the_function_has(panel: Panel) -> None:
    for query in panel.queries:
        assert misspelt(plain(query.expression)) == []


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel.title)
def test_a_panel_says_what_it_shows_and_has_a_name_for_each_line(panel: Panel) -> None:
    assert panel.means.endswith(".")
    assert panel.number or all(query.legend for query in panel.queries)


def test_panels_lie_side_by_side_in_a_grid_of_24() -> None:
    taken: set[tuple[int, int]] = set()
    shown = json.loads(FILE.read_text())["panels"]
    for panel in shown:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in shown}) == len(shown)
