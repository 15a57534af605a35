"""Installs the operator from the chart into the local cluster: ``python -m tests.cluster.install``.

Rules this module keeps: what runs is what is in the tree (the images are tagged by their content),
and installing twice is the same as installing once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from tests.cluster import kubectl

NAMESPACE = "sid-system"
RELEASE = "sid-operator"
CHART = kubectl.REPOSITORY / "charts" / "sid-operator"


def image_values(images: dict[str, str]) -> list[str]:
    """Helm arguments that name the operator's and the trainer's image."""
    arguments = []
    for prefix, reference in (("", images["operator"]), ("trainer.", images["trainer"])):
        name, tag = reference.rsplit(":", 1)
        registry, repository = name.split("/", 1)
        for field, value in (("registry", registry), ("repository", repository), ("tag", tag)):
            arguments += ["--set-string", f"{prefix}image.{field}={value}"]
    return arguments


def local_images() -> dict[str, str]:
    """References of the images that stand in the local cluster, by name."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.local", "images", "--print"],
        capture_output=True,
        text=True,
        check=True,
        cwd=kubectl.REPOSITORY,
    )
    references: dict[str, str] = json.loads(done.stdout)
    return references


def install(*values: str) -> str:
    """Install or upgrade the release, wait until it is ready, and return what helm printed."""
    return kubectl.run(
        "helm",
        "upgrade",
        RELEASE,
        str(CHART),
        "--install",
        "--force-conflicts",  # tests apply the CRD by kubectl as well
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout",
        "120s",
        *values,
    )


def main() -> None:
    """Install the operator with the images built from the tree."""
    started = time.monotonic()
    install(*image_values(local_images()))
    print(f"operator installed in namespace {NAMESPACE} ({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    try:
        main()
    except kubectl.CommandError as error:
        sys.exit(f"install: {error}")
