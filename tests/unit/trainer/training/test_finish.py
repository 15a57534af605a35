"""What a run does after its last iteration, in which order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.training import run as running

ITERATIONS = 20


class Recorder:
    """Evaluation, checkpoints and reporter, which note whether a request to stop would be heard."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.heard: dict[str, bool] = {}

    def __getattr__(self, name: str) -> Any:
        def note(*_: object) -> None:
            self.heard[name] = self.directory.is_training()

        return note


def test_a_request_to_stop_ends_the_export_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at it any more: the process is ended by the signal itself."""
    directory = RunDirectory(tmp_path)
    directory.note_training()
    recorder: Any = Recorder(directory)
    run: Any = SimpleNamespace(directory=directory, reporter=recorder)
    monkeypatch.setattr(running, "export_now", lambda *_: recorder.export())
    running._finish(run, recorder, recorder, recorder, ITERATIONS)
    assert recorder.heard.pop("last_metrics")
    assert recorder.heard.pop("meet")
    assert "export" in recorder.heard
    assert not any(recorder.heard.values())
