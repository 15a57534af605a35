"""Prompt files of a dataset on the Hugging Face Hub, by the Hub's own addresses.

``hf://datasets/OWNER/NAME@REVISION/PATH``: ``@REVISION`` may be left out; a slash in it is written
``%2F``, and ``~parquet`` stands for ``refs/convert/parquet``, where the Hub keeps a copy of most
datasets as Parquet. A branch is resolved to its commit once, so that all files are of the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.models.hub import hub_errors, token
from sid_trainer.storage.base import not_found

HUB = "hf://"
_ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[\w][\w.-]*/[\w][\w.-]*)(@(?P<revision>[^/@]+))?/(?P<path>.*)"
)
_PARQUET = {"~parquet": "refs/convert/parquet"}
_REVISION_FIELD = "the revision after @"

Select = Callable[[list[str], str, str], list[str]]


@dataclass(frozen=True)
class HubAddress:
    """A place in a dataset.

    Attributes:
        repo: ``OWNER/NAME``.
        revision: branch, tag or commit; the default branch when None.
        path: a file, a folder (empty, or ending in ``/``), or a pattern.
    """

    repo: str
    revision: str | None
    path: str


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset at a commit."""

    repo: str
    commit: str
    path: str

    @property
    def uri(self) -> str:
        """Its address."""
        return f"{HUB}datasets/{self.repo}@{self.commit}/{self.path}"

    def download(self, folder: Path) -> Path:
        """Bring it to a folder."""
        from huggingface_hub import hf_hub_download

        with hub_errors(self.uri, _REVISION_FIELD, _no_file(self.uri), folder):
            return Path(
                hf_hub_download(
                    self.repo,
                    self.path,
                    repo_type="dataset",
                    revision=self.commit,
                    local_dir=folder,
                    token=token(),
                )
            )


def parse_hub(uri: str) -> HubAddress:
    """The parts of an address.

    Raises:
        TrainerError: ``InvalidConfiguration`` when it is of another form.
    """
    match = _ADDRESS.fullmatch(uri)
    if match is None:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{uri} is no address of a dataset: give hf://datasets/OWNER/NAME/PATH or "
            "hf://datasets/OWNER/NAME@REVISION/PATH, with a slash in REVISION as %2F",
        )
    revision = match["revision"]
    if revision is not None:
        revision = _PARQUET.get(revision) or unquote(revision)
    return HubAddress(match["repo"], revision, match["path"])


def find_in_hub(uri: str, select: Select) -> list[HubFile]:
    """The files that an address names, in the order of ``select``.

    Raises:
        TrainerError: ``NotFound``, ``AccessDenied`` or ``StorageUnavailable``.
    """
    from huggingface_hub import HfApi

    address = parse_hub(uri)
    with hub_errors(uri, _REVISION_FIELD, _no_file(uri)):
        info = HfApi(token=token()).dataset_info(address.repo, revision=address.revision)
    names = [sibling.rfilename for sibling in info.siblings or []]
    return [HubFile(address.repo, str(info.sha), path) for path in select(names, address.path, uri)]


def _no_file(uri: str) -> TrainerError:
    return not_found(uri, "correct the path in the dataset")
