"""Exceptions become reasons and messages; records and configuration errors are readable."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from sid_trainer.cli import main
from sid_trainer.config_file import load_config
from sid_trainer.contract import (
    MAX_RECORD_BYTES,
    CheckpointRef,
    Failure,
    FailureReason,
    ProgressReport,
    TerminationRecord,
    TrainerError,
)
from sid_trainer.process.failures import failure_of, told_of
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.process.termination import encoded, termination_log, write_record

VALID = """
teacher: {model: /teacher}
data: {prompts: {uri: /prompts.txt}}
storage: {uri: file:///run}
"""


class DistBackendError(RuntimeError):
    """Stands for torch's class of that name, which needs a GPU to be raised by NCCL."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainerError(FailureReason.NOT_FOUND, "x"), "NotFound"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "OutOfMemory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "OutOfMemory"),
        (MemoryError(), "OutOfMemory"),
        (RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1"), "PeerLost"),
        (torch.distributed.DistStoreError("Timed out after 61 seconds"), "PeerLost"),
        (torch.distributed.DistNetworkError("failed to recv, got 0 bytes"), "PeerLost"),
        (DistBackendError("NCCL error: ncclRemoteError: remote process exited"), "PeerLost"),
        (DistBackendError("NCCL error: unhandled cuda error"), "Error"),
        (RuntimeError("shape mismatch"), "Error"),
        (ValueError("out of memory is only mentioned"), "Error"),
        (KeyboardInterrupt(), "Terminated"),
    ],
)
def test_reasons(error: BaseException, reason: str) -> None:
    assert failure_of(error).reason == reason


def test_a_known_cause_below_an_unknown_error_wins() -> None:
    wrapper = RuntimeError("wrapped")
    wrapper.__cause__ = TrainerError(FailureReason.ACCESS_DENIED, "no key")
    told = Failure(reason=FailureReason.ACCESS_DENIED, message="no key", rank=3)
    assert failure_of(wrapper, rank=3) == told


def test_a_lost_peer_is_told_without_the_place_in_torch() -> None:
    error = RuntimeError(
        "[/x/gloo/transport/tcp/pair.cc:545] Read error [10.0.0.2]:47245: Connection reset by "
        "peer. This is typically caused by a remote worker hanging."
    )
    assert failure_of(error).message == (
        "the connection to another rank was lost: Read error [10.0.0.2]:47245: Connection reset by "
        "peer"
    )


def test_messages_fit_the_contract() -> None:
    assert len(failure_of(RuntimeError("x" * 5000)).message) == 1024


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {batchSiz: 8}", "training.batchSiz: unknown field; did you mean batchSize?"),
        ("colour: red", "colour: unknown field"),
        ("training: {batchSize: many}", "training.batchSize: "),
        ("training: {batchSize: 0}", "greater than or equal to 1, not 0"),
        (
            "training: {iterations: 1, images: 2}",
            "training: training.iterations and training.images",
        ),
        (
            "distillation: {guidance: {strategie: LSG}}",
            "distillation.guidance.strategie: unknown field; did you mean strategy?",
        ),
        ("launch: {nodes: 3}", "training.batchSize 256 is not a multiple of the 3"),
    ],
)
def test_wrong_settings_are_told_by_path(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(VALID + text)
    with pytest.raises(TrainerError) as raised:
        load_config(path)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [", "is not YAML"), (b"- a", "mapping"), (b"\xff\xfe", "UTF-8"), (None, "No such file")],
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainerError, match=message):
        load_config(path)


def test_what_a_field_asks_for_is_told_with_the_field_once() -> None:
    with (
        pytest.raises(TrainerError, match=r"^teacher\.model: /x does not exist$") as raised,
        told_of("teacher.model"),
    ):
        raise TrainerError(FailureReason.NOT_FOUND, "/x does not exist")
    assert failure_of(raised.value).reason is FailureReason.NOT_FOUND
    with (
        pytest.raises(TrainerError, match=r"^data\.prompts\.uri is empty$"),
        told_of("data.prompts"),
    ):
        raise TrainerError(FailureReason.INVALID_DATA, "data.prompts.uri is empty")


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("teacher: {model: a/b}")
    with pytest.raises(TrainerError, match="data: required, but not given; storage: required"):
        load_config(path)


def test_config_prints_what_it_can_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(VALID)
    assert main(["config", "--config", str(path)]) == 0
    printed = capsys.readouterr().out
    again = tmp_path / "again.yaml"
    again.write_text(printed)
    assert load_config(again) == load_config(path)
    assert "batchSize: 256" in printed


def test_a_failing_command_prints_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "--config", str(tmp_path / "none.yaml")]) == 78
    captured = capsys.readouterr()
    assert captured.err.startswith("error: cannot read the configuration")
    assert captured.err.count("\n") == 1


