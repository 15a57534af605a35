"""Judges what a run left in its bucket, from the bytes alone: it knows nothing of the trainer.

Rules this module keeps:

* What a checkpoint is, is read from the format's description: a manifest in JSON with sizes and
  XXH3-128 of its parts, which are safetensors.
* Nothing is imported of the program that is judged.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from minio import Minio, S3Error

BUCKET = "runs"
UNTOLD = ("time", "imagesPerSecond")
"""What two runs may differ in."""
KNOWN = ("checkpoints/", "metrics/", "samples/", "student/", "report.html", "evaluation")


@dataclass(frozen=True)
class Outcome:
    """What can be compared of two finished runs.

    Attributes:
        losses: metrics of each iteration.
        student: SHA-256 of each exported file but the model card.
        state: checksum of the parts of the newest checkpoint, by rank.
        problems: what is wrong by itself.
    """

    losses: dict[int, dict[str, float]]
    student: dict[str, str]
    state: list[str]
    problems: list[str] = field(default_factory=list)


class Bucket:
    """The objects of one run, read past the trainer and past the proxy."""

    def __init__(self, client: Minio, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def keys(self, start: str = "") -> list[str]:
        """Keys below the run's folder, relative to it."""
        root = f"{self._prefix}/"
        found = self._client.list_objects(BUCKET, prefix=root + start, recursive=True)
        return sorted(str(o.object_name).removeprefix(root) for o in found)

    def read(self, key: str) -> bytes | None:
        """An object's content, None where it is absent."""
        try:
            answer = self._client.get_object(BUCKET, f"{self._prefix}/{key}")
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    def manifests(self) -> dict[str, bytes]:
        """Manifests that are there, by key."""
        keys = [key for key in self.keys("checkpoints/") if key.endswith("/manifest.json")]
        found = {key: self.read(key) for key in keys}
        return {key: data for key, data in found.items() if data is not None}

    def tags(self, key: str, data: bytes) -> dict[str, str]:
        """Entity tags of a checkpoint's parts that are there, by key."""
        named = {part["key"] for part in json.loads(data)["parts"]}
        folder = f"{self._prefix}/{key.rpartition('/')[0]}/"
        found = self._client.list_objects(BUCKET, prefix=folder, recursive=True)
        tags = {str(o.object_name).removeprefix(folder): str(o.etag) for o in found}
        return {name: tag for name, tag in tags.items() if name in named}

    def checkpoint_problems(self, key: str, data: bytes) -> list[str]:
        """What is wrong with a checkpoint, unless its manifest is gone by now."""
        problems = self._parts_problems(key, json.loads(data))
        return problems if problems and self.read(key) == data else []

    def _parts_problems(self, key: str, manifest: dict[str, Any]) -> list[str]:
        folder, parts = key.rpartition("/")[0], manifest["parts"]
        problems = []
        if len(parts) != manifest["worldSize"]:
            problems.append(f"{key} has {len(parts)} parts of {manifest['worldSize']} ranks")
        for part in parts:
            content = self.read(f"{folder}/{part['key']}")
            if content is None:
                problems.append(f"{folder}/{part['key']} is missing")
            elif len(content) != part["size"]:
                problems.append(f"{folder}/{part['key']} has {len(content)} of {part['size']} B")
            elif f"xxh3-128:{xxhash.xxh3_128_hexdigest(content)}" != part["checksum"]:
                problems.append(f"{folder}/{part['key']} has another checksum")
            elif not _is_safetensors(content):
                problems.append(f"{folder}/{part['key']} is no safetensors file")
        return problems


def judge(bucket: Bucket, iterations: int, keep: int) -> Outcome:
    """Look at a run that has ended well.

    Args:
        bucket: the run's objects.
        iterations: its length.
        keep: number of checkpoints that it is to keep.
    """
    losses, problems = _losses(bucket)
    if sorted(losses) != list(range(1, iterations + 1)):
        problems.append(f"losses of the iterations {sorted(losses)}, not of 1 to {iterations}")
    manifests = bucket.manifests()
    for key, data in manifests.items():
        problems += bucket.checkpoint_problems(key, data)
    problems += _leftovers(bucket.keys(), manifests)
    newest = max((json.loads(data) for data in manifests.values()), key=lambda m: m["iteration"])
    if newest["iteration"] != iterations:
        problems.append(f"the newest checkpoint is of iteration {newest['iteration']}")
    if len(manifests) > keep:
        problems.append(f"{len(manifests)} checkpoints were kept in place of {keep}")
    student = {
        key: hashlib.sha256(bucket.read(key) or b"").hexdigest()
        for key in bucket.keys("student/")
        if key != "student/README.md"
    }
    state = [part["checksum"] for part in newest["parts"]]
    return Outcome(losses, student, state, problems)


def differences(found: Outcome, expected: Outcome) -> list[str]:
    """How a run differs from the undisturbed one."""
    told = [
        f"iteration {iteration}: {found.losses.get(iteration)} in place of {metrics}"
        for iteration, metrics in expected.losses.items()
        if found.losses.get(iteration) != metrics
    ]
    names = sorted(expected.student.keys() | found.student.keys())
    told += [
        f"{name} differs" for name in names if found.student.get(name) != expected.student.get(name)
    ]
    if found.state != expected.state:
        told.append("the last checkpoint has other bytes")
    return told


def incomplete_uploads(data: Path) -> list[str]:
    """Multipart uploads that were neither completed nor aborted, from the server's own disk."""
    root = data / ".minio.sys" / "multipart"
    return [str(path.relative_to(root)) for path in root.glob("*/*") if path.is_dir()]


def _losses(bucket: Bucket) -> tuple[dict[int, dict[str, float]], list[str]]:
    """Metrics of each iteration over all attempts, which must agree to the last bit."""
    losses: dict[int, dict[str, float]] = {}
    problems = []
    for key in bucket.keys("metrics/"):
        if not key.endswith(".jsonl"):
            continue
        for line in (bucket.read(key) or b"").decode().splitlines():
            entry = json.loads(line)
            if "generatorLoss" not in entry:
                continue
            told = {name: value for name, value in entry.items() if name not in UNTOLD}
            known = losses.setdefault(entry["iteration"], told)
            if known != told:
                problems.append(f"{key} tells {told}, where another attempt told {known}")
    return losses, problems


def _leftovers(keys: Iterable[str], manifests: dict[str, bytes]) -> list[str]:
    named = set(manifests)
    for key, data in manifests.items():
        folder = key.rpartition("/")[0]
        named |= {f"{folder}/{part['key']}" for part in json.loads(data)["parts"]}
    return [
        f"{key} is left over"
        for key in keys
        if not key.startswith(KNOWN) or (key.startswith("checkpoints/") and key not in named)
    ]


def _is_safetensors(content: bytes) -> bool:
    """Whether the tensors of the header fill the file, one after the other."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    places = sorted(e["data_offsets"] for n, e in header.items() if n != "__metadata__")
    end = 0
    for begin, after in places:
        if begin != end:
            return False
        end = after
    return 8 + length + end == len(content)
