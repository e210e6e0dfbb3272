"""Writes the tables of the reference pages from the code; the cog blocks in docs/reference and README.md call it.

`make docs` runs the blocks and `make check` fails if a page is stale.
"""

import json
import re
from collections.abc import Iterable

from pydantic import SecretStr
from typer.main import get_command
from typer.testing import CliRunner

from dev.contract.payloads import payload_schema
from dev.contract.wire import Format, Shape, shapes
from function.cli import cli
from function.cli.exit_codes import ExitCode
from function.events.payloads import PAYLOADS
from function.events.types import EventType
from function.reasons import Reason
from function.settings import Settings, ToolSettings
from function.telemetry.logs import EVENTS, FIELDS
from function.telemetry.metrics import METRICS

HELP_COLUMNS = 120  # the docstrings fit
_USER, _GONE = "00000000-0000-4000-8000-000000000001", EventType.DELETED.value
# Records for the page of producers, whose times do not depend on the present: accepted with a note, and dead letters.
_TRIED = [
    {
        "key": "ada",
        "headers": {"event_type": _GONE, "event_id": "1"},
        "payload": {"user_id": _USER, "soft_delete": True},
    },
    {"key": _USER, "headers": {"event_type": _GONE, "event_id": "2"}, "payload": {"user_id": _USER}},
    {"hello": "world"},
]
# Instructions in the code are plain text; these get a link on the page.
LINKS = {
    "Renew the token": "../credentials.md#the-admin-token",
    "Lift the rate limit": "../deploy.md#lifting-the-rate-limit",
}


def _table(header: str, rows: Iterable[Iterable[str]]) -> str:
    """Returns a Markdown table; `header` has the column titles, separated by commas."""
    titles = header.split(", ")
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines).replace(
        "|  |", "| |"
    )


