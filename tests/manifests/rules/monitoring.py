"""What must hold for the scrape job, the alerts and the dashboard, where they are rendered. That the alerts and the
dashboard are right is tests/monitoring' matter; here, that they arrive as they are."""

import json
from collections.abc import Iterator

import yaml

from dev.monitoring.alerts import rules
from dev.monitoring.dashboard import as_json
from function.routes import METRICS_ROUTE
from tests.manifests.deploy_page import scripts
from tests.manifests.rendering import Manifests, dig, render
from tests.manifests.rules.names import APP, DASHBOARD


def adapted(overlay: str, *, oldest: bool = False) -> Manifests:
    """An overlay with the component, and with the lines of docs/deploy.md for the alerts' links and hours."""
    (lines,) = scripts("The alerts' links and hours", "yaml")
    return render(f"{overlay}+monitoring", lines=yaml.safe_load(lines), oldest=oldest)


def prometheus_finds_the_pods_and_their_ports(manifests: Manifests) -> Iterator[str]:
    (port,) = dig(manifests.container, "ports") or [{}]
    daprd = manifests.annotations.get("dapr.io/enable-metrics") == "true"
    for monitor in manifests.of("PodMonitor"):
        endpoints = [{"port": port.get("name"), "path": METRICS_ROUTE, "interval": "15s"}]
        endpoints += [{"port": "dapr-metrics", "path": "/metrics", "interval": "30s"}] if daprd else []
        wanted = {
            "selector": {"matchLabels": {"app.kubernetes.io/name": APP}},
            "podMetricsEndpoints": endpoints,
        }
        if monitor.get("spec") != wanted:
            yield f"Prometheus scrapes {monitor.get('spec')}"


def the_alerts_are_the_tested_ones(manifests: Manifests) -> Iterator[str]:
    for alerts in manifests.of("PrometheusRule"):
        wanted = rules()
        (absent,) = [rule for rule in wanted["groups"][0]["rules"] if rule["alert"] == "MatrixAccountSyncAbsent"]
        absent["expr"] = absent["expr"].replace("infrastructure", str(alerts["metadata"].get("namespace")))
        if alerts.get("spec") != wanted:
            yield "the alerts are others than those of tests/monitoring"


def grafana_finds_the_dashboard(manifests: Manifests) -> Iterator[str]:
    if bool(manifests.of("PrometheusRule")) != (DASHBOARD in manifests.names("ConfigMap")):
        yield "alerts and dashboard do not come together"
    for dashboard in manifests.of("ConfigMap"):
        if dashboard["metadata"].get("name") != DASHBOARD:
            continue
        if dashboard["metadata"].get("labels", {}).get("grafana_dashboard") != "1":
            yield "Grafana does not look at the dashboard"
        data = dashboard.get("data", {})
        if list(data) != [f"{APP}.json"] or data[f"{APP}.json"] != as_json():
            yield "the dashboard is not the generated one"
        else:
            json.loads(data[f"{APP}.json"])


RULES = (prometheus_finds_the_pods_and_their_ports, the_alerts_are_the_tested_ones, grafana_finds_the_dashboard)
