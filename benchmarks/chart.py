"""
Two charts as SVG, written by hand: no library, the same bytes for the same figures.

They follow the reader's colour scheme, light or dark, also where a page shows them as images.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH = 720
_COLORS = ("#1f77b4", "#d95f02", "#7f7f7f")
_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px }
.axis { stroke: #8c959f; stroke-width: 1 }
.shade { fill: #8c959f; fill-opacity: 0.18 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
</style>"""


def bars(title: str, groups: Mapping[str, Sequence[tuple[str, float]]], unit: str) -> str:
    """
    Return horizontal bars on a logarithmic scale.

    :param groups: a heading, and under it names and values above 0.
    """
    left, row, top = 240, 22, 40
    values = [value for group in groups.values() for _, value in group]
    least = 10 ** math.floor(math.log10(min(values)))
    decades = math.log10(max(values) / least)
    room = _WIDTH - left - 90
    y, parts = top, []
    for number, (heading, group) in enumerate(groups.items()):
        parts.append(_text(10, y + 12, heading, "title"))
        y += row
        for name, value in group:
            length = max(room * math.log10(value / least) / decades, 2)
            parts.append(_text(left - 8, y + 13, name, anchor="end"))
            parts.append(
                f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="15" fill="{_COLORS[number]}"/>'
            )
            parts.append(_text(left + length + 6, y + 13, f"{value:.3g} {unit}"))
            y += row
        y += 8
    return _svg(title, y + 4, parts)


def lines(title: str, series: Mapping[str, Mapping[int, int]], pause: tuple[int, str]) -> str:
    """
    Return lines over seconds.

    :param series: a name, and values by second.
    :param pause: until which second after 0 a shade marks a pause, and what it is.
    """
    left, right, top, height = 46, 16, 84, 220
    seconds = sorted({second for one in series.values() for second in one})
    first, last = seconds[0], seconds[-1]
    most = max(max(one.values()) for one in series.values())
    step = 10 ** math.floor(math.log10(most))
    ceiling = step * math.ceil(most / step)

    def x(second: float) -> float:
        return left + (_WIDTH - left - right) * (second - first) / (last - first)

    def y(value: float) -> float:
        return top + height * (1 - value / ceiling)

    until, what = pause
    parts = [
        f'<rect class="shade" x="{x(0):.1f}" y="{top}" width="{x(until) - x(0):.1f}" height="{height}"/>',
        _text((x(0) + x(until)) / 2, top + 14, what, anchor="middle"),
        f'<path class="axis" fill="none" d="M{left} {top}V{top + height}H{_WIDTH - right}"/>',
    ]
    parts += [
        _text(left - 6, y(value) + 4, f"{value:g}", anchor="end") for value in (0, ceiling / 2, ceiling)
    ]
    parts += [
        _text(x(second), top + height + 18, f"{second} s", anchor="middle")
        for second in seconds
        if second % 10 == 0
    ]
    for number, (name, one) in enumerate(series.items()):
        points = " ".join(f"{x(second):.1f},{y(value):.1f}" for second, value in sorted(one.items()))
        color = _COLORS[number]
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{points}"/>')
        parts.append(f'<rect x="10" y="{28 + 17 * number}" width="14" height="4" fill="{color}"/>')
        parts.append(_text(30, 34 + 17 * number, name))
    return _svg(title, top + height + 28, parts)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {_WIDTH} {height:.0f}" role="img"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>\n<title>{escape(title)}</title>'
    return "\n".join([head, _STYLE, _text(10, 18, title, "title"), *parts, "</svg>", ""])
