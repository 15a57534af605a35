"""Debian packages: installed only where one is missing, so that a warm start asks no registry."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from .console import step
from .shell import run

CLUSTER_PACKAGES = (
    "ca-certificates",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "openssl",
    "runc",
)
IMAGE_PACKAGES = ("buildah", "debootstrap")


def install(packages: Sequence[str]) -> None:
    """Make sure that Debian packages are there."""
    missing = [package for package in packages if not _is_installed(package)]
    if not missing:
        return
    with step(f"install Debian packages: {', '.join(missing)}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-q"], env=quiet)
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], env=quiet)


def _is_installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout == "installed"
