"""Prompts out of text, JSON lines, CSV and Parquet, and what is said of unreadable files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.prompts import formats
from sid_trainer.data.prompts.formats import read_prompts


def read(tmp_path: Path, name: str, data: bytes, column: str | None = None) -> list[str]:
    (tmp_path / name).write_bytes(data)
    return list(read_prompts(tmp_path / name, name, column))


def table(tmp_path: Path, name: str = "p.parquet", **columns: object) -> Path:
    parquet.write_table(pyarrow.table(columns), tmp_path / name, row_group_size=2)
    return tmp_path / name


PROMPTS = ["a cat", 'a sign that says "no, thanks"', "two\u2028lines\x0bof\x85Unicode", "дом"]

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def test_every_format_gives_the_same_prompts(tmp_path: Path) -> None:
    lines = "".join(f"{prompt}\n" for prompt in PROMPTS).encode()
    records = "".join(json.dumps({"id": 1, "prompt": p}) + "\n" for p in PROMPTS).encode()
    quoted = [prompt.replace('"', '""') for prompt in PROMPTS]
    rows = ("id,caption\n" + "".join(f'1,"{prompt}"\n' for prompt in quoted)).encode()
    table(tmp_path, image=[b"x"] * 4, text=PROMPTS)
    assert read(tmp_path, "p.txt", lines) == PROMPTS
    assert read(tmp_path, "prompts", lines) == PROMPTS
    assert read(tmp_path, "P.TXT.gz", gzip.compress(lines, mtime=0)) == PROMPTS
    assert read(tmp_path, "p.jsonl", records) == PROMPTS
    assert read(tmp_path, "p.jsonl.gz", gzip.compress(records, mtime=0)) == PROMPTS
    assert read(tmp_path, "p.csv", rows) == PROMPTS
    tabbed = rows.replace(b"id,", b"id\t").replace(b"1,", b"1\t")
    assert read(tmp_path, "p.tsv", tabbed) == PROMPTS
    assert read(tmp_path, "p.tsv.gz", gzip.compress(tabbed, mtime=0)) == PROMPTS
    assert list(read_prompts(tmp_path / "p.parquet", "p.parquet")) == PROMPTS


def test_blanks_empty_lines_and_a_byte_order_mark_are_dropped(tmp_path: Path) -> None:
    data = "\ufeffa cat \n\n\t\n two dogs\r\nдом".encode()
    assert read(tmp_path, "p.txt", data) == ["a cat", "two dogs", "дом"]
    assert read(tmp_path, "p.csv", "\ufefftext\r\na\r\n\r\n b \r\n".encode()) == ["a", "b"]
    assert read(tmp_path, "p.jsonl", b'{"text": " a "}\n\n{"text": null}\n{"text": ""}\n') == ["a"]
    path = table(tmp_path, text=pyarrow.array(["a", None, " "]).dictionary_encode())
    assert list(read_prompts(path, "p.parquet")) == ["a"]


def test_a_line_feed_inside_a_field_stays(tmp_path: Path) -> None:
    assert read(tmp_path, "p.csv", b'text\n"two\nlines"\nb\n') == ["two\nlines", "b"]


def test_the_column_is_the_named_one_or_the_first_known(tmp_path: Path) -> None:
    data = b"text,caption,long\nt,c,l\n"
    assert read(tmp_path, "p.csv", data) == ["c"]
    assert read(tmp_path, "p.csv", data, "long") == ["l"]
    assert read(tmp_path, "p.tsv", data.replace(b",", b"\t"), "long") == ["l"]
    assert read(tmp_path, "p.tsv", b"text\tid\na cat, black\t1\n") == ["a cat, black"]
    path = table(tmp_path, text=["t"], long=["l"])
    assert list(read_prompts(path, "p.parquet", "long")) == ["l"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "p.txt",
            b"ok\ncaf\xe9\n",
            r"line 2 of p.txt is not UTF-8 text \(byte 4.*save it as UTF-8",
        ),
        (
            "p.jsonl",
            b'{"text": "a"}\n{"text"\n',
            "line 2 of p.jsonl is no JSON .*one object a line",
        ),
        ("p.jsonl", b'"a cat"\n', "line 1 of p.jsonl is a JSON str: write an object"),
        ("p.jsonl", b'{"title": "a"}', "line 1 .* no column prompt, caption or text: .*'title'"),
        ("p.jsonl", b'{"text": "a"}\n{"t": 1}', "line 2 .* no column 'text': .* has \\('t'\\)"),
        ("p.jsonl", b'{"text": ["a"]}', "line 1 .* has a list in 'text': give a column of text"),
        (
            "p.jsonl",
            b'{"text": "a"}\n{"text": "a fox \\ud83d"}',
            r"line 2 of p.jsonl has half a character \(\\ud83d, a .*\) in 'text': write the char",
        ),
        ("p.jsonl", b"[" * 200_000, r"line 1 of p.jsonl is no JSON \(it is nested too deep\)"),
        ("p.txt", POINTER, r"p.txt is a git-LFS pointer: fetch the file itself \(git lfs pull\)"),
        ("p.parquet", POINTER, "p.parquet is a git-LFS pointer"),
        ("p.txt.gz", POINTER, "p.txt.gz is a git-LFS pointer"),
        ("p.csv", b"id,name\n1,a\n", r"line 1 of p.csv has no column .*\('id', 'name'\)"),
        ("p.csv", b'id,text\n1,"a"b\n', "line 2 of p.csv is no CSV"),
        ("p.csv", b'id,text\n1,"a\n', "of p.csv is no CSV"),
        ("p.csv", b"id,text\n1,a\n2\n", "line 3 of p.csv has 1 fields, and .* in field 2"),
        ("p.tsv", b"id\ttext\n1\ta\n2,b\n", "line 3 of p.tsv has 1 fields, .* hold a tab"),
        ("p.tsv", b'id\ttext\n1\t"a"b\n', "line 2 of p.tsv is no TSV"),
        ("p.csv", b"text\ncaf\xe9\n", "line 2 of p.csv is not UTF-8"),
        ("p.txt.gz", b"a cat\n", "line 1 of p.txt.gz cannot be unpacked"),
        ("p.txt.gz", gzip.compress(b"a cat\n" * 9, mtime=0)[:-9], "of p.txt.gz cannot be unpacked"),
        ("p.parquet", b"a cat\n", "p.parquet cannot be read as Parquet"),
        ("p.parquet", b"", "p.parquet cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(TrainerError, match=message) as refused:
        read(tmp_path, name, data)
    assert refused.value.reason is FailureReason.INVALID_DATA


def test_a_parquet_without_text_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, text=[1, 2])
    with pytest.raises(TrainerError, match=r"line 1 of p\.parquet has a int in 'text'"):
        list(read_prompts(path, "p.parquet"))
    with pytest.raises(TrainerError, match=r"p\.parquet has no column 'prompt': .*\('text'\)"):
        list(read_prompts(path, "p.parquet", "prompt"))


def test_a_line_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "MAX_LINE", 2**20)
    with pytest.raises(TrainerError, match=r"line 2 .* is longer than 1 MiB"):
        read(tmp_path, "p.txt", b"a\n" + b"b" * (2**20 + 1))


@pytest.mark.parametrize("name", ["p.json", "p.zip", "p.parquet.gz", "p.tar.gz"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        TrainerError, match=r"use one of \.txt, \.jsonl, \.csv, \.tsv, \.parquet"
    ) as no:
        read(tmp_path, name, b"a")
    assert no.value.reason is FailureReason.INVALID_CONFIGURATION


def test_text_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="plain text, which has no column 'x': remove column"):
        read(tmp_path, "p.txt", b"a", "x")
