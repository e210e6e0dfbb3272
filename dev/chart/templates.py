"""Makes the chart's templates of the renderings: a line that only some have gets its condition, and each mark becomes the
chart's value. Pure; writes nothing."""

import difflib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from dev.chart.variants import CONFIG, NAMESPACE, Everything, Name

PUBSUB = "matrix-account-sync-pubsub"
HEAD = "{{- /* Made from k8s/ by `make chart`; changes belong there. */ -}}\n"
_MARK = re.compile(r"zz([A-Z0-9_]+)zz")
# A line with one value that is not quoted yet.
_SCALAR = re.compile(r"^(?P<key>\s*(?:- )*(?:[\w./-]+: )?)(?P<value>[^\s'\"].*)$")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a template and the conditions under which it is there."""

    text: str
    conditions: tuple[str, ...] = ()


def templates(found: Everything) -> dict[str, str]:
    """Returns the text of each file in templates/, by its name."""
    files: dict[str, list[str]] = defaultdict(list)
    for name in found.base:
        if re.fullmatch(rf"{PUBSUB}-\d+", name[1]):
            continue
        files[f"{name[0].lower()}.yaml"].append(_object(name, merged(found, name)))
    for one in found.choices:
        for name in one.after.keys() - one.before.keys():
            lines = [Line(line) for line in one.after[name]]
            for other in found.choices:
                if one.choice.component in other.choice.changes:
                    lines = _changed(lines, other.before[name], other.after[name], other.choice.condition)
            text = _text(lines)
            files[f"{one.choice.component}.yaml"].append(
                f"{{{{- if {one.choice.condition} }}}}\n{text}{{{{- end }}}}\n"
            )
    made = {file: HEAD + _scheduled("---\n".join(sorted(texts))) for file, texts in files.items()}
    made["tests/check.yaml"] = HEAD + _scheduled(check_pod(merged(found, ("CronJob", "matrix-account-sync-audit"))))
    return made


def merged(found: Everything, name: Name) -> list[Line]:
    """Returns the lines of an object of the base, with those of each choice."""
    lines = [Line(line) for line in found.base[name]]
    for one in found.choices:
        lines = _changed(lines, one.before[name], one.after[name], one.choice.condition)
    return lines


def _changed(lines: list[Line], before: list[str], after: list[str], condition: str) -> list[Line]:
    """Adds the lines that only `after` has, and makes those that only `before` has conditional."""
    places = _places(lines, before)
    result: list[Line] = []
    position = 0
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        result += lines[position : places[start]]
        if tag != "equal":
            result += [Line(text, (condition,)) for text in after[new_start:new_end]]
        for index in range(places[start], places[end]):
            line = lines[index]
            gone = tag != "equal" and index in places
            result.append(Line(line.text, (*line.conditions, f"not ({condition})")) if gone else line)
        position = places[end]
    return result + lines[position:]


def _places(lines: list[Line], before: list[str]) -> list[int]:
    """Returns where each line of `before` is among lines to which other choices have added theirs, and the end."""
    places, at = [], 0
    for text in before:
        while lines[at].text != text or any(not one.startswith("not ") for one in lines[at].conditions):
            at += 1
        places.append(at)
        at += 1
    return [*places, len(lines)]


def _object(name: Name, lines: list[Line]) -> str:
    kind, called = name
    if called == CONFIG:
        return _config(lines)
    text = _text(lines)
    if called == PUBSUB:
        named = f"  name: {PUBSUB}\n"
        numbered = f"  name: {PUBSUB}{{{{ if gt $number 1 }}}}-{{{{ $number }}}}{{{{ end }}}}\n"
        each = "{{- range $number := untilStep 1 (add1 (int $.Values.settings.PUBSUB_COMPONENTS) | int) 1 }}\n---\n"
        return each + _replaced(text, named, numbered) + "{{- end }}\n"
    if kind == "Deployment":
        text = _replaced(text, "  replicas: 2\n", "  replicas: {{ $.Values.replicas }}\n")
        checksum = "        checksum/settings: {{ toJson $.Values.settings | sha256sum }}\n"
        text = _replaced(text, "      annotations:\n", f"      annotations:\n{checksum}")
    return text


def _config(lines: list[Line]) -> str:
    """The settings are a map of values, each under its own name."""
    data = (
        "{{- range $name, $value := $.Values.settings }}\n  {{ $name }}: {{ $value | toString | quote }}\n{{- end }}\n"
    )
    kept = [line for line in lines if not re.match(r"  [A-Z0-9_]+: ", line.text)]
    return _replaced(_text(kept), "\ndata:\n", f"\ndata:\n{data}")


def check_pod(audit: list[Line]) -> str:
    """Returns the pod of `helm test`: the audit Job's, with another command."""
    start = next(index for index, line in enumerate(audit) if line.text == "      template:")
    inside = [line for line in audit[start + 1 :] if line.text.startswith(" " * 8)]
    end = next((index for index, line in enumerate(inside) if not line.text.startswith(" " * 8)), len(inside))
    text = _text([Line(line.text[8:], line.conditions) for line in inside[:end]])
    hook = "    helm.sh/hook: test\n    helm.sh/hook-delete-policy: before-hook-creation\n"
    name = "  name: matrix-account-sync-check\n  namespace: {{ $.Release.Namespace | quote }}\n"
    text = _replaced(text, "metadata:\n  annotations:\n", f"metadata:\n{name}  annotations:\n{hook}")
    return "apiVersion: v1\nkind: Pod\n" + _replaced(text, "    - audit\n", "    - check\n")


def _scheduled(text: str) -> str:
    """Adds the values of every pod to each pod's specification."""

    def added(found: re.Match[str]) -> str:
        return f"{found[0]}{{{{- with $.Values.pod }}}}\n{{{{ toYaml . | indent {len(found[1])} }}}}\n{{{{- end }}}}\n"

    return re.sub(r"^( +)enableServiceLinks: false\n", added, text, flags=re.MULTILINE)


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"{old!r} is there {text.count(old)} times")
    return text.replace(old, new)


def _text(lines: list[Line]) -> str:
    return "".join(f"{line}\n" for line in _with_conditions(lines))


def _with_conditions(lines: list[Line]) -> Iterator[str]:
    for conditions, group in itertools.groupby(lines, lambda line: line.conditions):
        if conditions:
            yield "{{- if " + _all(conditions) + " }}"
        yield from (valued(line.text) for line in group)
        if conditions:
            yield "{{- end }}"


def _all(conditions: tuple[str, ...]) -> str:
    return conditions[0] if len(conditions) == 1 else "and " + " ".join(f"({one})" for one in conditions)


def valued(line: str) -> str:
    """Returns the line with the chart's values in place of the marks; what looks like a template elsewhere stays text."""
    line = line.replace("{{", '{{ "{{" }}')
    line = line.replace("registry.example/matrix-account-sync", '{{ include "matrix-account-sync.image" $ }}')
    if NAMESPACE not in line and not _MARK.search(line):
        return line
    if scalar := _SCALAR.match(line):
        quote = "'" if '"' in scalar["value"] else '"'
        line = f"{scalar['key']}{quote}{scalar['value']}{quote}"
    line = line.replace(NAMESPACE, "{{ $.Release.Namespace }}")
    return _MARK.sub(r"{{ $.Values.settings.\1 }}", line)
