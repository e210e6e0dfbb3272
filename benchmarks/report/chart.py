"""Draws grouped horizontal bars as SVG, each group on its own scale."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

COLOURS = ("#0072b2", "#999999", "#e69f00", "#56b4e9", "#009e73")  # distinguishable for colour-blind readers
WIDTH, LABEL, BAR, GAP, ROW = 860, 190, 500, 34, 20


def bars(title: str, groups: Mapping[str, Mapping[str, float]], order: Sequence[str]) -> str:
    """Returns the SVG.

    Args:
        title: above the bars.
        groups: value by series, by group.
        order: of the series; determines their colours.
    """
    y, body = 40, [_text(WIDTH / 2, 22, title, "middle", bold=True)]
    for group, values in groups.items():
        body.append(_text(10, y + 14, group, bold=True))
        y += ROW
        most = max(values.values(), default=0) or 1
        for series in (one for one in order if one in values):
            length = max(1.0, BAR * values[series] / most)
            colour = COLOURS[order.index(series) % len(COLOURS)]
            body.append(_text(LABEL - 8, y + 13, series, "end"))
            body.append(f'<rect x="{LABEL}" y="{y + 2}" width="{length:.1f}" height="{ROW - 5}" fill="{colour}"/>')
            body.append(_text(LABEL + length + 6, y + 13, f"{values[series]:,.0f}"))
            y += ROW
        y += GAP - ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="12">'
    back = f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>'
    return "\n".join([head, back, *body, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "start", *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight} fill="#222222">{escape(text)}</text>'
