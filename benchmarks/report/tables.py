"""Turns latest.json into tables, goals and the pages in docs/: `python -m benchmarks.report.tables`. Measures nothing."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.matrix import Figures, Results
from benchmarks.report.chart import bars
from benchmarks.report.sizing import sizing
from benchmarks.systems import CLAIMED, LOAD, NOTHING, OURS, PLAIN, SYSTEMS, WORKERS

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results"
LATEST, SOAK, MADE = (RESULTS / f"{name}.json" for name in ("latest", "soak", "made"))
DOCS = HERE.parent / "docs"
PAGE = DOCS / "performance.md"
CHART, SHAPES, PODS = (DOCS / f"performance{name}.svg" for name in ("", "-shapes", "-pods"))
STUDIES = ("shapes", "pods", "troubles", "take_over")
KEEP = "Write the figures into docs/performance.md."

Row = Sequence[str]
Kept = list[dict[str, str | float]]  # the rows of a study, by column


def number(value: float) -> str:
    """Formats a figure with about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(above: Figures | None, below: Figures | None, name: str = "events_per_second") -> str:
    if not above or not below or not below[name]:
        return ""
    return number(above[name] / below[name])


def table(head: Row, rows: Iterable[Row]) -> str:
    """Returns a table in Markdown, aligned for a terminal."""
    lines = [head, *rows]
    width = [max(len(line[i]) for line in lines) for i in range(len(head))]
    shown = ["| " + " | ".join(cell.ljust(width[i]) for i, cell in enumerate(line)) + " |" for line in lines]
    return "\n".join([shown[0], "|" + "|".join("-" * (w + 2) for w in width) + "|", *shown[1:]])


def results_table(results: Results) -> str:
    head = ("workload", "system", "events/s", "× plain", "× limit", "calls/event", "lost", "wrong", "p50 / p99 ms",
            "CPU µs/event", "RSS MB")  # fmt: skip
    rows = []
    for workload, systems in results.items():
        for system, found in sorted(systems.items(), key=lambda one: list(SYSTEMS).index(one[0])):
            times = f"{number(found['p50_ms'])} / {number(found['p99_ms'])}" if found["p99_ms"] else ""
            judged = (f"{found['lost']:.0f}", f"{found['wrong']:.0f}") if system != NOTHING else ("", "")
            calls = number(found["calls_per_event"]) if system != NOTHING else ""
            rate = "" if times else number(found["events_per_second"])
            rows.append((
                workload, system, rate, ratio(found, systems.get(PLAIN)) if rate else "",
                ratio(found, limit(systems)) if rate else "", calls, *judged, times,
                number(found["cpu_us_per_event"]), number(found["rss_mb"]) if found["rss_mb"] else "",
            ))  # fmt: skip
    return table(head, rows)


def limit(systems: dict[str, Figures]) -> Figures | None:
    """Returns the upper limit: that of delivery if it was measured, otherwise that of Synapse."""
    return systems.get(NOTHING) or systems.get(LOAD)


def goals_table(results: Results) -> str:
    """Returns the goals next to the figures; no test asserts them."""

    def of(workload: str, system: str = OURS) -> Figures | None:
        return results.get(workload, {}).get(system)

    def figure(workload: str, name: str, system: str = OURS) -> str:
        return number(found[name]) if (found := of(workload, system)) else ""

    rows = [
        ("W1 noise, over the plain consumer", "120", ratio(of("noise"), of("noise", PLAIN))),
        ("the same, users known", "200", ratio(of("noise known"), of("noise", PLAIN))),
        ("the same, users known: µs of processor time an event", "180 at most", figure("noise known", "cpu_us_per_event")),
        ("W1 noise, over daprd without work", "0.3", ratio(of("noise"), of("noise", NOTHING))),
        ("the same, users known", "0.3 to 0.5", ratio(of("noise known"), of("noise", NOTHING))),
        ("W1 calls per event", "0.15 at most", figure("noise", "calls_per_event")),
        ("W2 changes, over the plain consumer", "17", ratio(of("changes"), of("changes", PLAIN))),
        ("W2 changes, over bare load", "0.9", ratio(of("changes"), of("changes", LOAD))),
        ("the same, over bare load with claims", "0.92", ratio(of("changes"), of("changes", CLAIMED))),
        ("W3 hot, over FastStream", "5", ratio(of("hot"), of("hot", WORKERS))),
        ("W4 deletions, over the plain consumer", "17", ratio(of("deletions"), of("deletions", PLAIN))),
        ("W4 deletions, over bare load", "0.9", ratio(of("deletions"), of("deletions", LOAD))),
        ("the same, over bare load with claims", "0.9", ratio(of("deletions"), of("deletions", CLAIMED))),
        ("W5 faults, time of the same work over that without faults", "1.5 at most",
         ratio(of("changes"), of("faults"))),
        ("real Synapse, changes over bare load", "0.9", ratio(of("real changes"), of("real changes", LOAD))),
        ("real Synapse, deletions over bare load", "0.9", ratio(of("real deletions"), of("real deletions", LOAD))),
        ("live 20/s, p50 ms beyond the plain consumer's", "40 at most", _beyond(results, "p50_ms")),
        ("live 20/s, p99 ms beyond the plain consumer's", "25 at most", _beyond(results, "p99_ms")),
        ("live noise 500/s, p99 ms", "100 at most", figure("live noise 500/s", "p99_ms")),
    ]  # fmt: skip
    return table(("what", "goal", "measured"), rows)


