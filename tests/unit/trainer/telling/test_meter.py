"""Progress of long commands: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import itertools

import pytest

from sid_trainer.telling.meter import LINE_SECONDS, Meter, size


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_now_and_then_where_there_is_no_terminal() -> None:
    stream, ticks = io.StringIO(), itertools.count(step=LINE_SECONDS / 2)
    with Meter("reading", 4_000_000, stream=stream, clock=lambda: next(ticks)) as meter:
        meter.add(1_000_000)
        meter.add(1_000_000)
    assert stream.getvalue() == "reading: 50% (2.0 MB of 4.0 MB)\n"


def test_what_is_done_at_once_says_nothing() -> None:
    stream = io.StringIO()
    with Meter("reading", 10, "manifests", stream, clock=lambda: 0.0) as meter:
        meter.add(10)
    assert stream.getvalue() == ""


def test_a_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Meter("writing", stream=stream) as meter:
        meter.say("a result")
        meter.add(500, 1000)
        meter.add(500)
    shown = stream.getvalue()
    assert "writing" in shown
    assert "100%" in shown
    assert capsys.readouterr().out == "a result\n"


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream, ticks = Terminal(), itertools.count(step=LINE_SECONDS)
    with Meter("looking", 3, "manifests", stream, lambda: next(ticks)) as meter:
        meter.add(1)
    assert stream.getvalue() == "looking: 33% (1 manifests of 3 manifests)\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (336e9, "336.0 GB"), (5e15, "5000.0 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(int(count)) == text
