"""Prompts out of files: text, JSON lines, CSV, TSV and Parquet, told by the file's suffix.

Rules this module keeps:

* Files are streamed: what is in memory is a line, or a batch of a Parquet column.
* Text is split at line feeds only, so a caption may hold any other separator Unicode knows.
* Surrounding blanks are dropped, and prompts that are then empty (or null) are left out.
* What cannot be read is ``InvalidData`` that names file, line and remedy; nothing is guessed.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.text import UNENCODABLE_REMEDY, parsed_json, unencodable
from sid_trainer.models.git_lfs import is_pointer

DEFAULT_COLUMNS = ("prompt", "caption", "text")
"""Columns that hold the prompts when none is named; the first that is there is taken."""
MAX_LINE = 16 * 2**20
"""Bytes of a line. A longer one is no text with a prompt a line."""
_PARQUET_ROWS = 4096
_GZIP = ".gz"

Reader = Callable[[Path, str, str | None], Iterator[str | None]]


def is_prompt_file(name: str) -> bool:
    """Whether a file's suffix is one that can be read; those without any are text."""
    return _suffix(name) in _READERS


def check_format(name: str) -> None:
    """Raise ``InvalidConfiguration`` when the suffix is none that can be read."""
    if not is_prompt_file(name):
        known = ", ".join(suffix for suffix in _READERS if suffix)
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{name} has the suffix {_suffix(name)}, by which its format is not known: use one of "
            f"{known} (all but .parquet may be followed by {_GZIP})",
        )


def read_prompts(path: Path, name: str, column: str | None = None) -> Iterator[str]:
    """Prompts of a file, in its order.

    Args:
        path: where it lies.
        name: its address as the user knows it; the suffix tells the format.
        column: column or field of the prompts; the first of :data:`DEFAULT_COLUMNS` that is there
            by default. Plain text has none.

    Raises:
        TrainerError: ``InvalidData`` with file, line and remedy.
    """
    check_format(name)
    if is_pointer(path):
        raise _unusable(name, None, "is a git-LFS pointer: fetch the file itself (git lfs pull)")
    for prompt in _READERS[_suffix(name)](path, name, column):
        if prompt and (stripped := prompt.strip()):
            yield stripped


def _text(path: Path, name: str, column: str | None) -> Iterator[str]:
    if column is not None:
        raise _unusable(name, None, f"is plain text, which has no column {column!r}: remove column")
    return (line for _, line in _lines(path, name))


def _json_lines(path: Path, name: str, column: str | None) -> Iterator[str | None]:
    for number, line in _lines(path, name):
        if line.strip():
            record = _json_object(line, name, number)
            column = _chosen(list(record), column, name, number)
            yield _string(record[column], name, number, column)


def _csv(path: Path, name: str, column: str | None) -> Iterator[str]:
    return _separated(path, name, column, ",")


def _tsv(path: Path, name: str, column: str | None) -> Iterator[str]:
    return _separated(path, name, column, "\t")


def _separated(path: Path, name: str, column: str | None, by: str) -> Iterator[str]:
    kind, what = ("CSV", "a comma") if by == "," else ("TSV", "a tab")
    rows = csv.reader((line for _, line in _lines(path, name)), delimiter=by, strict=True)
    try:
        at = None
        for row in rows:
            if at is None:
                at = row.index(_chosen(row, column, name, rows.line_num))
            elif len(row) > at:
                yield row[at]
            elif row:
                found = f"has {len(row)} fields, and the prompts are in field {at + 1}"
                raise _unusable(name, rows.line_num, f"{found}: quote fields that hold {what}")
    except csv.Error as error:
        remedy = "put fields in double quotes, and double the quotes in them"
        raise _unusable(name, rows.line_num, f"is no {kind} ({error}): {remedy}") from error


def _parquet(path: Path, name: str, column: str | None) -> Iterator[str | None]:
    from pyarrow import ArrowException, parquet  # noqa: PLC0415 - only who needs it

    row = 0
    try:
        with parquet.ParquetFile(path) as file:
            chosen = _chosen(file.schema_arrow.names, column, name, None)
            for batch in file.iter_batches(_PARQUET_ROWS, columns=[chosen], use_threads=False):
                for value in batch.column(0).to_pylist():
                    row += 1
                    yield _string(value, name, row, chosen)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        what = f"cannot be read as Parquet ({_gist(error)}): write it anew, with text in UTF-8"
        raise _unusable(name, row + 1 if row else None, what) from error


_READERS: dict[str, Reader] = {
    ".txt": _text,
    "": _text,
    ".jsonl": _json_lines,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}


def _suffix(name: str) -> str:
    """The suffix that tells the format, in small letters."""
    path = PurePosixPath(name.lower())
    if path.suffix == _GZIP:
        inner = path.with_suffix("").suffix
        return _GZIP if inner == ".parquet" else inner
    return path.suffix


def _lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1; a byte order mark is dropped."""
    number = 0
    try:
        with gzip.open(path) if name.lower().endswith(_GZIP) else path.open("rb") as file:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                yield number, _decoded(line, name, number)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        what = f"cannot be unpacked ({error}): compress it anew with gzip"
        raise _unusable(name, number + 1, what) from error


def _decoded(line: bytes, name: str, number: int) -> str:
    if len(line) > MAX_LINE:
        what = f"is longer than {MAX_LINE // 2**20} MiB: give a file with one prompt a line"
        raise _unusable(name, number, what)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 text (byte {error.start + 1} of the line): save it as UTF-8"
        raise _unusable(name, number, what) from error
    return text.removeprefix("\ufeff") if number == 1 else text


def _json_object(line: str, name: str, number: int) -> dict[str, Any]:
    try:
        record = parsed_json(line)
    except ValueError as error:
        what = f"is no JSON ({_gist(error)}): write one object a line"
        raise _unusable(name, number, what) from error
    if not isinstance(record, dict):
        what = f"is a JSON {type(record).__name__}: write an object, such as {{'prompt': '...'}}"
        raise _unusable(name, number, what)
    return record


def _chosen(columns: Sequence[str], wanted: str | None, name: str, line: int | None) -> str:
    """The column of the prompts."""
    found = [column for column in ([wanted] if wanted else DEFAULT_COLUMNS) if column in columns]
    if found:
        return found[0]
    missing = f"column {wanted!r}" if wanted else f"column {', '.join(DEFAULT_COLUMNS[:-1])} or "
    missing += "" if wanted else DEFAULT_COLUMNS[-1]
    there = ", ".join(repr(column) for column in columns[:20]) or "none"
    raise _unusable(name, line, f"has no {missing}: set column to one that it has ({there})")


def _string(value: object, name: str, line: int, column: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        what = f"has a {type(value).__name__} in {column!r}: give a column of text"
        raise _unusable(name, line, what)
    if wrong := unencodable(value):
        raise _unusable(name, line, f"{wrong} in {column!r}: {UNENCODABLE_REMEDY}")
    return value


def _unusable(name: str, line: int | None, what: str) -> TrainerError:
    where = name if line is None else f"line {line} of {name}"
    return TrainerError(FailureReason.INVALID_DATA, f"{where} {what}")


def _gist(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
