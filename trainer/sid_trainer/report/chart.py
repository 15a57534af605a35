"""Line charts as inline SVG. Pure.

Rules this module keeps:

* A chart is a text without scripts, fonts or addresses of its own; colours follow the page's theme.
* Every text in it is escaped.
* A curve of any length becomes at most :data:`MAX_POINTS` points, each the mean of its stretch; the
  range between the lowest and the highest of a stretch is shaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sid_trainer.report.history import Curve

MAX_POINTS = 240
WIDTH, HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 26, 12, 30
_TICKS = 5
_DOTS = 40
"""Curves of fewer points show them."""


@dataclass(frozen=True)
class Stretch:
    """Neighbouring points as one."""

    x: float
    low: float
    mean: float
    high: float


def stretches(points: Sequence[tuple[float, float]]) -> list[Stretch]:
    """Join neighbouring points until there are :data:`MAX_POINTS` at most."""
    size = max(1, math.ceil(len(points) / MAX_POINTS))
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [_joined(part) for part in parts]


def ticks(low: float, high: float) -> list[float]:
    """Some round numbers within a range: 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def line_chart(curves: Sequence[Curve]) -> str:
    """An SVG of curves over iterations; without points an empty text."""
    joined = [stretches(curve.points) for curve in curves if curve.points]
    if not joined:
        return ""
    frame = _frame(joined)
    lines = "".join(_line(frame, part, index) for index, part in enumerate(joined))
    names = [curve.name for curve in curves if curve.points]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(", ".join(names))} over iterations">'
        f"{_axes(frame)}{lines}</svg>"
    )


@dataclass(frozen=True)
class _Frame:
    """The range of values that the chart's area shows."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        span = (self.right - self.left) or 1.0
        return _LEFT + (value - self.left) / span * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return HEIGHT - _BOTTOM - min(1.0, max(0.0, share)) * (HEIGHT - _TOP - _BOTTOM)


def _frame(curves: Sequence[Sequence[Stretch]]) -> _Frame:
    xs = [part.x for parts in curves for part in parts]
    ends = [end for parts in curves for part in parts for end in (part.low, part.high)]
    low, high = _usual(sorted(ends))
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return _Frame(min(0.0, *xs), max(xs), low - margin, high + margin)


def _usual(values: Sequence[float]) -> tuple[float, float]:
    """Range of the values without the outermost fiftieth, which would flatten the rest."""
    cut = len(values) // 50
    return values[cut], values[-1 - cut]


def _joined(part: Sequence[tuple[float, float]]) -> Stretch:
    values = [value for _, value in part]
    return Stretch(
        x=sum(x for x, _ in part) / len(part),
        low=min(values),
        mean=sum(values) / len(values),
        high=max(values),
    )


def _line(frame: _Frame, parts: Sequence[Stretch], index: int) -> str:
    band = [_point(frame, part.x, part.high) for part in parts]
    band += [_point(frame, part.x, part.low) for part in reversed(parts)]
    middle = " ".join(_point(frame, part.x, part.mean) for part in parts)
    dots = "".join(
        f'<circle class="dot c{index}" cx="{frame.x(part.x):.1f}" cy="{frame.y(part.mean):.1f}" '
        f'r="2.6"><title>{part.x:g}: {part.mean:.5g}</title></circle>'
        for part in (parts if len(parts) <= _DOTS else ())
    )
    return (
        f'<polygon class="band c{index}" points="{" ".join(band)}"/>'
        f'<polyline class="line c{index}" points="{middle}"/>{dots}'
    )


def _axes(frame: _Frame) -> str:
    across = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{frame.y(v):.1f}" '
        f'y2="{frame.y(v):.1f}"/><text class="tick" x="{_LEFT - 6}" y="{frame.y(v) + 3.5:.1f}" '
        f'text-anchor="end">{_number(v)}</text>'
        for v in ticks(frame.low, frame.high)
    )
    below = "".join(
        f'<text class="tick" x="{frame.x(v):.1f}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"{_number(v)}</text>"
        for v in ticks(frame.left, frame.right)
    )
    base = HEIGHT - _BOTTOM
    return (
        f'{across}{below}<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{base}" '
        f'y2="{base}"/>'
    )


def _point(frame: _Frame, x: float, y: float) -> str:
    return f"{frame.x(x):.1f},{frame.y(y):.1f}"


def _number(value: float) -> str:
    """A short text: 0.25, 1,500, 2e6."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
