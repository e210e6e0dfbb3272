"""What is shown of the figures: medians, tables, the sizing, the page and its pictures."""

import json
import re
from xml.etree import ElementTree as ET

import pytest

from benchmarks.matrix import PARTS, failures, medians
from benchmarks.process_stats import percentile
from benchmarks.report import tables
from benchmarks.report.chart import bars
from benchmarks.report.sizing import sizing
from benchmarks.systems import LOAD, NOTHING, OURS, PLAIN, SYSTEMS
from benchmarks.workloads import WORKLOADS


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert percentile([1.0] * 98 + [9.0, 10.0], 0.99) == 9.0
    assert percentile([], 0.99) == 0.0


FIGURES = {
    "events_per_second": 100.0, "calls_per_event": 0.1, "lost": 0.0, "wrong": 0.0, "corrupted": 0.0, "p50_ms": 0.0,
    "p99_ms": 0.0, "cpu_us_per_event": 200.0, "rss_mb": 90.0,
}  # fmt: skip


def test_the_median_of_three_hides_no_lost_event() -> None:
    runs = [
        FIGURES | {"events_per_second": rate, "lost": lost} for rate, lost in ((90.0, 0.0), (120.0, 0.0), (80.0, 2.0))
    ]
    found = medians(runs)
    assert (found["events_per_second"], found["lost"], found["runs"]) == (90.0, 2.0, 3)


def test_a_wrong_answer_of_ours_fails_the_benchmark_and_a_peers_does_not() -> None:
    assert failures({"hot": {OURS: FIGURES, PLAIN: FIGURES | {"wrong": 3.0}}}) == []
    assert failures({"hot": {OURS: FIGURES | {"wrong": 3.0}}}) == ["hot: 0 lost, 3 wrong"]


def test_every_part_measures_ours_and_only_known_systems_and_workloads() -> None:
    for part in PARTS:
        assert OURS in part.events
        assert part.events.keys() | part.quick.keys() <= SYSTEMS.keys()
        assert part.workload in WORKLOADS


def test_the_tables_show_ratios_to_the_plain_consumer_and_to_the_limit() -> None:
    results = {
        "noise": {
            OURS: FIGURES,
            PLAIN: FIGURES | {"events_per_second": 4.0},
            NOTHING: FIGURES | {"events_per_second": 400.0},
        }
    }
    shown = tables.results_table(results)
    assert [cell.strip() for cell in shown.splitlines()[2].split("|")][1:6] == ["noise", OURS, "100", "25.0", "0.25"]
    assert "| W1 noise, over the plain consumer" in tables.goals_table(results)


def test_the_cost_of_an_event_is_told_by_process() -> None:
    own = {f"{name}_{process}": 10.0 for name in ("cpu_us_per_event", "rss_mb") for process in ("function", "daprd")}
    results = {"noise": {OURS: FIGURES | {"start_s": 4.04}}, "noise known": {OURS: FIGURES | own | {"start_s": 2.0}}}
    shown = tables.cost(results)
    assert "10.0 µs of the function, 10.0 µs of daprd" in shown
    assert "4.0 s from the start of both, 2.0 s where daprd" in shown
    assert tables.cost({}) == "not measured yet"


def test_what_grew_is_told_under_its_own_head_whatever_the_order_of_a_row() -> None:
    shown = tables.study_table([{"events/s": 2.0, "owned": ""}, {"owned": "2 + 2 + 1", "events/s": 3.0}])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()]
    assert rows == [["events/s", "owned"], rows[1], ["2.00", ""], ["3.00", "2 × 2, 1 × 1"]]


def test_the_sizing_is_computed_from_the_figures() -> None:
    few = {"noise known": {OURS: FIGURES}, "real changes": {LOAD: FIGURES}}
    more = {"noise known": {OURS: FIGURES | {"events_per_second": 1e6}}, "real changes": {LOAD: FIGURES}}
    assert "**Pods:** 58" in sizing(few)
    assert "**Pods:** 2: 1 for the peak" in sizing(more)
    assert sizing({}) == "not measured yet"


def test_a_page_is_filled_between_its_markers_and_again() -> None:
    page = "before\n<!-- results -->\n<!-- /results -->\nafter"
    once = tables.filled(page, {"results": "first"})
    assert tables.filled(once, {"results": "a \\1 table"}) == (
        "before\n<!-- results -->\na \\1 table\n<!-- /results -->\nafter"
    )
    with pytest.raises(ValueError, match="no place for other"):
        tables.filled(page, {"other": "x"})


def test_the_chart_is_xml_with_a_bar_for_each_value() -> None:
    picture = ET.fromstring(bars("Events <per> second", {"noise": {"a": 2.0, "b": 1.0}}, ["a", "b"]))
    widths = [float(bar.get("width", "0")) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[0] == 2 * widths[1]


def test_the_page_shows_what_was_measured_last() -> None:
    """The tables are filled by the benchmark, never by hand."""
    results = tables.load()
    page = tables.PAGE.read_text()
    for text in (tables.results_table(results), tables.goals_table(results), tables.cost(results), sizing(results)):
        assert text in page
    assert json.dumps(results)
    assert re.search(r"<!-- made -->", page)
