"""Settings of the operator process: every field with its unit, default and reason.

Rules this module keeps:

* A setting comes from a flag (``--watch-silence 150``), else from the environment
  (``SID_OPERATOR_WATCH_SILENCE=150``), else from the default below; nothing else is read.
* Flags, variables and help texts are derived from the fields, so that none can be forgotten.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from sid_operator.api.names import OPERATOR
from sid_operator.api.workers import RoomCheck
from sid_operator.logs import FORMATTERS

ENVIRONMENT_PREFIX = "SID_OPERATOR_"


def _setting(default: Any, doc: str, *, choices: Sequence[str] | None = None) -> Any:
    return field(default=default, metadata={"doc": doc, "choices": choices})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What can be set from outside. Durations are in seconds."""

    namespace: str = _setting(
        "", "Namespace to serve. Empty: all namespaces, which needs cluster-wide rights."
    )
    default_image: str = _setting(
        "", "Trainer image of resources that name none in workers.image. Empty: they must name one."
    )
    default_pull_secrets: str = _setting(
        "",
        "Pull secrets of resources that name none in workers.imagePullSecrets, with commas "
        "between. They are Secrets of each resource's namespace, and whoever may create a "
        "resource there can have any image pulled with them.",
    )
    liveness: str = _setting(
        "http://127.0.0.1:8080/healthz",
        "URL at which health is served. Without host (http://:8080/healthz) at all addresses, IPv4 "
        "and IPv6; loopback by default, because only a pod has reason to listen wider.",
    )
    metrics: str = _setting(
        "",
        "URL at which Prometheus' metrics are served below /metrics, such as "
        "http://127.0.0.1:8081, or, at all addresses, IPv4 and IPv6, http://:8081. "
        "Empty: not at all.",
    )
    read_nodes: bool = _setting(
        True,
        "Compare what runs need with the GPU memory that nodes' labels tell, which needs the right "
        "to list and watch nodes. Without the right, or turned off, FitsMemory is Unknown.",
    )
    room_check: RoomCheck = _setting(
        "Hold",
        "What becomes of a run that needs more memory than any GPU that its pods may get has, "
        "where neither runPolicy.roomCheck nor scheduling.queueName is given. Warn where nodes are "
        "made for pods that wait, as a run that is held has none.",
        choices=get_args(RoomCheck),
    )
    log_level: str = _setting(
        "INFO", "Least severe lines that are logged.", choices=("DEBUG", "INFO", "WARNING", "ERROR")
    )
    log_format: str = _setting(
        "text",
        "Form of log lines: text for people, or json, one object a line, for log stores.",
        choices=tuple(FORMATTERS),
    )
    workers: int = _setting(
        8,
        "Resources reconciled at a time. Passes wait for the API server, not for the CPU; more "
        "than a few only burdens the server.",
    )
    pass_timeout: float = _setting(
        120.0, "Longest a pass over one resource may take; longer means that something hangs."
    )
    request_timeout: float = _setting(
        30.0, "Longest an API request may take. The API server itself gives up after 60 s."
    )
    watch_duration: int = _setting(
        290, "How long the server keeps a watch open; it is then opened again where it ended."
    )
    watch_silence: float = _setting(
        150.0,
        "Silence after which a watch counts as dead. Bookmarks arrive about every 60 s, but no API "
        "server promises them: one may be late, or left out.",
    )
    progress_interval: float = _setting(
        5.0,
        "Time between two looks at the progress of a run, hence between two writes of its status: "
        "what a person watching a terminal likes, at 0.2 writes/s a running resource.",
    )
    progress_timeout: float = _setting(
        3.0, "Longest that asking rank 0 for its progress may take; it answers from memory."
    )
    leader_election: bool = _setting(
        True, "Act only while holding the Lease. Turn off for one process on a developer's machine."
    )
    lease_name: str = _setting(OPERATOR, "Name of the Lease.")
    lease_namespace: str = _setting(
        "", "Namespace of the Lease. Empty: that of the pod, or of the kubeconfig's context."
    )
    lease_duration: float = _setting(
        15.0, "A Lease not renewed for so long is free: bounds the time without a leader."
    )
    lease_renew_interval: float = _setting(
        5.0, "Time between two renewals; a standby looks twice as often."
    )
    lease_renew_deadline: float = _setting(
        10.0, "A leader that could not renew for so long exits, well before others may take over."
    )
    identity: str = _setting(
        "",
        "Name of this process in the Lease, Events and logs. Empty: host name and a random suffix.",
    )

    def pull_secrets(self) -> tuple[str, ...]:
        """The names in ``default_pull_secrets``."""
        names = (name.strip() for name in self.default_pull_secrets.split(","))
        return tuple(name for name in names if name)


def parse(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings of a command line and environment, with an identity made up where none is given.

    Raises:
        SystemExit: with a message, where a flag or a value is not understood.
    """
    parser = argparse.ArgumentParser(
        prog="python -m sid_operator",
        description="The SiDDistillation operator. Each flag can also be given in the environment, "
        f"--watch-silence as {ENVIRONMENT_PREFIX}WATCH_SILENCE.",
    )
    for item in dataclasses.fields(Settings):
        _add_flag(parser, item, environment)
    settings = Settings(**vars(parser.parse_args(argv)))
    return dataclasses.replace(settings, identity=settings.identity or _made_up_identity())


def _made_up_identity() -> str:
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


def _add_flag(
    parser: argparse.ArgumentParser, item: dataclasses.Field[Any], environment: Mapping[str, str]
) -> None:
    default: Any = item.default
    kind: type = type(default)
    choices = item.metadata["choices"]
    convert: Callable[[str], Any] = kind
    if choices or kind is bool:
        convert = _one_of(choices) if choices else _boolean
    variable = ENVIRONMENT_PREFIX + item.name.upper()
    if variable in environment:
        try:
            default = convert(environment[variable])
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"{variable}={environment[variable]!r}: {error}")
    parser.add_argument(
        "--" + item.name.replace("_", "-"),
        dest=item.name,
        type=convert,
        default=default,
        metavar=kind.__name__.upper(),
        help=f"{item.metadata['doc']} Default: {item.default!r}.".replace("%", "%%"),
    )


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(choices)}")
        return text

    return convert


def _boolean(text: str) -> bool:
    if re.fullmatch(r"(?i)true|yes|on|1", text):
        return True
    if re.fullmatch(r"(?i)false|no|off|0", text):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
