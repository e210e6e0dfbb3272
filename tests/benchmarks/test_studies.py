"""The studies: what they run on, and how they count."""

from pathlib import Path

import pytest
import yaml

from benchmarks.studies.pods import components
from benchmarks.studies.profiling import alone, stacks, tree


def test_more_components_are_more_members_of_the_group_each_with_the_same_resiliency(tmp_path: Path) -> None:
    folder = components(tmp_path, 3, "host=127.0.0.1")
    found = {file.stem: yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")}
    assert {"pubsub", "pubsub-2", "pubsub-3"} <= found.keys()
    assert found["pubsub-3"]["metadata"]["name"] == "pubsub-3"
    assert found["pubsub-3"]["spec"] == found["pubsub"]["spec"]
    assert found["resiliency"]["spec"]["targets"]["components"].keys() == {"pubsub", "pubsub-2", "pubsub-3"}
    assert found["statestore"]["spec"]["type"] == "state.postgresql"


@pytest.mark.parametrize("count", [1, 3, 4, 8])
def test_there_are_as_many_components_as_were_asked_for(tmp_path: Path, count: int) -> None:
    """Fewer or more than are deployed; the deployed ones are replaced."""
    documents = [d for file in components(tmp_path, count).glob("*.yaml") for d in yaml.safe_load_all(file.read_text())]
    wanted = {"pubsub", *(f"pubsub-{number}" for number in range(2, count + 1))}
    names = [d["metadata"]["name"] for d in documents if d["metadata"]["name"].startswith("pubsub")]
    assert sorted(names) == sorted(wanted)
    (policy,) = [d for d in documents if d["kind"] == "Resiliency"]
    assert policy["spec"]["targets"]["components"].keys() == wanted


def test_samples_are_counted_by_function_alone_and_as_a_tree() -> None:
    raw = "main (a/cli.py:1);decode (x/function/events/decode.py:70) 3\nmain (a/cli.py:2);wait (b.py:9) 1\n"
    samples = stacks(raw)
    assert tree(samples, us=100.0, least=1.0) == ["   75.0  events/decode.py decode", "   25.0  b.py wait"]
    assert tree(samples, us=100.0, least=30.0) == ["   75.0  events/decode.py decode"]
    assert alone(samples) == {"events/decode.py decode": 3, "b.py wait": 1}
