"""The page: from facts, charts and pictures to one HTML text. Pure.

Rules this module keeps:

* It loads nothing from anywhere and has no scripts: a strict Content-Security-Policy says so.
* Every text that comes from a user (names, prompts, addresses) is escaped here and nowhere else.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #667085; --line: #e3e7ee;
  --page: #f6f7f9; --card: #fff; --c0: #2563eb; --c1: #d97706; --c2: #059669; --c3: #9333ea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2c3442;
  --page: #12161d; --card: #1a202a; --c0: #7aa7ff; --c1: #f5b04c; --c2: #4ade9f; --c3: #c79bff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; }
h3 { font-size: 14px; margin: 0 0 8px; font-weight: 600; }
p { margin: 0 0 8px; } .soft { color: var(--soft); overflow-wrap: anywhere; }
.tiles, .charts, .pictures { display: grid; gap: 14px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); margin-top: 24px; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
.pictures { grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 16px; }
.value { font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.label, .hint { color: var(--soft); font-size: 13px; }
svg { width: 100%; height: auto; display: block; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.tick { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .band { opacity: .16; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); }
.line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); }
.band.c0, .dot.c0 { fill: var(--c0); } .band.c1, .dot.c1 { fill: var(--c1); }
.band.c2, .dot.c2 { fill: var(--c2); } .band.c3, .dot.c3 { fill: var(--c3); }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin: 0 6px 0 12px; }
.key:first-child { margin-left: 0; }
.key.c0 { background: var(--c0); } .key.c1 { background: var(--c1); }
.key.c2 { background: var(--c2); } .key.c3 { background: var(--c3); }
img { max-width: 100%; height: auto; border-radius: 6px; display: block; background: #fff; }
figure { margin: 0; } figcaption { margin: 0 0 8px; font-weight: 600; font-size: 14px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
pre { overflow: auto; margin: 0; font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; }
.scroll { overflow-x: auto; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Fact:
    """A number with its name, and what to know of it."""

    label: str
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Attributes:
        title: over it.
        names: of its curves, in the order of their colours.
        svg: as :func:`sid_trainer.report.chart.line_chart` draws it.
    """

    title: str
    names: Sequence[str]
    svg: str


@dataclass(frozen=True)
class Picture:
    """An encoded picture."""

    title: str
    media_type: str
    data: bytes


@dataclass(frozen=True)
class Table:
    """Rows of texts; the first row is the head."""

    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Page:
    """All that a report shows."""

    title: str
    summary: str
    facts: Sequence[Fact]
    charts: Sequence[Chart]
    evaluations: Table
    pictures: Sequence[Picture]
    settings: str
    versions: Table


def render(page: Page) -> str:
    """The HTML text."""
    sections = [
        _section("Samples", _grid("pictures", map(_picture, page.pictures))),
        _section("Evaluations", _table(page.evaluations, head=True)),
        _section("Curves", _grid("charts", map(_chart, page.charts))),
        _section("Settings", f'<div class="card"><pre>{escape(page.settings)}</pre></div>'),
        _section("Environment", _table(page.versions, head=False)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.title)}</title><style>{_STYLE}</style></head>\n<body><main>"
        f'<h1>{escape(page.title)}</h1><p class="soft">{escape(page.summary)}</p>'
        f"{_grid('tiles', map(_fact, page.facts))}{''.join(sections)}</main></body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"\n<section><h2>{title}</h2>{content}</section>" if content else ""


def _grid(kind: str, parts: Sequence[str] | map[str]) -> str:
    content = "".join(parts)
    return f'<div class="{kind}">{content}</div>' if content else ""


def _fact(fact: Fact) -> str:
    return (
        f'<div class="card"><div class="label">{escape(fact.label)}</div>'
        f'<div class="value">{escape(fact.value)}</div>'
        f'<div class="hint">{escape(fact.hint)}</div></div>'
    )


def _chart(chart: Chart) -> str:
    keys = "".join(
        f'<span class="key c{index}"></span><span class="hint">{escape(name)}</span>'
        for index, name in enumerate(chart.names)
    )
    return f'<div class="card"><h3>{escape(chart.title)}</h3>{chart.svg}<div>{keys}</div></div>'


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.data).decode("ascii")
    title = escape(picture.title)
    return (
        f'<figure class="card"><figcaption>{title}</figcaption>'
        f'<img alt="{title}" src="data:{picture.media_type};base64,{data}"></figure>'
    )


def _table(table: Table, *, head: bool) -> str:
    if not table.rows:
        return ""
    first = "".join(f"<th>{escape(cell)}</th>" for cell in table.rows[0]) if head else ""
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in table.rows[int(head) :]
    )
    return f'<div class="card scroll"><table><tr>{first}</tr>{body}</table></div>'
