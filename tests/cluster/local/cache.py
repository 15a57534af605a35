"""Built things, kept by the hash of what they were built from.

An entry is a directory `<name>-<hash>`; it appears under its name in one rename, when it is
complete, so a build that was cut short is never taken for a finished one. Who wants an entry that
another process is building waits for it. A new entry of a name replaces the older ones: the disk is
not a museum.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

HASH_LENGTH = 12


def digest(texts: Iterable[str] = (), files: Iterable[Path] = (), root: Path = Path()) -> str:
    """The hash of some texts, and of some files' contents and names relative to a root."""
    total = hashlib.sha256()
    for text in texts:
        _add(total, text.encode())
    for file in sorted(files):
        _add(total, str(file.relative_to(root)).encode())
        _add(total, file.read_bytes())
    return total.hexdigest()[:HASH_LENGTH]


def _add(total: hashlib._Hash, part: bytes) -> None:
    total.update(len(part).to_bytes(8, "big"))
    total.update(part)


def entry(cache: Path, name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The directory of an entry, built into a temporary directory first where it is missing."""
    wanted = cache / f"{name}-{key}"
    if wanted.is_dir():
        return wanted
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.is_dir():
            _build(cache, name, wanted, build)
    return wanted


def _build(cache: Path, name: str, wanted: Path, build: Callable[[Path], None]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
    try:
        build(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(wanted)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    _drop_older(cache, name, wanted)


def _drop_older(cache: Path, name: str, current: Path) -> None:
    for other in cache.glob(f"{name}-{'?' * HASH_LENGTH}"):
        if other != current:
            shutil.rmtree(other)
