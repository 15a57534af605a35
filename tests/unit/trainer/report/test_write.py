"""The page of a run: whole, and harmless."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from sid_trainer.config import RunConfig
from sid_trainer.report.records import Evaluation, Records, Speed
from sid_trainer.report.write import embeddable, write_report
from sid_trainer.storage import FileStorage

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


class Page(HTMLParser):
    """Tags, their attributes, the text, and the titles of the charts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.titles: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1][0] == "h3":
            self.titles.append(data)


def test_the_report_is_whole_and_harmless(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    storage.put_bytes("samples/iter-00000000.png", png(8, noise=False))
    storage.put_bytes("samples/iter-00000010.png", png(600, noise=True))
    storage.put_bytes("samples/iter-00000099.png", png(8, noise=False))  # an earlier training's
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


def test_what_data_aided_training_and_skipping_measure_has_charts(tmp_path: Path) -> None:
    """Charts of their own, and none where there is nothing of it."""
    storage = FileStorage(tmp_path)
    titles = {
        "discriminatorLoss": "Discriminator's loss (1.39 where it can tell nothing)",
        "generatorAdversarialLoss": "Student's adversarial loss",
        "skippedUpdates": "Skipped updates",
    }
    lines = [{"iteration": i, "generatorLoss": 1, **dict.fromkeys(titles, i - 1)} for i in (1, 2)]
    assert charts_of(storage, lines[:1]) == ["Student's loss"]
    assert charts_of(storage, lines) == ["Student's loss", *titles.values()]


def charts_of(storage: FileStorage, lines: Sequence[Mapping[str, float]]) -> list[str]:
    """Titles of the charts in the report of an attempt that wrote these lines."""
    data = "".join(json.dumps(line) + "\n" for line in lines)
    storage.put_bytes("metrics/attempt-0001/part-00000.jsonl", data.encode())
    write_report(storage, config(name="bare"), 2, "CPU")
    return Page(storage.get_bytes("report.html").decode()).titles


def test_only_large_pictures_become_jpeg() -> None:
    assert embeddable(png(8, noise=False))[0] == "image/png"
    media_type, data = embeddable(png(600, noise=True))
    assert media_type == "image/jpeg"
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (600, 600)
