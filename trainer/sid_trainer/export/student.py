"""Writes a student as a diffusers pipeline directory into a folder of the run, ``student/``.

Rules this module keeps:

* It is written in the node's cache, where room for it is looked for before anything is trained.
* Components that were not trained are the teacher's own files, byte for byte; they are linked, not
  copied, until they are uploaded: text encoders have tens of gigabytes.
* What was written is read back and compared before a byte is uploaded: every tensor there, in the
  shape that its config says, none empty, all finite. ZeRO-3 saves empty tensors without a word
  when a gather is missing.
* ``model_index.json`` goes up last and is taken away first: a half-written student is none.
* Large files of the teacher's that an earlier export brought there are not uploaded again. A sample
  of their content tells: an earlier run of another teacher may have had this folder.
* Weights are safetensors, and nothing of the teacher's that runs code is copied. The only code is a
  scheduler of ours where diffusers has none, which nothing loads by itself.
"""

from __future__ import annotations

import importlib.resources
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.export.card import SAMPLES, CardFacts, model_card
from sid_trainer.export.licence import licence_of
from sid_trainer.method.sampler import OWN_SCHEDULER, needs_own_scheduler
from sid_trainer.models.exported_network import ExportedNetwork
from sid_trainer.models.file_sample import BLOCK, places
from sid_trainer.models.node_cache import cache_errors, digest, locked, need_space
from sid_trainer.models.pipeline_index import INDEX, PICKLED, is_variant, read_index
from sid_trainer.models.tensor_files import names_of
from sid_trainer.process.environment import cache_root
from sid_trainer.report.samples import sample_key
from sid_trainer.storage import Storage

