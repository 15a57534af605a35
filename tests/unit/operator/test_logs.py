"""Log lines: one line each, about whom, in both forms."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from sid_operator import logs

FORGED = "no such image\n2026-01-01T00:00:00.000Z ERROR root: all is lost\x1b[2J\u202e"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; logging is as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield io.StringIO()
    root.handlers, root.level = handlers, level
    for name in ("kopf", "aiohttp"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def written(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_json_line_names_the_resource_that_it_is_about(stream: io.StringIO) -> None:
    logs.configure("INFO", "json", stream)
    log = logging.getLogger("sid_operator.test")
    with logs.about("team", "run"):
        log.info("%s: %s", "Started", "2 pods")
    log.warning("about nobody")
    first, second = map(json.loads, written(stream))
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "INFO",
        "logger": "sid_operator.test",
        "message": "Started: 2 pods",
        "namespace": "team",
        "name": "run",
    }
    assert "name" not in second


def test_a_traceback_stays_within_its_json_line(stream: io.StringIO) -> None:
    logs.configure("INFO", "json", stream)
    try:
        raise ValueError("one")
    except ValueError:
        logging.getLogger("sid_operator.test").exception("a bug")
    (line,) = map(json.loads, written(stream))
    assert "ValueError: one" in line["exception"]


@pytest.mark.parametrize("form", sorted(logs.FORMATTERS))
def test_a_message_from_outside_cannot_forge_a_line(form: str, stream: io.StringIO) -> None:
    logs.configure("INFO", form, stream)
    with logs.about("team", "run"):
        logging.getLogger("sid_operator.test").warning("pod says: %s", FORGED)
    (line,) = written(stream)
    assert line.isprintable()
    assert "team" in line


def test_a_text_line_reads_well(stream: io.StringIO) -> None:
    logs.configure("INFO", "text", stream)
    with logs.about("team", "run"):
        logging.getLogger("sid_operator.test").info("Started")
    (line,) = written(stream)
    assert line.partition("Z ")[2] == "INFO    sid_operator.test team/run: Started"


def test_kopf_is_heard_when_something_is_wrong_only(stream: io.StringIO) -> None:
    logs.configure("INFO", "text", stream)
    logging.getLogger("kopf.activities.probe").info("probed")
    logging.getLogger("kopf.objects").error("broken")
    (line,) = written(stream)
    assert "broken" in line


async def test_tasks_at_work_together_are_told_apart(stream: io.StringIO) -> None:
    logs.configure("INFO", "json", stream)

    async def work(name: str) -> None:
        with logs.about("team", name):
            await asyncio.sleep(0)
            logging.getLogger("sid_operator.test").info("%s", name)

    await asyncio.gather(*(work(name) for name in ("a", "b", "c")))
    lines = [json.loads(line) for line in written(stream)]
    assert [line["message"] for line in lines] == [line["name"] for line in lines]
