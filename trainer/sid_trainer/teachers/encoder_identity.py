"""What the encodings of a teacher depend on: they are kept for as long as it is the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path

from sid_trainer.models.node_cache import locked
from sid_trainer.process.environment import cache_root
from sid_trainer.storage.path_errors import open_path
from sid_trainer.teachers.text_parts import encoders_of, tokenizers_of

_LIBRARIES = ("diffusers", "transformers")


def encoder_identity(directory: Path) -> dict[str, str]:
    """What encodings depend on in a pipeline: content of text encoders and tokenizers, libraries.

    The content is read once a node, and remembered for as long as the files are unchanged.

    Args:
        directory: the diffusers pipeline.
    """
    files = sorted(
        file
        for name in (*encoders_of(directory), *tokenizers_of(directory))
        for file in (directory / name).rglob("*")
        if file.is_file()
    )
    stats = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    name = hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:24]
    known = cache_root() / "identities" / name
    with locked(known):
        if not known.is_file():
            digests = [(str(f.relative_to(directory)), _content(f)) for f in files]
            partial = known.with_name(name + ".partial")
            partial.write_text(hashlib.sha256(json.dumps(digests).encode()).hexdigest())
            partial.rename(known)
    versions = {library: importlib.metadata.version(library) for library in _LIBRARIES}
    return {"encoders": known.read_text(), **versions}


def _content(file: Path) -> str:
    with open_path(file, str(file)) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
