"""Settings: flags, environment, defaults."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from sid_operator.settings import Settings, parse


def test_flags_come_before_the_environment_and_that_before_defaults() -> None:
    environment = {"SID_OPERATOR_NAMESPACE": "team", "SID_OPERATOR_WATCH_SILENCE": "7"}
    settings = parse(["--watch-silence", "8", "--leader-election", "no"], environment)
    assert settings.namespace == "team"
    assert settings.watch_silence == 8.0
    assert settings.leader_election is False
    assert settings.workers == Settings().workers


@pytest.mark.parametrize(
    "name", ["WORKERS", "LEADER_ELECTION", "LOG_LEVEL", "LOG_FORMAT", "ROOM_CHECK"]
)
def test_a_value_that_is_none_names_its_variable(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([], {f"SID_OPERATOR_{name}": "perhaps"})
    assert f"SID_OPERATOR_{name}" in capsys.readouterr().err


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.metadata["doc"].endswith((".", ";")) for field in dataclasses.fields(Settings))


def test_pull_secrets_are_names_with_commas_between() -> None:
    assert Settings().pull_secrets() == ()
    assert parse(["--default-pull-secrets", "one, two,"], {}).pull_secrets() == ("one", "two")


def test_each_process_has_a_name_of_its_own() -> None:
    first, second = parse([], {}), parse([], {})
    assert first.identity.startswith(f"{socket.gethostname()}_")
    assert first.identity != second.identity
    assert parse(["--identity", "pod-1"], {}).identity == "pod-1"


def test_a_watch_that_lacks_one_bookmark_is_not_dead() -> None:
    """The API server sends one about every minute, where it can; 90 s of silence were seen."""
    assert Settings().watch_silence > 2 * 60
