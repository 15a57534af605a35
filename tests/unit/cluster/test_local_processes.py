"""Only the very process that was started is ended; our traces are told from others'."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from tests.cluster.local import cleanup, process
from tests.cluster.local.settings import Paths

PATHS = Paths(cache=Path("/cache"), run=Path("/run/x"), checkout=Path("/checkout"))


def test_own_process_is_alive() -> None:
    assert process.ProcessRecord.of(os.getpid()).is_alive()


def test_recycled_pid_is_not_the_process() -> None:
    mine = process.ProcessRecord.of(os.getpid())
    assert not replace(mine, started=mine.started - 1).is_alive()
    assert not replace(mine, boot="another").is_alive()


def test_spawned_process_is_recorded_logged_and_stopped(tmp_path: Path) -> None:
    record, log = tmp_path / "pid.json", tmp_path / "log"
    process.spawn(["sh", "-c", "echo started; exec sleep 60"], log=log, record=record)
    started = process.recorded(record)
    assert started is not None
    assert started.is_alive()
    assert json.loads(record.read_text()) == asdict(started)
    process.stop([started])
    assert not started.is_alive()


def test_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    record, log = tmp_path / "pid.json", tmp_path / "log"
    process.spawn(["sh", "-c", "trap '' TERM; exec sleep 60"], log=log, record=record)
    started = process.recorded(record)
    assert started is not None
    process.kill([started])
    assert not started.is_alive()


def test_no_record_is_no_process(tmp_path: Path) -> None:
    assert process.recorded(tmp_path / "none.json") is None


def test_only_mounts_below_our_directories_are_ours() -> None:
    table = "\n".join(
        f"1 2 0:1 / {point} rw - tmpfs tmpfs rw"
        for point in ("/", "/cache/cluster/kubelet/a", "/run/x/rootfs", "/run/xy/b", "/cache/other")
    )
    assert cleanup.mount_points(table, PATHS) == ["/cache/cluster/kubelet/a", "/run/x/rootfs"]


def test_rules_of_others_stay() -> None:
    saved = "*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A OUTPUT -j KUBE-SERVICES\n"
    saved += "-A OUTPUT -j MINE\nCOMMIT\n"
    kept = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j MINE\nCOMMIT\n"
    assert cleanup.without_kubernetes(saved) == kept
