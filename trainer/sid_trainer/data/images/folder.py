"""A folder of images with captions, cut into parts.

An image's caption is in ``metadata.jsonl`` (fields ``file_name`` and ``text``, as Hugging Face's
imagefolder has it) where the folder has one, else in the ``.txt`` or ``.json`` of the same name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from sid_trainer.data.images.parts import Entry, FolderPart, suffix_of
from sid_trainer.data.images.sample import (
    CAPTION_READERS,
    IMAGE_SUFFIXES,
    bad_data,
    no_caption,
    record_caption,
)
from sid_trainer.data.text import parsed_json
from sid_trainer.storage import ObjectInfo, Storage

METADATA = "metadata.jsonl"
MAX_METADATA_BYTES = 2**30
PART_IMAGES = 1000
"""Images of a part; of several parts in a row the images are shuffled together."""


def folder_parts(
    storage: Storage, found: Sequence[ObjectInfo], captioned: bool = True
) -> Iterator[FolderPart]:
    """The parts of a folder.

    Args:
        storage: the folder.
        found: its files.
        captioned: whether each image must have a caption; otherwise none is looked for.

    Raises:
        TrainerError: ``InvalidData`` when an image has no caption, or metadata names no image.
    """
    versions = {info.key: f"{info.key}-{info.size}-{info.etag}" for info in found}
    described = captioned and METADATA in versions
    if described:
        entries = _described(storage, versions)
    elif captioned:
        entries = _side_by_side(storage, versions)
    else:
        entries = [Entry(image) for image in _images(list(versions))]
    for start in range(0, len(entries), PART_IMAGES):
        part = entries[start : start + PART_IMAGES]
        keys = [key for entry in part for key in (entry.image, entry.caption_file) if key]
        keys += [METADATA] * described
        described_by = "\n".join(versions[key] for key in keys)
        # Names of files need not be UTF-8; Python has their bytes as surrogates then.
        version = hashlib.sha256(described_by.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{storage.uri()} (images {start + 1} to {start + len(part)})"
        yield FolderPart(name, version, storage, part)


def _images(files: Iterator[str] | Sequence[str]) -> list[str]:
    return [key for key in files if suffix_of(key) in IMAGE_SUFFIXES]


def _side_by_side(storage: Storage, versions: dict[str, str]) -> list[Entry]:
    """Each image with the caption file of its name."""
    entries = []
    for image in _images(list(versions)):
        stem = PurePosixPath(image).with_suffix("")
        captions = (f"{stem}.{suffix}" for suffix in CAPTION_READERS)
        caption = next((key for key in captions if key in versions), None)
        if caption is None:
            raise no_caption(storage.uri(image))
        entries.append(Entry(image, caption_file=caption))
    return entries


def _described(storage: Storage, versions: dict[str, str]) -> list[Entry]:
    """Each image with its caption in the metadata."""
    lines = storage.get_bytes(METADATA, MAX_METADATA_BYTES).splitlines()
    captions: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name = f"{storage.uri(METADATA)} line {number}"
            file, caption = _record(line, name)
            if file not in versions:
                raise bad_data(name, f"names {file}, which is not there", "correct file_name")
            captions[file] = caption
    for image in _images(list(versions)):
        if image not in captions:
            raise bad_data(
                storage.uri(image), f"is not in {METADATA}", "add a line for it, or remove it"
            )
    return [Entry(file, caption) for file, caption in captions.items()]


def _record(line: bytes, name: str) -> tuple[str, str]:
    """File and caption of a line of metadata."""
    try:
        record = parsed_json(line)
    except ValueError as error:
        raise bad_data(name, f"is not JSON ({error})", "write one JSON object a line") from error
    file = record.get("file_name") if isinstance(record, dict) else None
    if not isinstance(file, str):
        raise bad_data(name, "has no file_name", 'write {"file_name": ..., "text": ...}')
    return file, record_caption(record, name)
