"""The command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from sid_trainer.cli import main
from sid_trainer.config.file import load_config
from tests.unit.trainer.minimal import VALID


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
