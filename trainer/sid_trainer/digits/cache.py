"""Trained teachers, kept outside the tree under the hash of everything that they follow from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import tempfile
from pathlib import Path

from sid_trainer.digits.teacher import TeacherRecipe, make_teacher
from sid_trainer.models.node_cache import locked
from sid_trainer.models.pipeline_index import INDEX

_SOURCES = ("data.py", "prompts.py", "text.py", "vae.py", "seeding.py", "teacher.py")
"""What all families share; a family's own files are ``families/FAMILY*.py``."""
_LIBRARIES = ("torch", "diffusers", "transformers", "tokenizers", "scikit-learn")


def cached_teacher(recipe: TeacherRecipe | None = None) -> Path:
    """Return the directory of a teacher, made on first use (two minutes on one core).

    Without a recipe it is the SD3 teacher of seed 0.
    It lies below ``$XDG_CACHE_HOME/sid-operator/digits-teacher`` (``~/.cache`` by default).
    """
    recipe = recipe or TeacherRecipe()
    folder = _root() / content_hash(recipe)
    with locked(folder):  # who wants it meanwhile waits for it
        if not _is_whole(folder):
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as new:
                make_teacher(Path(new) / "teacher", recipe)
                (Path(new) / "teacher").rename(folder)
    return folder


def is_cached() -> bool:
    """Whether the SD3 teacher of seed 0 is there already."""
    return _is_whole(_root() / content_hash(TeacherRecipe()))


def content_hash(recipe: TeacherRecipe) -> str:
    """Return a hash over the recipe, this package's sources and the libraries' versions."""
    digest = hashlib.sha256(repr(recipe).encode())
    here = Path(__file__).parent
    own = sorted((here / "families").glob(f"{recipe.family}*.py"))
    for path in [*(here / name for name in _SOURCES), here / "families" / "base.py", *own]:
        digest.update(path.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library}=={importlib.metadata.version(library)}".encode())
    return digest.hexdigest()[:16]


def _is_whole(folder: Path) -> bool:
    return (folder / INDEX).is_file()


def _root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sid-operator" / "digits-teacher"
