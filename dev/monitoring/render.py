"""Draws the panels of the dashboard as SVG from Prometheus' answers. Does no I/O."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dev.monitoring.dashboard import ROWS, Panel

WIDTH, GAP, HEAD = 1200, 10, 26
STEP = 1.0  # seconds between two points
HEIGHTS = {True: 70, False: 190}  # of a number, of a graph
COLOURS = ("#3274d9", "#e0752d", "#37872d", "#a352cc", "#c4162a", "#0d9488", "#b58900", "#6b7280")
UNITS = {"s": " s", "ops": "/s", "reqps": "/s", "short": "", "bytes": " MB", "percentunit": "%"}
SCALES = {"bytes": 1e-6, "percentunit": 100.0}

Points = Sequence[tuple[float, float]]  # seconds since the start, value


@dataclass(frozen=True)
class Series:
    """One line: its labels and its points."""

    labels: Mapping[str, str]
    points: Points


Answers = Mapping[str, Sequence[Series]]  # by expression


def picture(answers: Answers, seconds: float, note: str) -> str:
    """Returns the whole dashboard as SVG; `note` names the source of the data."""
    body, y = [_text(GAP, 22, "Matrix account sync", 17, weight=600), _text(WIDTH - GAP, 22, note, 12, end=True)], 36
    for title, row in ROWS.items():
        body.append(_text(GAP, y + 15, title, 13, weight=600))
        y += 22
        columns = 6 if row[0].number else 2 if len(row) < 5 else 3
        width = (WIDTH - GAP * (columns + 1)) / columns
        height = HEIGHTS[row[0].number]
        for place, panel in enumerate(row):
            x = GAP + (place % columns) * (width + GAP)
            top = y + (place // columns) * (height + GAP)
            body += (
                _number(panel, answers, x, top, width)
                if panel.number
                else _graph(panel, answers, x, top, width, seconds)
            )
        y += math.ceil(len(row) / columns) * (height + GAP) + 4
    frame = f'<rect width="{WIDTH}" height="{y}" fill="#f4f5f5"/>'
    font = "font-family=\"system-ui, 'DejaVu Sans', sans-serif\""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" {font}>\n'
        + "\n".join([frame, *body])
        + "\n</svg>\n"
    )


def _text(
    x: float, y: float, text: str, size: float, *, weight: int = 400, end: bool = False, fill: str = "#24292e"
) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" fill="{fill}"{anchor}>{escape(text)}</text>'


def _box(panel: Panel, x: float, y: float, width: float, fill: str = "#fff") -> list[str]:
    height = HEIGHTS[panel.number]
    box = f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height}" rx="4" fill="{fill}" stroke="#d8dbe0"/>'
    return [box, _text(x + 8, y + 17, panel.title, 12, weight=600)]


def _shown(value: float, unit: str) -> str:
    return f"{value * SCALES.get(unit, 1.0):.3g}{UNITS[unit]}"


def _number(panel: Panel, answers: Answers, x: float, y: float, width: float) -> list[str]:
    series = answers[panel.queries[0].expression]
    if not series or not series[0].points:
        return [*_box(panel, x, y, width), _text(x + 8, y + 52, "-", 24)]
    value = series[0].points[-1][1]
    bad = panel.limit is not None and (value < panel.limit if panel.below else value >= panel.limit)
    text = panel.words[int(value)] if panel.words else _shown(round(value), panel.unit)
    return [*_box(panel, x, y, width, "#fbdcdc" if bad else "#dcf3df"), _text(x + 8, y + 54, text, 26, weight=600)]


def _graph(panel: Panel, answers: Answers, x: float, y: float, width: float, seconds: float) -> list[str]:
    lines = [
        (_legend(query.legend, series.labels), series.points)
        for query in panel.queries
        for series in answers[query.expression]
    ]
    lines = [(name, points) for name, points in lines if any(value for _, value in points)]
    heights = _stacked([points for _, points in lines]) if panel.stacked else [points for _, points in lines]
    top = max((value for points in heights for _, value in points), default=0.0) or 1.0
    left, right, low, high = x + 52, x + width - 10, y + HEIGHTS[False] - 46, y + HEAD + 6

    def at(point: tuple[float, float]) -> str:
        return f"{left + point[0] / seconds * (right - left):.1f},{low - point[1] / top * (low - high):.1f}"

    body = _box(panel, x, y, width)
    for part in (0.0, 0.5, 1.0):
        level = low - part * (low - high)
        body.append(f'<line x1="{left:.0f}" y1="{level:.0f}" x2="{right:.0f}" y2="{level:.0f}" stroke="#e7e9ec"/>')
        body.append(_text(left - 5, level + 4, _shown(part * top, panel.unit), 10, end=True, fill="#6b7280"))
    if panel.limit is not None and panel.limit < top:
        level = low - panel.limit / top * (low - high)
        body.append(f'<line x1="{left:.0f}" y1="{level:.0f}" x2="{right:.0f}" y2="{level:.0f}" stroke="#c4162a" stroke-dasharray="4 3"/>')  # fmt: skip
    for place, points in reversed(list(enumerate(heights))):
        colour = COLOURS[place % len(COLOURS)]
        for piece in _pieces(points):
            path = " ".join(at(point) for point in piece)
            if panel.stacked:
                down = f"{at((piece[-1][0], 0))} {at((piece[0][0], 0))}"
                body.append(f'<polygon points="{path} {down}" fill="{colour}" fill-opacity="0.25"/>')
            body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    body += [
        _text(left, low + 13, "0", 10, fill="#6b7280"),
        _text(right, low + 13, f"{seconds:.0f} s", 10, end=True, fill="#6b7280"),
    ]
    return body + _legends([name for name, _ in lines], x + 10, y + HEIGHTS[False] - 20, width - 20)


def _legends(names: Sequence[str], x: float, y: float, width: float) -> list[str]:
    body, across, row = [], 0.0, 0
    for place, name in enumerate(names):
        wide = 22 + 5.6 * len(name)
        if across + wide > width and across:
            across, row = 0.0, row + 1
        colour = COLOURS[place % len(COLOURS)]
        body.append(f'<rect x="{x + across:.0f}" y="{y + row * 13 - 4:.0f}" width="9" height="4" fill="{colour}"/>')
        body.append(_text(x + across + 13, y + row * 13 + 2, name, 10))
        across += wide
    return body


def _legend(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template)


def _pieces(points: Points) -> list[Points]:
    """Splits a line at its gaps."""
    pieces: list[list[tuple[float, float]]] = []
    for point in points:
        if not pieces or point[0] - pieces[-1][-1][0] > STEP + 0.5:
            pieces.append([])
        pieces[-1].append(point)
    return list(pieces)


def _stacked(lines: Sequence[Points]) -> list[Points]:
    """Stacks the lines; a line adds nothing where it has no point."""
    sums: dict[float, float] = dict.fromkeys(sorted({at for points in lines for at, _ in points}), 0.0)
    stacked: list[Points] = []
    for points in lines:
        for at, value in points:
            sums[at] += value
        stacked.append(sorted(sums.items()))
    return stacked
