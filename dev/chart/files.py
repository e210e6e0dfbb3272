"""Says which files of the Helm chart are generated, and their text. A test compares them with those in k8s/chart."""

import json

from dev.chart.schema import schema
from dev.chart.templates import templates
from dev.chart.variants import K8S, everything

CHART = K8S / "chart"


def generated() -> dict[str, str]:
    """Returns the text of each generated file, by its path in the chart."""
    found = everything()
    texts = {f"templates/{name}": text for name, text in templates(found).items()}
    return texts | {"values.schema.json": json.dumps(schema(found.settings), indent=2) + "\n"}