def test_train_refuses_several_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(VALID + "launch: {nodes: 2}")
    assert main(["train", "--config", str(path)]) == 78
    assert "python -m sid_trainer launch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "code", "message"),
    [
        ("", 66, "teacher.model: /teacher does not exist"),
        ("deepspeed: {config: {fp16: {}}}", 78, "use training.precision instead"),
    ],
)
def test_train_looks_for_its_inputs_before_it_begins(
    wrong: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    path = tmp_path / "config.yaml"
    path.write_text(VALID.replace("file:///run", run.as_uri()) + "launch: {device: cpu}\n" + wrong)
    assert main(["train", "--config", str(path)]) == code
    assert message in capsys.readouterr().err
    assert not run.exists(), "no attempt is counted"


def test_the_command_line_imports_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(VALID)
    code = (
        "import sys, sid_trainer.cli as cli, sid_trainer.launch.launcher;"
        f"cli.main(['config', '--config', {str(path)!r}]);"
        "heavy = {'torch', 'diffusers', 'deepspeed', 'minio'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_removing_a_run_takes_no_torch(tmp_path: Path) -> None:
    """The clean-up pod asks for little memory."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "report.html").touch()
    code = (
        "import sys, sid_trainer.cli as cli, sid_trainer.storage.s3;"
        f"cli.main(['remove', '--storage', {run.as_uri()!r}]);"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(run.iterdir())


def long_record(character: str, key_length: int = 300) -> TerminationRecord:
    now = datetime.now(UTC)
    return TerminationRecord(
        state="failed",
        failure=Failure(reason=FailureReason.UNKNOWN, message=character * 1024, rank=7),
        progress=ProgressReport(
            attempt=3,
            stage="training",
            iterations=10,
            time=now,
            metrics={f"metric{i:02d}" + "x" * 40: 0.123456789 for i in range(64)},
            checkpoint=CheckpointRef(uri="s3://b/" + "k" * key_length, iteration=5, time=now),
            samples_uri="s3://b/" + "s" * key_length,
            student_uri="s3://b/" + "t" * key_length,
        ),
    )


@pytest.mark.parametrize("character", ["x", "é", "\u20ac", "\x01", "😀"])
def test_records_always_fit_and_stay_readable(character: str) -> None:
    data = encoded(long_record(character))
    assert len(data) <= MAX_RECORD_BYTES
    record = TerminationRecord.model_validate_json(data)
    assert record.failure is not None
    assert record.failure.message.startswith(character)
    assert record.progress is not None
    assert record.progress.checkpoint is not None


def test_a_record_with_very_long_addresses_keeps_the_failure() -> None:
    data = encoded(long_record("x", key_length=1000))
    assert len(data) <= MAX_RECORD_BYTES
    record = TerminationRecord.model_validate_json(data)
    assert record.progress is None
    assert record.failure is not None
    assert record.failure.message == "x" * 1024


def test_a_record_is_written_in_place(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 4000)
    inode = log.stat().st_ino
    write_record(
        TerminationRecord(state="running"), termination_log({"SID_TERMINATION_LOG": str(log)})
    )
    assert json.loads(log.read_bytes()) == {"state": "running"}
    assert log.stat().st_ino == inode


def test_failures_come_back_in_the_order_of_writing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    first = Failure(reason=FailureReason.PEER_LOST, message="a", rank=5)
    second = Failure(reason=FailureReason.UNKNOWN, message="b", rank=1)
    directory.write_failure(5, first)
    directory.write_failure(1, second)
    os.utime(tmp_path / "failure-00005.json", (1, 1))  # a file system's clock may be coarse
    assert directory.failures() == [first, second]
    directory.note_group()
    directory.clear_launch()
    assert directory.failures() == []
    assert not directory.group_formed()


def test_a_lack_of_memory_is_told_without_the_place_in_torchs_source() -> None:
    text = (
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    )
    told = failure_of(RuntimeError(text)).message
    assert told.startswith("out of memory: DefaultCPUAllocator: can't allocate memory; lower")
