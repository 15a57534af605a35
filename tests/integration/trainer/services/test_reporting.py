"""What rank 0 tells: endpoint, metrics stream, termination record, sample grids."""

import json
import logging
import threading
import urllib.error
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sid_trainer.checkpoint.attempts import claim_attempt, last_attempt
from sid_trainer.config import RunConfig
from sid_trainer.contract import (
    CheckpointRef,
    FailureReason,
    ProgressReport,
    TerminationRecord,
    TrainerError,
)
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.report.samples import grid, save_grid
from sid_trainer.storage import FileStorage
from sid_trainer.storage.retry import Patience
from sid_trainer.telling import progress
from sid_trainer.telling.metrics_stream import FLUSH_SECONDS, MetricsStream
from sid_trainer.telling.progress import ProgressServer, Throughput, seconds_left
from sid_trainer.telling.reporter import Reporter
from sid_trainer.telling.reporting import FirstRankReporter, open_reporter
from tests import loopback


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def config(folder: Path, **launch: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": "/teacher"},
            "data": {"prompts": {"uri": "/prompts.txt"}},
            "storage": {"uri": folder.as_uri()},
            "training": {"iterations": 100, "batchSize": 8},
            "launch": {"progressPort": 0, **launch},
        }
    )


def report(**changes: Any) -> ProgressReport:
    values = {"attempt": 1, "stage": "training", "iterations": 10, "time": datetime.now(UTC)}
    return ProgressReport(**{**values, **changes})


def get(port: int, path: str) -> bytes:
    with loopback.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.read()


def test_throughput_is_that_of_the_window() -> None:
    clock = Clock()
    meter = Throughput(window=60.0, clock=clock)
    assert meter.update(0) == 0.0
    clock.now += 10
    assert meter.update(50) == 5.0
    clock.now += 600  # a pause: outside the window after two more reports
    meter.update(50)
    clock.now += 61
    assert meter.update(660) == pytest.approx(10.0)


def test_time_left() -> None:
    assert seconds_left(100, 8.0) == 12
    assert seconds_left(100, 0.0) is None
    assert seconds_left(0, 0.0) == 0


def test_the_endpoint_serves_the_newest_report_and_nothing_else() -> None:
    with ProgressServer("127.0.0.1", 0) as server:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(server.port, "/progress")
        server.publish(report(iteration=3))
        server.publish(report(iteration=4, metrics={"generatorLoss": 0.5}))
        served = ProgressReport.model_validate_json(get(server.port, "/progress"))
        assert (served.iteration, served.metrics) == (4, {"generatorLoss": 0.5})
        assert get(server.port, "/healthz") == b"ok\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(server.port, "/etc/passwd")


@pytest.mark.parametrize("asked", progress.ANY_ADDRESS)
def test_every_address_is_of_ipv4_and_of_ipv6(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # One socket that would be bound to all: here to loopback, once by each family there is.
    monkeypatch.setattr(progress, "ANY_IPV4", "127.0.0.1")
    for bound, reached in {"::1": "[::1]", "::ffff:127.0.0.1": "127.0.0.1"}.items():
        monkeypatch.setattr(progress, "ANY_IPV6", bound)
        with ProgressServer(asked, 0) as server:
            host = reached if loopback.there(bound) else "127.0.0.1"
            with loopback.get(f"http://{host}:{server.port}/healthz") as response:
                assert response.read() == b"ok\n"


def test_an_address_of_ipv6_may_be_named() -> None:
    if not loopback.there("::1"):
        with pytest.raises(TrainerError, match=r"launch\.progressHost"):
            ProgressServer("::1", 0)
        return
    with (
        ProgressServer("::1", 0) as server,
        loopback.get(f"http://[::1]:{server.port}/healthz") as response,
    ):
        assert response.status == 200


def test_a_machine_without_ipv6_is_heard_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    # An address that the machine does not have, as "::" is one where IPv6 is off.
    monkeypatch.setattr(progress, "ANY_IPV6", "2001:db8::1")
    monkeypatch.setattr(progress, "ANY_IPV4", "127.0.0.1")
    with ProgressServer("0.0.0.0", 0) as server:  # noqa: S104 - see above
        assert get(server.port, "/healthz") == b"ok\n"


def test_a_taken_port_is_named() -> None:
    with (
        ProgressServer("127.0.0.1", 0) as server,
        pytest.raises(TrainerError, match=f"127.0.0.1:{server.port}"),
    ):
        ProgressServer("127.0.0.1", server.port)


def test_attempts_are_counted_in_the_storage(minio: Any, prefix: str) -> None:
    storage = minio.storage(prefix)
    assert last_attempt(storage) == 0
    assert [claim_attempt(storage).attempt for _ in range(3)] == [1, 2, 3]
    storage.put_bytes("metrics/attempt-0012/part-00000.jsonl", b"")
    assert claim_attempt(storage).attempt == 13


def test_metrics_become_numbered_parts(tmp_path: Path) -> None:
    clock, storage = Clock(), FileStorage(tmp_path)
    stream = MetricsStream(storage, 2, clock, background=lambda work: work())
    stream.add(report(iteration=1, metrics={"generatorLoss": 1.5}))
    assert storage.list("metrics/") == []
    clock.now += FLUSH_SECONDS
    stream.add(report(iteration=2))
    stream.add(report(iteration=3))
    stream.flush()
    stream.flush()
    parts = [o.key for o in storage.list("metrics/")]
    assert parts == [f"metrics/attempt-0002/part-{n:05d}.jsonl" for n in (0, 1)]
    lines = b"".join(storage.get_bytes(key) for key in parts).decode().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]
    assert json.loads(lines[0])["generatorLoss"] == 1.5


