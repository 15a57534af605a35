"""The command line: up, down, status, images."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from . import cluster, images
from .console import say
from .errors import ClusterError
from .settings import (
    API_URL,
    MINIO_ADDRESS,
    MINIO_BUCKET,
    MINIO_NAMESPACE,
    MINIO_PORT,
    MINIO_SECRET,
    Paths,
    default_paths,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[Paths, argparse.Namespace], int] = options.command
    try:
        return command(default_paths(), options)
    except ClusterError as error:
        say(f"error: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.local",
        description="A real one-node Kubernetes cluster on this machine, for tests and the demo.",
    )
    commands = parser.add_subparsers(required=True)
    for name, command, text in (
        ("up", _up, "start the cluster, or see that it runs"),
        ("down", _down, "end the cluster and remove what it left on the machine"),
        ("status", _status, "tell how every component is; fails when one does not work"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(command=command)
    _add_images(commands)
    return parser


def _add_images(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "build the operator's and the trainer's image into the running cluster"
    parser = commands.add_parser("images", help=text, description=text)
    parser.add_argument("--print", action="store_true", help="print their references as JSON")
    parser.set_defaults(command=_images)


def _up(paths: Paths, _options: argparse.Namespace) -> int:
    cluster.up(paths)
    say(
        f"""
Kubernetes:  {API_URL}
             export KUBECONFIG={paths.dev / "kubeconfig"}
             export PATH={paths.dev / "bin"}:$PATH
MinIO:       http://{MINIO_ADDRESS}:{MINIO_PORT} from this machine,
             http://minio.{MINIO_NAMESPACE}.svc:{MINIO_PORT} from pods; bucket {MINIO_BUCKET};
             keys: kubectl -n {MINIO_NAMESPACE} get secret {MINIO_SECRET}
Logs:        {paths.logs}"""
    )
    return 0


def _down(paths: Paths, _options: argparse.Namespace) -> int:
    cluster.down(paths)
    return 0


def _status(paths: Paths, _options: argparse.Namespace) -> int:
    components = cluster.examine(paths)
    for component in components:
        state = "works" if component.works else "does not work" if component.pid else "not running"
        process = f"pid {component.pid}" if component.pid else ""
        sys.stdout.write(f"{component.name:<24} {state:<14} {process}\n")
    return 0 if all(component.works for component in components) else 1


def _images(paths: Paths, options: argparse.Namespace) -> int:
    references = images.ensure(paths)
    for reference in references.values():
        say(f"  ✓ {reference}")
    if options.print:
        sys.stdout.write(json.dumps(references) + "\n")
    return 0
