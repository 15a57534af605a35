"""boto3 in a folder of its own, outside the environment.

Its botocore wants a python-dateutil older than the kubernetes client does, so both do not fit into
one environment.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.local import cache

PACKAGES = (
    "boto3==1.44.8",
    "botocore==1.44.8",
    "jmespath==1.1.0",
    "python-dateutil==2.9.0.post0",
    "s3transfer==0.19.3",
    "six==1.17.0",
)
"""With urllib3, which the environment has, this is all that boto3 needs."""


def library(folder: Path) -> Path:
    """A folder to import boto3 from; installed below ``folder`` where it is missing."""
    return cache.entry(folder, "boto3", cache.digest(PACKAGES), _install)


def _install(target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--target", str(target), *PACKAGES], check=True)