def test_metrics_wait_for_a_store_that_comes_back(
    minio_factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A part that is due says so; who asks for all of them to be stored is told."""
    server, clock = minio_factory(), Clock()
    hasty, patient = (server.storage("x", patience=Patience(seconds=s)) for s in (0.1, 60))
    stream = MetricsStream(hasty, 1, clock, background=lambda work: work(), patient=patient)
    server.stop()
    clock.now += FLUSH_SECONDS
    stream.add(report(iteration=1))
    assert "metrics wait for the storage (1 lines)" in caplog.text
    with pytest.raises(TrainerError) as away:
        stream.flush()
    assert away.value.reason is FailureReason.STORAGE_UNAVAILABLE
    server.start()
    stream.add(report(iteration=2))
    stream.flush(patiently=True)  # the server's first answers may be refusals
    data = patient.get_bytes("metrics/attempt-0001/part-00000.jsonl")
    assert data.count(b"\n") == 2


class Slow(FileStorage):
    """A folder that writes when it may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked, self.may = threading.Event(), threading.Event()
        self.refuses = False

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        self.asked.set()
        assert self.may.wait(60)
        if self.refuses:
            raise TrainerError(FailureReason.ACCESS_DENIED, "no")
        super().put_bytes(key, data)


def test_training_does_not_wait_for_the_metrics_store(tmp_path: Path) -> None:
    clock, storage = Clock(), Slow(tmp_path)
    stream = MetricsStream(storage, 1, clock)
    clock.now += FLUSH_SECONDS
    stream.add(report(iteration=1))
    assert storage.asked.wait(60)
    for iteration in (2, 3):
        clock.now += FLUSH_SECONDS
        stream.add(report(iteration=iteration))  # returns, though nothing is written yet
    storage.may.set()
    stream.flush()
    parts = [storage.get_bytes(o.key) for o in storage.list("metrics/")]
    lines = b"".join(parts).decode().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]


def test_a_refusal_in_the_background_is_told_at_the_next_line(tmp_path: Path) -> None:
    clock, storage = Clock(), Slow(tmp_path)
    storage.refuses = True
    storage.may.set()
    stream = MetricsStream(storage, 1, clock, background=lambda work: work())
    clock.now += FLUSH_SECONDS
    stream.add(report(iteration=1))
    with pytest.raises(TrainerError, match="no") as refused:
        stream.add(report(iteration=2))
    assert refused.value.reason is FailureReason.ACCESS_DENIED


def test_the_first_rank_tells_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SID_TERMINATION_LOG", str(tmp_path / "log"))
    (tmp_path / "pod").mkdir()
    directory, clock = RunDirectory(tmp_path / "pod"), Clock()
    storage = FileStorage(tmp_path / "run")
    ref = CheckpointRef(uri="file:///c", iteration=2, time=datetime.now(UTC))
    caplog.set_level(logging.INFO)
    with FirstRankReporter(config(tmp_path / "run"), storage, 3, directory, clock) as reporter:
        reporter.stage("training")
        for iteration in range(1, 6):
            clock.now += 1.0
            metrics = {"generatorLoss": 0.25, "bad": float("nan")}
            reporter.iteration(iteration, metrics)
        reporter.checkpoint(ref)
        told = reporter.report
    assert (told.attempt, told.stage, told.iteration, told.images) == (3, "training", 5, 40)
    assert told.metrics == {"generatorLoss": 0.25}
    assert told.images_per_second == pytest.approx(8.0)
    assert told.eta_seconds == 95
    assert directory.progress() == told
    assert directory.checkpoint() == ref
    record = TerminationRecord.model_validate_json((tmp_path / "log").read_bytes())
    assert (record.state, record.progress) == ("running", told)
    assert "iteration 1/100 (1.0%) | generatorLoss 0.25 | 8.0 img/s | ETA 1m39s" in caplog.text
    lines = storage.get_bytes("metrics/attempt-0003/part-00000.jsonl").splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 3, 5], "every two seconds"


