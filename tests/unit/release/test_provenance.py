"""The statement of how a release was built is accepted by in-toto's own library, and claims no more than is known."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from dev.release import checksums, provenance
from dev.release.image import Image
from dev.release.source import Source

FORGE = {
    "GITHUB_SERVER_URL": "https://forge.example",
    "GITHUB_REPOSITORY": "some/project",
    "GITHUB_RUN_ID": "17",
    "GITHUB_WORKFLOW_REF": "some/project/.github/workflows/release.yaml@refs/tags/v1",
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "a.whl"
    file.write_text("content")
    return file


def read(document: dict[str, Any]) -> tuple[Any, Any]:
    """Parses the statement as in-toto's library does, which refuses unknown fields. Returns it with its predicate."""
    statement = json_format.Parse(json.dumps(document), statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    return statement, json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())


def test_each_file_is_a_subject_with_its_sum(source: Source, wheel: Path) -> None:
    statement, predicate = read(provenance.document([wheel], source, {}, None))
    assert [(one.name, dict(one.digest)) for one in statement.subject] == [
        ("a.whl", {"sha256": checksums.digest(wheel)})
    ]
    inputs = predicate.build_definition.resolved_dependencies
    assert dict(inputs[0].digest) == {"gitCommit": source.commit}
    assert {one.name for one in inputs[1:]} == set(provenance.LOCKED)


def test_a_build_on_a_persons_machine_names_no_platform_that_vouches_for_it(source: Source, wheel: Path) -> None:
    _, predicate = read(provenance.document([wheel], source, {}, None))
    assert predicate.run_details.builder.id == "urn:matrix-account-sync:builder:local"
    assert predicate.run_details.metadata.invocation_id == ""


def test_a_build_on_a_forge_names_its_workflow_and_run(source: Source, wheel: Path) -> None:
    _, predicate = read(provenance.document([wheel], source, FORGE, None))
    assert predicate.run_details.builder.id == f"https://forge.example/{FORGE['GITHUB_WORKFLOW_REF']}"
    assert predicate.run_details.metadata.invocation_id.endswith("/actions/runs/17/attempts/1")


@pytest.mark.parametrize(("base", "inputs"), [(f"python@sha256:{'ab' * 32}", ["ab" * 32]), ("python", [])])
def test_the_base_of_the_image_is_an_input_if_it_was_named_by_digest(
    base: str, inputs: list[str], source: Source, wheel: Path
) -> None:
    image = Image(wheel, f"sha256:{'cd' * 32}", base)
    statement, predicate = read(provenance.document([], source, {}, image))
    assert [(one.name, dict(one.digest)) for one in statement.subject] == [
        ("matrix-account-sync", {"sha256": "cd" * 32})
    ]
    found = [one for one in predicate.build_definition.resolved_dependencies if one.name == base]
    assert [one.digest["sha256"] for one in found] == inputs
