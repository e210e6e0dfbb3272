"""`make dashboard`: the Grafana dashboard as code. ROWS lists the panels; the rest converts them for Grafana."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)

FILE = Path(__file__).parents[2] / "k8s" / "components" / "monitoring" / "dashboard.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
# Grafana's sidecar, or a second import of the file, updates the dashboard with this id.
UID = "matrix-account-sync"
WIDTH = 24

M = "matrix_account_sync_"
NS = 'namespace=~"$namespace"'
PER = "[$__rate_interval]"
FAILED = 'status=~"5xx|timeout|unreachable"'


@dataclass(frozen=True)
class Query:
    """One query of a panel; `legend` is Grafana's template for the name of a series."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel: a graph, or a single number if `number`.

    Attributes:
        limit: values from this one on are red.
        below: values below the limit are red instead.
        words: texts to show for the numbers 0 and 1.
        stacked: whether the series are stacked, since their sum means something.
    """

    title: str
    means: str
    queries: tuple[Query, ...]
    unit: str = "short"
    number: bool = False
    limit: float | None = None
    below: bool = False
    words: tuple[str, str] | None = None
    stacked: bool = False


def _rate(metric: str, by: str, selector: str = "") -> str:
    inside = f"{NS}, {selector}" if selector else NS
    return f"sum by ({by}) (rate({M}{metric}{{{inside}}}{PER}))"


def _quantiles(metric: str) -> tuple[Query, ...]:
    buckets = f"sum by (le) (rate({M}{metric}_bucket{{{NS}}}{PER}))"
    return tuple(Query(f"histogram_quantile({q}, {buckets})", f"{q * 100:g}%") for q in (0.5, 0.9, 0.99))


def _number(
    title: str, means: str, expression: str, limit: float,
    *, unit: str = "short", below: bool = False, words: tuple[str, str] | None = None,
) -> Panel:  # fmt: skip
    return Panel(title, means, (Query(expression),), unit, number=True, limit=limit, below=below, words=words)


ROWS: dict[str, tuple[Panel, ...]] = {
    "At a glance": (
        _number("Ready", "Whether every pod can use all of its dependencies.",
                f"min({M}ready{{{NS}}})", words=("no", "yes"), limit=1, below=True),
        _number("Consuming", "no: switched off by KAFKA_ENABLED or MATRIX_ENABLED.",
                f"min({M}consuming{{{NS}}})", words=("no", "yes"), limit=1, below=True),
        _number("Deletion limit", "reached: further deletions within the hour go to the dead letters.",
                f"max({M}deletion_limit{{{NS}}})", words=("ok", "reached"), limit=1),
        _number("Since the last event", "Time since an event was processed, on any pod.",
                f"time() - (max({M}last_event_timestamp_seconds{{{NS}}}) > 0)", unit="s", limit=600),
        _number("Dead letters in an hour", "Events that can't succeed.",
                f"sum(increase({M}dead_letters_total{{{NS}}}[1h]))", limit=1),
        _number("Lag", "Events that wait in Kafka, of the main and the replay topic; empty if Kafka does not tell.",
                f"sum(max by (namespace, topic, partition) ({M}consumer_lag{{{NS}}}))", limit=1000),
    ),
    "Events": (
        Panel("Events by outcome", "Deliveries per second. An event that waits is delivered again and counts as retry each time.",
              (Query(_rate("events_total", "outcome"), "{{outcome}}"),), "ops", stacked=True),
        Panel("Events by type", "Deliveries per second, without retries.",
              (Query(_rate("events_total", "type", 'outcome!="retry"'), "{{type}}"),), "ops", stacked=True),
        Panel("Event age", "From the record's timestamp to the answer.", _quantiles("event_age_seconds"),
              "s", limit=300),
        Panel("Dead letters by reason", "Within an hour. docs/reasons.md says what each reason means and what to do.",
              (Query(f"sum by (reason) (increase({M}dead_letters_total{{{NS}}}[1h])) > 0", "{{reason}}"),), stacked=True),
        Panel("Lag by partition", "Records that the consumer group has not committed; in Kafka's own words, asked every 15 seconds.",
              (Query(f"max by (topic, partition) ({M}consumer_lag{{{NS}}}) > 0", "{{topic}} {{partition}}"),), limit=1000, stacked=True),
        Panel("Open dead letters", "Neither replayed nor discarded, by reason.",
              (Query(f"max by (reason) ({M}open_dead_letters{{{NS}}}) > 0", "{{reason}}"),), stacked=True),
        Panel("Retries by reason", "Deliveries per second that come again: answered RETRY, or rejected.",
              (Query(f"{_rate('retries_total', 'reason')} > 0", "{{reason}}"),
               Query(f"{_rate('rejected_requests_total', 'cause')} > 0", "rejected: {{cause}}")), "ops", stacked=True),
        Panel("Oldest waiting event", "Its age from the record's timestamp, on any pod: in processing, or answered RETRY for any reason; 0 if none waits.",
              (Query(f"max by (namespace) ({M}oldest_waiting_event_seconds{{{NS}}})", "{{namespace}}"),), "s", limit=900),
        Panel("Ignored events", "Within an hour, by cause. Of other_type are those of other services, and misspelt ones of ours.",
              (Query(f"sum by (cause) (increase({M}ignored_total{{{NS}}}[1h])) > 0", "{{cause}}"),), stacked=True),
        Panel("Batch size", "Average number of records in a batch; at most 100.",
              (Query(f"{_rate('batch_records_sum', 'namespace')} / {_rate('batch_records_count', 'namespace')}",
                     "records"),)),
    ),
    "Synapse": (
        Panel("Calls by status", "Requests per second, including retries and probes.",
              (Query(_rate("synapse_calls_total", "status"), "{{status}}"),), "reqps", stacked=True),
        Panel("Calls by operation", "Requests per second by purpose.",
              (Query(_rate("synapse_calls_total", "operation"), "{{operation}}"),), "reqps", stacked=True),
        Panel("Call time", "95th percentile of each operation.",
              (Query(f"histogram_quantile(0.95, {_rate('synapse_call_seconds_bucket', 'operation, le')})", "{{operation}}"),), "s"),
        Panel("Failed calls", "Share of the requests with 5xx or without an answer; the alert is at 5%.",
              (Query(f"{_rate('synapse_calls_total', 'namespace', FAILED)}"
                     f" / {_rate('synapse_calls_total', 'namespace')}", "failed"),), "percentunit", limit=0.05),
    ),
    "Matrix Authentication Service, where it owns the accounts": (
        Panel("MAS calls by status", "Requests per second, including retries, probes and tokens.",
              (Query(_rate("mas_calls_total", "status"), "{{status}}"),), "reqps", stacked=True),
        Panel("MAS call time", "95th percentile of each operation; empty if there is no MAS.",
              (Query(f"histogram_quantile(0.95, {_rate('mas_call_seconds_bucket', 'operation, le')})", "{{operation}}"),), "s"),
    ),
    "Pods": (
        Panel("Ready by dependency", "0: some pod can't use that dependency.",
              (Query(f"min by (dependency) ({M}ready{{{NS}}})", "{{dependency}}"),)),
        Panel("Batch time", "From the arrival of a batch to the answer.", _quantiles("batch_seconds"), "s", limit=30),
        Panel("Token reads", "Since each pod's start: a new token, the refused one again, or none.",
              (Query(f"sum by (result) ({M}token_reads_total{{{NS}}})", "{{result}}"),)),
        Panel("Memory", "Resident memory of each process of the function.",
              (Query(f"process_resident_memory_bytes and on (instance, job) {M}build_info{{{NS}}}", "{{instance}}"),),
              "bytes"),
        Panel("CPU", "CPU seconds per second of each process of the function.",
              (Query(f"rate(process_cpu_seconds_total{PER}) and on (instance, job) {M}build_info{{{NS}}}",
                     "{{instance}}"),)),
        Panel("Versions", "Number of pods of each version.",
              (Query(f"count by (version) ({M}build_info{{{NS}}})", "{{version}}"),), stacked=True),
    ),
}  # fmt: skip


def panels() -> list[Panel]:
    return [panel for row in ROWS.values() for panel in row]


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    low, high = ("red", "green") if panel.below else ("green", "red")
    steps = [Threshold(value=None, color=low)]
    if panel.limit is not None:
        steps.append(Threshold(value=panel.limit, color=high))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _targets(panel: Panel) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(query.expression).legend_format(query.legend or "__auto").ref_id(chr(65 + place))
        for place, query in enumerate(panel.queries)
    ]  # fmt: skip


def _stat(panel: Panel) -> stat.Panel:
    made = stat.Panel().title(panel.title).description(panel.means).datasource(SOURCE).unit(panel.unit).decimals(0)
    made.no_value("-").thresholds(_thresholds(panel)).color_mode(words.BigValueColorMode.BACKGROUND)
    if panel.words:
        texts = {str(number): ValueMappingResult(text=text) for number, text in enumerate(panel.words)}
        made.mappings([ValueMap(options=texts)])
    for target in _targets(panel):
        made.with_target(target)
    return made


def _graph(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().title(panel.title).description(panel.means).datasource(SOURCE).unit(panel.unit).min(0)
    made.legend(common.VizLegendOptions().display_mode(words.LegendDisplayMode.LIST).show_legend(True)
                .placement(words.LegendPlacement.BOTTOM))  # fmt: skip
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(words.StackingMode.NORMAL)).fill_opacity(30)
    if panel.limit is not None:
        line = common.GraphThresholdsStyleConfig().mode(words.GraphThresholdsStyleMode.LINE)
        made.thresholds(_thresholds(panel)).thresholds_style(line)
    for target in _targets(panel):
        made.with_target(target)
    return made


def as_json() -> str:
    """Returns the dashboard as JSON for Grafana."""
    made = dashboard.Dashboard("Matrix account sync").uid(UID).tags(["matrix", "dapr"]).readonly()
    made.description("Keeps Matrix accounts in step with the identity service. Generated: make dashboard.")
    made.time("now-6h", "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR)
    made.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    made.with_variable(
        dashboard.QueryVariable("namespace").label("Namespace").datasource(SOURCE).refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .query(f"label_values({M}build_info, namespace)").include_all(True).all_value(".*")
    )  # fmt: skip
    ids = itertools.count(1)
    for title, row in ROWS.items():
        made.with_row(dashboard.Row(title).id(next(ids)))
        for panel in row:
            span = WIDTH // (6 if panel.number else 2 if len(row) % 2 == 0 and len(row) < 5 else 3)
            shown = _stat(panel).height(4) if panel.number else _graph(panel).height(8)
            made.with_panel(shown.span(span).id(next(ids)))
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_json())
