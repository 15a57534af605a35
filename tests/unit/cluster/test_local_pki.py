"""Certificates carry the identities that Kubernetes reads from them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster.local import pki
from tests.cluster.local.settings import API_URL, HOST_ADDRESS, KUBERNETES_SERVICE_ADDRESS

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


@pytest.mark.parametrize(
    ("identity", "subject"),
    [
        (pki.Identity(file="a", user="somebody"), "/CN=somebody"),
        (pki.KUBELET, "/O=system:nodes/CN=system:node:sid-local"),
        (pki.ADMIN, "/O=system:masters/CN=local-admin"),
    ],
)
def test_subject(identity: pki.Identity, subject: str) -> None:
    assert identity.subject == subject


def test_only_servers_have_names() -> None:
    assert "subjectAltName" not in pki.ADMIN.extensions
    names = pki.API_SERVER.extensions
    assert f"IP:{HOST_ADDRESS}" in names
    assert f"IP:{KUBERNETES_SERVICE_ADDRESS}" in names


def test_each_identity_has_files_of_its_own() -> None:
    files = [identity.file for identity in pki.IDENTITIES]
    assert len(set(files)) == len(files)


def test_commands_name_files_and_no_secret(tmp_path: Path) -> None:
    command = pki.signing_command(tmp_path, pki.ADMIN)
    assert f"{tmp_path}/admin.crt" in command
    assert f"{tmp_path}/ca.key" in command


@needs_openssl
def test_created_files_verify_and_keys_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "pki"
    pki.create(directory)
    for identity in pki.IDENTITIES:
        certificate = directory / f"{identity.file}.crt"
        verify = ["openssl", "verify", "-CAfile", str(directory / "ca.crt"), str(certificate)]
        subprocess.run(verify, check=True, capture_output=True)
        assert certificate.with_suffix(".key").stat().st_mode & 0o077 == 0
    assert directory.stat().st_mode & 0o077 == 0


@needs_openssl
def test_kubeconfig_carries_its_certificates(tmp_path: Path) -> None:
    directory = tmp_path / "pki"
    pki.create(directory)
    file = directory / "admin.kubeconfig"
    content = json.loads(file.read_text())
    assert file.stat().st_mode & 0o077 == 0
    assert content["clusters"][0]["cluster"]["server"] == API_URL
    key = base64.b64decode(content["users"][0]["user"]["client-key-data"])
    assert key == (directory / "admin.key").read_bytes()