def _beyond(results: Results, name: str) -> str:
    live = results.get("live 20/s", {})
    return f"{live[OURS][name] - live[PLAIN][name]:.1f}" if {OURS, PLAIN} <= live.keys() else ""


def cost(results: Results) -> str:
    """Returns the cost of an event that changes nothing, by process, and the time from start to the first event."""
    known, first = results.get("noise known", {}).get(OURS), results.get("noise", {}).get(OURS)
    if not known or not first:
        return "not measured yet"
    cpu, rss = ({process: number(known[f"{name}_{process}"]) for process in ("function", "daprd")}
                for name in ("cpu_us_per_event", "rss_mb"))  # fmt: skip
    start, again = f"{first['start_s']:.1f}", f"{known['start_s']:.1f}"
    lines = (
        f"**Processor time** of a noise event, users known: {cpu['function']} µs of the function, {cpu['daprd']} µs of daprd",
        f"**Memory** after it: {rss['function']} MB of the function, {rss['daprd']} MB of daprd",
        f"**Start to first event:** {start} s from the start of both, {again} s where daprd alone is started again",
    )
    return "\n".join(f"- {line}" for line in lines)


def study_table(rows: Kept) -> str:
    head = list(rows[0])
    return table(head, [[_cell(row[name]) for name in head] for row in rows])


def _cell(value: str | float) -> str:
    """Formats `2 + 2 + 1`, the partitions of each member, as `2 × 2, 1 × 1`."""
    if not isinstance(value, str):
        return number(value)
    if " + " not in value:
        return value
    return ", ".join(f"{members} × {each}" for each, members in Counter(value.split(" + ")).items())


def filled(page: str, parts: dict[str, str]) -> str:
    """Replaces the text between each part's two markers."""
    for name, text in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"the page has no place for {name}")
        page = pattern.sub(lambda _, new=f"{begin}\n{text}\n{end}": new, page)  # type: ignore[misc]
    return page


def write_pages(results: Results) -> None:
    """Fills docs/performance.md and draws its chart."""
    made = json.loads(MADE.read_text()) if MADE.exists() else {}
    parts = {
        "made": ", ".join(f"{name}: {value}" for name, value in made.items()) or "not measured yet",
        "results": results_table(results),
        "goals": goals_table(results),
        "cost": cost(results),
        "sizing": sizing(results),
    }
    kept = {name: _kept(name) for name in STUDIES}
    parts |= {name: study_table(rows) for name, rows in kept.items() if rows}
    parts["soak"] = soak(_kept("soak"))
    PAGE.write_text(filled(PAGE.read_text(), parts))
    groups = {
        workload: {system: found["events_per_second"] for system, found in systems.items()}
        for workload, systems in results.items()
        if not workload.startswith("live") and len(systems) > 1
    }
    CHART.write_text(bars("Events per second (each workload on its own scale)", groups, list(SYSTEMS)))
    if kept["shapes"]:
        SHAPES.write_text(_shapes_chart(kept["shapes"]))
    if kept["pods"]:
        PODS.write_text(_pods_chart(kept["pods"]))


def soak(rows: Kept) -> str:
    """Returns the memory after the first and after the last chunk of the events."""
    if not rows:
        return "not measured yet"
    held = [
        f"{row['events']:,} events {row['function MB']} MB of the function and {row['daprd MB']} MB of daprd"
        for row in (rows[0], rows[-1])
    ]
    return f"After {held[0]}, after {held[1]}."


def keep(name: str, head: Row, rows: Iterable[Row]) -> None:
    """Writes the figures of a study, and the page."""
    kept = [dict(zip(head, row, strict=True)) for row in rows]
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    write_pages(load())


def _kept(name: str) -> Kept:
    path = RESULTS / f"{name}.json"
    rows: Kept = json.loads(path.read_text()) if path.exists() else []
    return rows


def _shapes_chart(rows: Kept) -> str:
    """Draws the processor time of an event that changes nothing, function and daprd together."""
    groups: dict[str, dict[str, float]] = {}
    for row in (one for one in rows if one["workload"] == "noise known"):
        of_count = groups.setdefault(f"{row['components']} components", {})
        of_count[f"{row['ms']} ms x {row['batch']}"] = float(row["CPU µs: function"]) + float(row["daprd"])
    order = list(dict.fromkeys(series for group in groups.values() for series in group))
    return bars("Processor time of an event that changes nothing, in µs (each group on its own scale)", groups, order)


def _pods_chart(rows: Kept) -> str:
    groups: dict[str, dict[str, float]] = {}
    for row in (one for one in rows if one["workload"] == "noise known"):
        group = groups.setdefault(f"PostgreSQL {row['ms']} ms away", {})
        group[f"{row['pods']} pods"] = float(str(row["events/s"]).replace(",", ""))
    order = list(dict.fromkeys(series for group in groups.values() for series in group))
    return bars("Events per second by pods (each group on its own scale)", groups, order)


def load() -> Results:
    found: Results = json.loads(LATEST.read_text()) if LATEST.exists() else {}
    return found


if __name__ == "__main__":
    write_pages(load())
