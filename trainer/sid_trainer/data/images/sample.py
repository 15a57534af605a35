"""One image of a data set with its caption, and what can be wrong with them.

Rules this module keeps:

* What is wrong with data is ``InvalidData``, and the message names the shard (or folder), the
  member, and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.text import UNENCODABLE_REMEDY, parsed_json, unencodable
from sid_trainer.models.git_lfs import HEADER

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp"})
CAPTION_FIELDS = ("caption", "text")
"""Fields of a JSON record that hold its caption; the first that is there counts."""


@dataclass(frozen=True)
class Sample:
    """An image with its caption, not read yet.

    Attributes:
        name: shard and member, as messages tell it.
        image: reads the image file.
        caption: reads the caption; it is empty only where the data set need have none.
    """

    name: str
    image: Callable[[], bytes]
    caption: Callable[[], str]


def without_caption() -> str:
    """The caption of an image that need have none."""
    return ""


def bad_data(name: str, what: str, remedy: str) -> TrainerError:
    """The error for a file that cannot be used."""
    return TrainerError(FailureReason.INVALID_DATA, f"{name} {what}: {remedy}")


def no_caption(name: str) -> TrainerError:
    """The error for an image without a caption."""
    return bad_data(
        name,
        "has no caption",
        "put a .txt (or a .json with the field caption) of the same name beside it, or remove it",
    )


def text_caption(data: bytes, name: str) -> str:
    """The caption in a ``.txt``; lines are joined by blanks.

    Raises:
        TrainerError: ``InvalidData`` when it is empty or not UTF-8, or stands for a text that was
            not fetched.
    """
    if data.startswith(HEADER):
        raise bad_data(name, "is a git-LFS pointer", "fetch the file itself (git lfs pull)")
    try:
        caption = " ".join(data.decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise bad_data(
            name, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8"
        ) from error
    return _filled(caption, name)


def json_caption(data: bytes, name: str) -> str:
    """The caption in a ``.json`` record.

    Raises:
        TrainerError: ``InvalidData`` when it is no JSON object, or has no caption.
    """
    try:
        record = parsed_json(data)
    except ValueError as error:
        raise bad_data(name, f"is not JSON ({error})", "correct it") from error
    return record_caption(record, name)


def record_caption(record: Any, name: str) -> str:
    """The caption of a parsed record.

    Raises:
        TrainerError: ``InvalidData`` when there is none, or none that can be encoded.
    """
    fields = record if isinstance(record, dict) else {}
    found = next((fields[field] for field in CAPTION_FIELDS if field in fields), None)
    if not isinstance(found, str):
        raise bad_data(name, "has no caption", f"give a text in its field {CAPTION_FIELDS[0]}")
    if wrong := unencodable(found):
        raise bad_data(name, f"{wrong} in its caption", UNENCODABLE_REMEDY)
    return _filled(" ".join(found.split()), name)


CAPTION_READERS: dict[str, Callable[[bytes, str], str]] = {
    "txt": text_caption,
    "json": json_caption,
}
"""How a caption is read, by the suffix of its file; the first that is there counts."""


def _filled(caption: str, name: str) -> str:
    if not caption:
        raise bad_data(name, "is empty", "write the image's caption there, or remove the image")
    return caption
