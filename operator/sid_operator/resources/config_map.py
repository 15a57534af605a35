"""The ConfigMap: the trainer's configuration, as the one file that the pods read."""

from __future__ import annotations

from pathlib import PurePosixPath

import yaml

from sid_operator.api.names import ANNOTATION_CONTENT, ANNOTATION_HASH
from sid_operator.api.render import run_config
from sid_operator.resources.metadata import Manifest, digest, metadata, run_hash
from sid_operator.resources.run import Run
from sid_trainer.contract import CONFIG_PATH

CONFIG_KEY = PurePosixPath(CONFIG_PATH).name


def config_map(run: Run) -> Manifest:
    """The ConfigMap of a run."""
    config = run_config(run.spec, run.namespace, run.name)
    content = config.model_dump(by_alias=True, mode="json", exclude_none=True)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    hashes = {ANNOTATION_HASH: run_hash(run), ANNOTATION_CONTENT: digest(text)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(run, run.config_map_name, hashes),
        "data": {CONFIG_KEY: text},
    }
