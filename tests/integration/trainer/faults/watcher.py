"""Looks at a run's checkpoints all the time: each one that is there must be whole.

A checkpoint is read and verified when it is first seen; afterwards it is enough that its objects
are the ones that were verified.
"""

from __future__ import annotations

import contextlib
import threading

import urllib3
from minio import S3Error

from tests.integration.trainer.faults.judge import Bucket

PAUSE_SECONDS = 0.3


class Watcher:
    """A thread that verifies every checkpoint again and again; a context manager.

    Attributes:
        looks: how often a checkpoint was looked at.
        verified: checkpoints that were read, with the state of their objects.
        problems: what was found.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self.looks = 0
        self.verified: dict[tuple[str, bytes], dict[str, str]] = {}
        self.problems: list[str] = []

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _watch(self) -> None:
        while not self._end.wait(PAUSE_SECONDS):
            # The store may be down or starting; whatever it answers in full counts.
            with contextlib.suppress(urllib3.exceptions.HTTPError, S3Error):
                for key, data in self._bucket.manifests().items():
                    self._look(key, data)

    def _look(self, key: str, data: bytes) -> None:
        tags = self._bucket.tags(key, data)
        if self.verified.get((key, data)) != tags:
            self.problems += self._bucket.checkpoint_problems(key, data)
            self.verified[key, data] = tags
        self.looks += 1