def test_an_evaluation_stays_in_reports_and_stands_once_in_the_stream(tmp_path: Path) -> None:
    clock, storage = Clock(), FileStorage(tmp_path)
    with FirstRankReporter(config(tmp_path), storage, 1, None, clock) as reporter:
        reporter.measured_before({"fid": 30.0, "clipScore": 0.3})
        reporter.iteration(1, {"generatorLoss": 1.0})
        assert reporter.report.metrics == {"generatorLoss": 1.0, "fid": 30.0, "clipScore": 0.3}
        reporter.evaluated(1, {"fid": 20.0, "odd": float("nan")})
        clock.now += 5
        before = reporter.report.time
        reporter.alive()
        assert reporter.report.time >= before
        reporter.iteration(2, {"generatorLoss": 2.0})
        assert reporter.report.metrics == {"generatorLoss": 2.0, "fid": 20.0, "clipScore": 0.3}
    (part,) = tmp_path.glob("metrics/attempt-0001/*.jsonl")
    lines = [json.loads(line) for line in part.read_text().splitlines()]
    names = ("iteration", "generatorLoss", "fid")
    told = [{name: line[name] for name in names if name in line} for line in lines]
    assert told == [
        {"iteration": 1, "generatorLoss": 1.0},
        {"iteration": 1, "fid": 20.0},
        {"iteration": 2, "generatorLoss": 2.0},
    ]


def test_other_ranks_are_silent(tmp_path: Path) -> None:
    with open_reporter(config(tmp_path / "run"), FileStorage(tmp_path / "run"), 1, 1) as reporter:
        reporter.stage("training")
        reporter.iteration(1, {})
    assert type(reporter) is Reporter
    assert not (tmp_path / "run").exists()


def test_a_failing_close_does_not_hide_the_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(FileStorage):
        def put_bytes(self, key: str, data: bytes, content_type: str = "") -> None:
            raise TrainerError(FailureReason.ACCESS_DENIED, "denied")

    def fail_after_an_iteration() -> None:
        with FirstRankReporter(config(tmp_path), Full(tmp_path), 1, None) as reporter:
            reporter.iteration(1, {})
            raise RuntimeError("the cause")

    with pytest.raises(RuntimeError, match="the cause"):
        fail_after_an_iteration()
    assert "denied" in caplog.text


def test_a_finished_run_does_not_fail_for_lines_that_the_store_did_not_take(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(FileStorage):
        def put_bytes(self, key: str, data: bytes, content_type: str = "") -> None:
            raise TrainerError(FailureReason.STORAGE_UNAVAILABLE, "no answer")

    with FirstRankReporter(config(tmp_path), Away(tmp_path), 1, None) as reporter:
        reporter.iteration(1, {})
        with pytest.raises(TrainerError, match="no answer"):
            reporter.flush()
    assert "the last metrics were not written: no answer" in caplog.text


def test_small_pictures_are_enlarged_pixel_by_pixel(tmp_path: Path) -> None:
    images = torch.zeros(3, 3, 8, 8)
    images[0, :, 2, 5] = 1.0
    images[1, 0] = 2.0
    storage = FileStorage(tmp_path)
    uri = save_grid(storage, 500, images, ["a seven", "a prompt " * 20, ""])
    assert uri.endswith("samples/iter-00000500.png")
    picture = np.asarray(Image.open(tmp_path / "samples/iter-00000500.png"))
    first = picture[4 : 4 + 96, 4 : 4 + 96]
    assert (first[24:36, 60:72] == 255).all()
    assert first.sum() == 3 * 255 * 12 * 12
    assert (picture[50, 4 + 96 + 4 + 48] == [255, 0, 0]).all()


def test_large_pictures_are_reduced() -> None:
    assert grid(torch.rand(1, 3, 1024, 512)).size == (256 + 8, 512 + 8)


@pytest.mark.parametrize(("shape", "captions"), [((3, 8, 8), None), ((2, 3, 8, 8), ["one"])])
def test_wrong_pictures_are_refused(shape: tuple[int, ...], captions: list[str] | None) -> None:
    with pytest.raises(ValueError, match="images"):
        grid(torch.zeros(*shape), captions)


@pytest.mark.parametrize("reason", FailureReason)
def test_a_storage_that_is_silent_is_not_written_to_at_the_end(reason: FailureReason) -> None:
    class Closing(Reporter):
        closed = False

        def close(self) -> None:
            self.closed = True

    reporter = Closing()
    with pytest.raises(TrainerError), reporter:
        raise TrainerError(reason, "the end")
    assert reporter.closed == (reason is not FailureReason.STALLED)
