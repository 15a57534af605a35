"""Encodings of prompts kept in a folder of the user's, for later attempts and other runs.

Rules this module keeps:

* One object a prompt, named by a hash of all that it depends on (:mod:`.encoding_entry`): runs with
  other batches, seeds or numbers of ranks find what they need, and writers never touch one another,
  as each object is written whole and two of the same name have the same content.
* What is damaged is told, made anew and replaced; what belongs to something else is not used.
* A store that does not answer costs time, not the run: what is asked for is made, and the rest of
  the visit does without the cache. Each visit asks anew.
* It is a function of prompts like the text encoders that it wraps; what it finds all of needs no
  text encoder to be loaded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sid_trainer.config import DataConfig
from sid_trainer.config.endpoint import Server
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.encoding import Encode
from sid_trainer.data.encoding_entry import DamagedEntryError, Identity, entry_key, packed, unpacked
from sid_trainer.data.encoding_folder import open_cache
from sid_trainer.method.conditions import Condition
from sid_trainer.storage import Storage
from sid_trainer.teachers.base import Teacher

THREADS = 8
"""Requests at a time: objects are a few MB, and the store's delay is what a chunk waits for."""
MAX_ENTRY = 256 * 2**20

logger = logging.getLogger(__name__)


def open_encoder(teacher: Teacher, config: DataConfig, endpoint: Server = None) -> Encode:
    """The teacher's text encoders, behind the cache where the user asks for one.

    Args:
        teacher: the adapter.
        config: names the cache.
        endpoint: the S3 server, or its URL; AWS when None.
    """
    if config.encoding_cache is None:
        return teacher.encode
    storage = open_cache(config.encoding_cache.uri, endpoint)
    return CachedEncoder(storage, teacher.encoding_identity(), teacher.encode)


class CachedEncoder:
    """Text encoders that are asked only for what the cache does not have.

    Args:
        storage: the cache's folder.
        identity: what encodings depend on besides the prompt.
        encode: the text encoders.
    """

    def __init__(self, storage: Storage, identity: Identity, encode: Encode) -> None:
        self._storage = storage
        self._identity = identity
        self._encode = encode
        self._away, self._telling = False, threading.Lock()

    def __call__(self, prompts: Sequence[str]) -> Condition:
        """Encodings of prompts in host memory; row i is prompt i.

        Raises:
            TrainerError: ``AccessDenied``.
        """
        different = list(dict.fromkeys(prompts))
        self._away = False
        with ThreadPoolExecutor(THREADS) as pool:
            found = dict(zip(different, pool.map(self._read, different), strict=True))
            missing = [prompt for prompt, row in found.items() if row is None]
            if missing:
                made = self._encode(missing)
                made_rows = [made[i : i + 1] for i in range(len(missing))]
                list(pool.map(self._write, missing, made_rows))
                found |= zip(missing, made_rows, strict=True)
        logger.info(
            "prompts: %d encodings from %s, %d made",
            len(different) - len(missing),
            self._storage.uri(),
            len(missing),
        )
        rows = [row for row in map(found.get, prompts) if row is not None]
        return Condition.cat(rows)

    def _read(self, prompt: str) -> Condition | None:
        key = entry_key(self._identity, prompt)
        if self._away:
            return None
        try:
            data = self._storage.get_bytes(key, MAX_ENTRY)
            return unpacked(data, self._identity, prompt)
        except DamagedEntryError as error:
            logger.warning("%s is damaged: %s; it is made anew", self._storage.uri(key), error)
            return None
        except TrainerError as error:
            if error.reason is not FailureReason.NOT_FOUND:
                self._do_without(error)
            return None

    def _write(self, prompt: str, row: Condition) -> None:
        key = entry_key(self._identity, prompt)
        if self._away:
            return
        try:
            self._storage.put_bytes(key, packed(self._identity, prompt, row))
        except TrainerError as error:
            self._do_without(error)

    def _do_without(self, error: TrainerError) -> None:
        """Leave the cache alone for this visit if its store does not answer; else raise."""
        if error.reason is not FailureReason.STORAGE_UNAVAILABLE:
            raise error
        with self._telling:
            if not self._away:
                self._away = True
                logger.warning("encodings are made without data.encodingCache: %s", error)