def _code(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def settings(*prefixes: str) -> str:
    """Returns the settings whose names start with one of `prefixes`."""
    fields = Settings.model_fields
    rows = [
        (f"`{name.upper()}`", _default(name), field.description or "")
        for prefix in prefixes
        for name, field in fields.items()
        if name.startswith(prefix)
    ]
    return _table("Variable, Default, Meaning", rows)


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    if field.is_required():
        return "required"
    assert not isinstance(field.default, SecretStr)
    value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return f"`{value}`" if value else "empty"


def tool_settings() -> str:
    """Returns the names of the settings that `dead-letters`, `replay` and `discard` read."""
    return _code(name.upper() for name in ToolSettings.model_fields) + "."


def rejections() -> str:
    """Returns the reasons of dead letters."""
    rows = [(f"`{r}`", r.means, _linked(r.todo), r.replay) for r in Reason if not r.retried]
    return _table("Reason, Meaning, What to do, Does a replay help?", rows)


def retries() -> str:
    """Returns the reasons of retries, each with the dependency that readiness reports."""
    rows = [
        (f"`{r}`", r.means, f"not ready (`{r.dependency}`)" if r.dependency else "ready", _linked(r.todo))
        for r in Reason
        if r.retried
    ]
    return _table("Reason, Meaning, Readiness, What to do", rows)


def _linked(text: str) -> str:
    for words, target in LINKS.items():
        text = text.replace(words, f"[{words}]({target})")
    return text


def metrics() -> str:
    """Returns every metric with its kind and the names of its labels."""
    rows = [(f"`{m.name}`", m.kind.value, _code(m.labels) or "none", m.means) for m in METRICS]
    return _table("Metric, Kind, Labels, Meaning", rows)


def labels() -> str:
    """Returns every label with the metrics that have it and the values that it can have."""
    values = {label: allowed for metric in METRICS for label, allowed in metric.labels.items()}
    in_words = {
        "reason": f"the [reasons](reasons.md), {_code(v for v in values['reason'] if v not in set(Reason))}",
        "version": "the version that runs",
        "partition": f"the partition of the topic, `0` to `{len(values['partition']) - 2}`; `other`: those above it, added up",
    }
    rows = [(f"`{label}`", in_words.get(label) or _code(allowed)) for label, allowed in values.items()]
    return _table("Label, Values", rows)


def log_events() -> str:
    """Returns every log event with its level, its fields and its meaning."""
    return _table("Event, Level, Fields, Meaning", [(f"`{e.name}`", e.level, _code(e.fields), e.means) for e in EVENTS])


def log_fields() -> str:
    """Returns the allow-listed fields of the log."""
    return _table("Field, Meaning", [(f"`{name}`", means) for name, means in FIELDS.items()])


def event_effects() -> str:
    """Returns what each event type does in Synapse, one row per case."""
    rows = [
        (f"`{type_}`{case and f', {case}'}", effect) for type_ in EventType for case, effect in type_.effects.items()
    ]
    return _table(
        "Event, Effect in Synapse",
        [
            *rows,
            (
                "any other",
                "none: acknowledged and ignored, unless something in the record speaks of a deletion: then it is a dead letter",
            ),
        ],
    )


def event_types() -> str:
    """Returns both spellings of each event type and the payload fields that are read."""
    rows = [(f"`{type_}`", f"`{type_.old}`", _payload(type_)) for type_ in EventType]
    return _table("Type, Old name, Fields read", rows)


def _payload(type_: EventType) -> str:
    fields = PAYLOADS[type_].model_fields.items()
    return ", ".join(f"`{name}`" + ("" if field.is_required() else " (optional)") for name, field in fields)


def payload_fields(kind: EventType) -> str:
    """Returns the fields of an event's payload, as a producer is asked to send them."""
    schema = payload_schema(kind)
    rows = [
        (f"`{name}`", "yes" if name in schema["required"] else "no", str(field["description"]))
        for name, field in schema["properties"].items()
    ]
    return _table("Field, Required, Meaning", rows)


def producer_examples() -> str:
    """Returns a record of each event as a producer sends it, in the form that `validate` reads."""
    blocks = [
        f"### {shape.kind}\n\n{str(PAYLOADS[shape.kind].__doc__).splitlines()[0]}\n\n{payload_fields(shape.kind)}\n\n"
        f"```json\n{_record_text(shape)}\n```"
        for shape in shapes("")
        if shape.format is Format.BARE
    ]
    return "\n\n".join(blocks)


def _record_text(shape: Shape) -> str:
    """Returns the record of a shape's example, a member on each line."""
    record = {"key": shape.example_value["user_id"], "headers": shape.example_headers, "payload": shape.example_value}
    return "{" + ",\n ".join(f'"{name}": {json.dumps(member)}' for name, member in record.items()) + "}"


def validated_records() -> str:
    """Returns some records, and what `validate` prints about them."""
    lines = "\n".join(json.dumps(record) for record in _TRIED)
    done = CliRunner().invoke(cli, ["validate", "-"], input=lines, env={"COLUMNS": "100", "NO_COLOR": "1"})
    return f"```json\n{lines}\n```\n\n```text\n{done.stdout.rstrip()}\n```"


def command_names() -> list[str]:
    """Returns the commands of the command line, in the order in which its help lists them."""
    return list(getattr(get_command(cli), "commands", {}))


def command_help(name: str) -> str:
    """Returns the help of one command as a fenced block."""
    shown = CliRunner().invoke(
        cli, [name, "--help"] if name else ["--help"], prog_name="matrix-account-sync",
        env={"COLUMNS": str(HELP_COLUMNS), "NO_COLOR": "1", "TERM": "dumb"},
    )  # fmt: skip
    assert shown.exit_code == 0, shown.output
    text = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
    return f"```text\n{text}\n```"


def codes_of(command_help: str) -> set[int]:
    """Returns the exit codes that the help of a command lists."""
    return {int(code) for code in re.findall(r"^\s*(\d+): ", command_help, re.MULTILINE)}


def exit_codes() -> str:
    """Returns every exit code, and the commands whose help lists it."""
    commands = getattr(get_command(cli), "commands", {}).items()
    rows = [
        (str(int(code)), code.means, _code(name for name, command in commands if code in codes_of(command.help or "")))
        for code in ExitCode
    ]
    return _table("Exit code, Meaning, Commands", rows)