STUDENT_FOLDER = "student"
_LARGE = 2**26
"""Bytes of a file that is not uploaded twice."""
_METHOD = importlib.resources.files("sid_trainer.method")
SHARD_SIZE = "5GB"
"""Size of a file of weights at most: what the Hub and most object stores take without care."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
Sent = Callable[[int, int], object]
"""Told the bytes of each file that is where it should be, and those of all files."""
_RUNS_CODE = (*PICKLED, ".py")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Edition:
    """Which of a run's students is exported.

    Attributes:
        iteration: finished iterations.
        folder: where it goes, in the run's folder.
        metrics: what was measured of it.
        teacher: the same of the teacher, where it was measured.
    """

    iteration: int
    folder: str = STUDENT_FOLDER
    metrics: Mapping[str, float] = field(default_factory=dict)
    teacher: Mapping[str, float] = field(default_factory=dict)


def export_student(
    storage: Storage,
    config: RunConfig,
    teacher: Path,
    network: ExportedNetwork,
    scheduler: dict[str, object],
    edition: Edition,
    *,
    run: Storage | None = None,
    sent: Sent = lambda _sent, _total: None,
) -> str:
    """Write, verify and upload a student; on rank 0 only.

    Args:
        storage: where the student goes: the run's folder.
        config: the run.
        teacher: the teacher's pipeline directory.
        network: the trained component.
        scheduler: config of the ``FlowMatchEulerDiscreteScheduler`` that samples as training does.
        edition: which student it is.
        run: the run's folder, where the student goes elsewhere.
        sent: is told of the upload.

    Returns:
        Where the student is.

    Raises:
        TrainerError: ``NumericalError`` when a weight is not finite, ``StorageUnavailable`` when
            the node has no room for it; storage errors.
        ValueError: when the weights are not those of the network's class.
    """
    with _scratch(storage.uri(edition.folder)) as folder:
        weights = network.state_dict.values()
        require_room(sum(tensor.numel() for tensor in weights), network.dtype)
        pipeline_class = write_pipeline(folder, teacher, network, scheduler)
        verify_weights(folder / network.folder, network)
        if needs_own_scheduler(config.student):
            (folder / OWN_SCHEDULER).write_bytes((_METHOD / OWN_SCHEDULER).read_bytes())
        _write_card(folder, run or storage, config, teacher, pipeline_class, network, edition)
        _upload(storage, folder, edition.folder, sent)
    return storage.uri(edition.folder)


def require_room(parameters: int, dtype: torch.dtype) -> None:
    """Raise ``StorageUnavailable`` when a student of so many numbers has no room on this node."""
    need_space(_scratch_root(), parameters * dtype.itemsize, "the student that is exported")


@contextmanager
def _scratch(target: str) -> Iterator[Path]:
    """An empty folder of the node's cache, for what goes to an address; it is removed again.

    It has the same name each time, so that one that a killed process left does not stay.
    """
    root = _scratch_root()
    folder = root / digest(target, None, [])
    with locked(folder), cache_errors(root):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _scratch_root() -> Path:
    return cache_root() / "exports"


def write_pipeline(
    folder: Path, teacher: Path, network: ExportedNetwork, scheduler: dict[str, object]
) -> str:
    """Write the pipeline directory; return its class. See :func:`export_student`."""
    index = read_index(teacher)
    for name in sorted(index):
        source = teacher / name
        if name not in (network.folder, "scheduler") and source.is_dir():
            shutil.copytree(source, folder / name, ignore=_not_copied, copy_function=_link)
    _write_network(folder, network)
    _write_scheduler(folder, scheduler)
    index["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    index["_class_name"] = network.pipeline or index["_class_name"]
    index.pop("_name_or_path", None)
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return str(index["_class_name"])


def _write_card(
    folder: Path,
    storage: Storage,
    config: RunConfig,
    teacher: Path,
    pipeline_class: str,
    network: ExportedNetwork,
    edition: Edition,
) -> None:
    """Write the model card, with the run's pictures of this student and the teacher's licence."""
    samples = sample_key(edition.iteration)
    has_samples = storage.exists(samples)
    if has_samples:
        (folder / SAMPLES).write_bytes(storage.get_bytes(samples))
    licence = licence_of(teacher)
    licence.copy_to(folder)
    on_hub = _COMMIT.fullmatch(teacher.name) is not None
    facts = CardFacts(
        pipeline_class=pipeline_class,
        iteration=edition.iteration,
        revision=teacher.name if on_hub else config.teacher.revision,
        on_hub=on_hub,
        precision=str(network.dtype).removeprefix("torch."),
        call=network.call,
        licence=licence,
        metrics=edition.metrics,
        teacher=edition.teacher,
        has_samples=has_samples,
    )
    (folder / "README.md").write_text(model_card(config, facts), encoding="utf-8")


def verify_weights(folder: Path, network: ExportedNetwork) -> None:
    """Compare the written weights with the network's class and with their source.

    Raises:
        TrainerError: ``NumericalError`` for a weight that is not finite.
        ValueError: for one that is missing, unknown, empty or of another shape.
    """
    expected = {name: tensor.shape for name, tensor in network.module.state_dict().items()}
    seen: set[str] = set()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in names_of(weights):
                _verify(name, weights.get_tensor(name), expected)
                seen.add(name)
    missing = sorted(expected.keys() - seen)
    if missing:
        raise ValueError(f"the exported student lacks {len(missing)} tensors: {missing[:5]}")


def _verify(name: str, tensor: Tensor, expected: dict[str, torch.Size]) -> None:
    if name not in expected:
        raise ValueError(f"the exported student has an unknown tensor {name}")
    if tensor.shape != expected[name] or tensor.numel() == 0:
        raise ValueError(
            f"{name} of the exported student is {list(tensor.shape)}, not {list(expected[name])}"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise TrainerError(
            FailureReason.NUMERICAL_ERROR,
            f"{name} of the student has values that are not finite: resume from an earlier "
            "checkpoint with a lower training.learningRate",
        )


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).resolve())


def _write_network(folder: Path, network: ExportedNetwork) -> None:
    state = {name: tensor.to(network.dtype) for name, tensor in network.state_dict.items()}
    network.module.load_state_dict(state, strict=True, assign=True)
    network.module.save_pretrained(  # type: ignore[operator]
        folder / network.folder, safe_serialization=True, max_shard_size=SHARD_SIZE
    )


def _write_scheduler(folder: Path, scheduler: dict[str, object]) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler  # noqa: PLC0415 - heavy

    FlowMatchEulerDiscreteScheduler(**scheduler).save_pretrained(folder / "scheduler")


def _not_copied(folder: str, names: list[str]) -> list[str]:
    """What runs code, and weights in variants that the student's pipeline would not load."""
    dropped = [name for name in names if name.endswith(_RUNS_CODE)]
    for name in dropped:
        logger.warning("not copied into the student: %s/%s (it may run code)", folder, name)
    return dropped + [name for name in names if is_variant(name)]


def _upload(storage: Storage, folder: Path, target: str, sent: Sent) -> None:
    """Upload everything, the index last; then remove what an earlier export left."""
    index = f"{target}/{INDEX}"
    storage.delete([index])
    there = {found.key: found.size for found in storage.list(target + "/")}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    keys = {f"{target}/{path.relative_to(folder).as_posix()}": path for path in files}
    total = sum(path.stat().st_size for path in files)
    for key, path in keys.items():
        if key != index and not _is_there(storage, key, path, there.get(key)):
            storage.put_file(key, path)
        sent(path.stat().st_size, total)
    storage.delete([key for key in there if key not in keys])
    storage.put_file(index, keys[index])


def _is_there(storage: Storage, key: str, path: Path, stored_size: int | None) -> bool:
    """Whether a file is a large one of the teacher's that was uploaded before."""
    size = path.stat().st_size
    same_size = path.is_symlink() and size >= _LARGE and size == stored_size
    return same_size and _is_alike(storage, key, path, size)


def _is_alike(storage: Storage, key: str, path: Path, size: int) -> bool:
    """Whether an object has a file's content, as far as a sample tells."""
    block = memoryview(bytearray(BLOCK))
    with path.open("rb") as file:
        for place in places(size):
            file.seek(place)
            found = storage.get_range(key, place, block)
            if block[:found] != file.read(BLOCK):
                return False
    return True
