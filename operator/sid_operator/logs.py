"""Log lines: text for people or JSON for machines, each with the resource that it is about.

Rules this module keeps:

* The resource is that of the work in which a line is written: :func:`about` names it once, so that
  no message need repeat it and none can forget it.
* What comes from outside (a pod's message, an answer of the API server) cannot forge a line or
  move a terminal's cursor: control characters are written as escapes. Only the traceback of a
  text line takes lines of its own.
* kopf, which frames the process, is heard only where something is wrong.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import NamedTuple, TextIO


class _Subject(NamedTuple):
    namespace: str
    name: str


_SUBJECT: ContextVar[_Subject | None] = ContextVar("subject", default=None)
_QUIET = ("kopf", "aiohttp")


@contextlib.contextmanager
def about(namespace: str, name: str) -> Iterator[None]:
    """Lines that are written within the block are about this resource."""
    token = _SUBJECT.set(_Subject(namespace, name))
    try:
        yield
    finally:
        _SUBJECT.reset(token)


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, logger, message; namespace, name, exception where known."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        subject = _SUBJECT.get()
        if subject is not None:
            line |= subject._asdict()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """Time, level, logger, resource and message, separated by spaces."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        subject = _SUBJECT.get()
        place = f" {subject.namespace}/{subject.name}" if subject is not None else ""
        message = escaped(record.getMessage())
        line = f"{_time(record)} {record.levelname:<7} {record.name}{place}: {message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


FORMATTERS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def configure(level: str, form: str, stream: TextIO = sys.stderr) -> None:
    """Write the process's log to ``stream``; ``form`` is a key of :data:`FORMATTERS`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(FORMATTERS[form]())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    chosen = logging.getLogger().level
    for name in _QUIET:
        logging.getLogger(name).setLevel(chosen if chosen < logging.INFO else logging.WARNING)


def escaped(text: str) -> str:
    """The text with control characters, and all else that is not printable, as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
