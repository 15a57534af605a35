"""The report's parts: curves, page, and what is told of a licence."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sid_trainer.config import RunConfig
from sid_trainer.contract import ProgressReport
from sid_trainer.export.licence import licence_of
from sid_trainer.report.chart import HEIGHT, MAX_POINTS, WIDTH, line_chart, stretches, ticks
from sid_trainer.report.history import Curve, curve, joined, read_history
from sid_trainer.report.records import Evaluation, Records, Speed
from sid_trainer.report.write import embeddable, write_report
from sid_trainer.storage import FileStorage
from sid_trainer.telling.metrics_stream import MetricsStream

NASTY = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def config(**changes: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": NASTY,
            "teacher": {"model": "owner/teacher"},
            "data": {"prompts": {"uri": "/prompts.txt"}},
            "storage": {"uri": "file:///run"},
            "evaluation": {"prompts": [NASTY]},
            **changes,
        }
    )


def png(size: int, noise: bool) -> bytes:
    shape = (size, size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape) if noise else np.zeros(shape)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


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


def test_an_attempt_replaces_what_it_computed_anew(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    for attempt, iterations in ((1, (1, 2, 3, 4)), (2, (3, 4, 5))):
        stream = MetricsStream(storage, attempt)
        for iteration in iterations:
            metrics = {"generatorLoss": float(10 * attempt + iteration)}
            report = ProgressReport(
                attempt=attempt,
                stage="training",
                iteration=iteration,
                iterations=9,
                time=datetime.now(UTC),
                metrics=metrics,
            )
            stream.add(report)
        stream.add(report, {"fid": float(attempt)})
        stream.flush()
    lines = joined(read_history(storage))
    assert curve(lines, "generatorLoss").points == [(1, 11), (2, 12), (3, 23), (4, 24), (5, 25)]
    assert curve(lines, "fid").points == [(5, 2)]


class Page(HTMLParser):
    """Tags, their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_is_whole_and_harmless(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    storage.put_bytes("samples/iter-00000000.png", png(8, noise=False))
    storage.put_bytes("samples/iter-00000010.png", png(600, noise=True))
    storage.put_bytes(
        "metrics/attempt-0001/part-00000.jsonl",
        b"".join(
            json.dumps({"iteration": i, "generatorLoss": 1 / i, "imagesPerSecond": 3}).encode()
            + b"\n"
            for i in range(1, 11)
        ),
    )
    speed = Speed(
        device="CPU",
        ranks=2,
        images=4,
        teacher_steps=28,
        teacher_guidance=4.5,
        teacher_seconds=7.0,
        student_steps=4,
        student_seconds=0.5,
    )
    found = Evaluation(
        iteration=10, images=2560, settings="a", metrics={"fid": 12.34}, seconds=60.4
    )
    Records(evaluations=(found,), best=10, speed=speed, teacher={"fid": 9.87}).save(storage)
    uri = write_report(storage, config(), 10, "CPU")
    assert uri.endswith("/report.html")
    html = (tmp_path / "report.html").read_text()
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object"}
    addresses = [a.get("src") or a.get("href") for _, a in page.tags if "src" in a or "href" in a]
    assert [str(address)[:15] for address in addresses] == ["data:image/png;", "data:image/jpeg"]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert NASTY in page.text  # shown, not obeyed
    for text in (
        "14×",
        "12.34",
        "teacher 9.87; ",
        "the teacher's",
        "Before training",
        "After 10 iterations",
        "not 28 with guidance 4.5",
        "7 s for 4",
        "torch",
    ):
        assert text in page.text
    assert "batchSize: 256" in page.text


def test_a_report_without_metrics_or_pictures_is_one(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    write_report(storage, config(name="bare"), 3, "CPU")
    page = Page((tmp_path / "report.html").read_text())
    assert "bare" in page.text
    assert "Evaluations" not in page.text


def test_only_large_pictures_become_jpeg() -> None:
    assert embeddable(png(8, noise=False))[0] == "image/png"
    media_type, data = embeddable(png(600, noise=True))
    assert media_type == "image/jpeg"
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (600, 600)


@pytest.mark.parametrize(
    ("readme", "licence", "told", "forbids"),
    [
        (
            "---\nlicense: other\nlicense_name: flux-1-dev-non-commercial-license\n---\n# x",
            "FLUX.1 [dev] Non-Commercial License\n",
            {"license": "other", "license_name": "flux-1-dev-non-commercial-license"},
            True,
        ),
        (
            "---\nlicense: other\nlicense_name: stabilityai-ai-community\n---\n",
            "\nSTABILITY AI COMMUNITY LICENSE AGREEMENT\nNon-Commercial or Commercial purpose\n",
            {"license": "other", "license_name": "stabilityai-ai-community"},
            False,
        ),
        ("---\nlicense: cc-by-nc-4.0\n---\n", None, {"license": "cc-by-nc-4.0"}, True),
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n", None, {"license": "apache-2.0"}, False),
        ("---\nbroken: [\n---\n", None, {}, False),
        ("no front matter", None, {}, False),
        (None, None, {}, False),
    ],
)
def test_the_licence_is_what_the_teacher_says(
    tmp_path: Path, readme: str | None, licence: str | None, told: dict[str, str], forbids: bool
) -> None:
    if readme is not None:
        (tmp_path / "README.md").write_text(readme)
    if licence is not None:
        (tmp_path / "LICENSE.md").write_text(licence)
    found = licence_of(tmp_path)
    assert found.front_matter == told
    assert found.non_commercial is forbids
    assert [file.name for file in found.files] == (["LICENSE.md"] if licence else [])
