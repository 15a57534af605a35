"""All prompts of a run on this node's disk, mapped into memory: any of them at once, none held.

Files of an index: ``text`` (the prompts' UTF-8, one after another), ``offsets`` (where each begins,
little-endian uint64, and where the last ends) and ``index.json``. Pages that are read lie in the
page cache, which all processes of the node share and the system takes back when it needs it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

MAX_DIFFERENT = 4096
"""Different prompts that are looked for: more are not worth remembering as few."""
_FLUSH = 65_536
_TEXT, _OFFSETS, _META = "text", "offsets", "index.json"


class Prompts(Protocol):
    """Training prompts, by number."""

    @property
    def different(self) -> list[str] | None:
        """The different ones in order of first appearance; None when there are many."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> str: ...

    def __iter__(self) -> Iterator[str]: ...


@dataclass
class _Meta:
    """What ``index.json`` says.

    Attributes:
        count: number of prompts.
        first: numbers of the first of each different prompt, None when there are many.
        fingerprint: checksum of all prompts and their order.
    """

    count: int = 0
    first: list[int] | None = field(default_factory=list)
    fingerprint: str = ""


class PromptIndex:
    """Prompts of an index that :func:`write_index` made.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._meta = _Meta(**json.loads((folder / _META).read_text(encoding="utf-8")))
        self._offsets = np.memmap(folder / _OFFSETS, dtype="<u8", mode="r")
        with (folder / _TEXT).open("rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return self._meta.count

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} prompts, numbered from 0, and no {number}")
        return self._text[self._offsets[number] : self._offsets[number + 1]].decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))

    @property
    def different(self) -> list[str] | None:
        """The different prompts in order of first appearance; None when more than 4096."""
        return None if self._meta.first is None else [self[number] for number in self._meta.first]

    @property
    def fingerprint(self) -> str:
        """Checksum of all prompts and their order."""
        return self._meta.fingerprint


def write_index(folder: Path, prompts: Iterable[str]) -> int:
    """Write an index of at least one prompt; return how many there are.

    Nothing but one prompt and a buffer is in memory. ``folder`` must not be read before this
    returns: whoever shares it makes it elsewhere and renames it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meta, digest, seen = _Meta(), hashlib.blake2b(digest_size=16), set[str]()
    with (folder / _TEXT).open("wb") as text, (folder / _OFFSETS).open("wb") as table:
        end, offsets = 0, array("Q", [0])
        for prompt in prompts:
            data = prompt.encode("utf-8")
            text.write(data)
            digest.update(len(data).to_bytes(8, "little") + data)
            _note(meta, seen, prompt)
            end += len(data)
            offsets.append(end)
            if len(offsets) >= _FLUSH:
                _flush(offsets, table)
        _flush(offsets, table)
        for file in (text, table):
            file.flush()
            os.fsync(file.fileno())
    meta.fingerprint = digest.hexdigest()
    (folder / _META).write_text(json.dumps(asdict(meta)), encoding="utf-8")
    return meta.count


def _note(meta: _Meta, seen: set[str], prompt: str) -> None:
    """Count a prompt, and remember it if it is new and there are few."""
    if meta.first is not None and prompt not in seen:
        seen.add(prompt)
        meta.first.append(meta.count)
        if len(seen) > MAX_DIFFERENT:
            meta.first = None
            seen.clear()
    meta.count += 1


def _flush(offsets: array[int], table: BinaryIO) -> None:
    np.frombuffer(offsets, dtype=np.uint64).astype("<u8").tofile(table)
    del offsets[:]
