"""Curves as a chart."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from sid_trainer.report.chart import HEIGHT, MAX_POINTS, WIDTH, line_chart, stretches, ticks
from sid_trainer.report.history import Curve


def test_long_curves_keep_mean_and_range() -> None:
    points = [(float(i), float(i % 10)) for i in range(10_000)]
    parts = stretches(points)
    assert len(parts) <= MAX_POINTS
    assert all((part.low, part.high) == (0.0, 9.0) for part in parts[:-1])
    assert all(part.mean == pytest.approx(4.5, abs=0.4) for part in parts[:-1])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-0.31, 0.42, [-0.2, 0, 0.2, 0.4]),
        (0, 123_456, [0, 50_000, 100_000]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_chart_is_wellformed_and_inside_its_frame() -> None:
    curves = [
        Curve("student <1>", [(float(i), (-1) ** i * float(i)) for i in range(500)]),
        Curve("lonely", [(3.0, 1e9)]),
    ]
    root = ElementTree.fromstring(line_chart(curves))  # noqa: S314 - our own text
    lines = root.findall("polyline")
    assert len(lines) == 2
    for line in lines:
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    assert line_chart([Curve("empty", [])]) == ""
    assert "student &lt;1&gt;" in line_chart(curves)
