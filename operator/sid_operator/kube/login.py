"""Where the API server is and who we are there.

Inside a pod: the service account, its token read again as the kubelet renews it. Elsewhere: the
kubeconfig (``KUBECONFIG``, else ``~/.kube/config``) with a client certificate, token or password;
credential plugins are not run. kopf's own readers are used, so that kopf and the controller cannot
disagree.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import kopf

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
TOKEN_LIFETIME_SECONDS = 60.0
"""How long a token that was read is used. The kubelet renews it when 80 % of its hour is over."""


class LoginError(Exception):
    """Neither a service account nor a kubeconfig is there."""


def connection() -> kopf.ConnectionInfo:
    """Server, certificates and credentials.

    Raises:
        LoginError: Neither a service account nor a kubeconfig is there.
    """
    settings = kopf.OperatorSettings()
    info = kopf.login_with_service_account(settings=settings)
    info = info or kopf.login_with_kubeconfig(settings=settings)
    if info is None:
        raise LoginError(
            "no credentials: run in a pod with a service account, or set KUBECONFIG to a kubeconfig"
        )
    return info


class Credentials:
    """The ``Authorization`` header, kept fresh."""

    def __init__(
        self,
        info: kopf.ConnectionInfo,
        *,
        token_file: Path = SERVICE_ACCOUNT_TOKEN,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._headers = info.as_http_headers()
        self._file = token_file if token_file.exists() else None
        self._monotonic = monotonic
        self._read_at = -TOKEN_LIFETIME_SECONDS

    def headers(self) -> dict[str, str]:
        """Headers of the next request."""
        now = self._monotonic()
        if self._file is not None and now - self._read_at >= TOKEN_LIFETIME_SECONDS:
            self._headers = {"Authorization": f"Bearer {self._file.read_text().strip()}"}
            self._read_at = now
        return self._headers

    def refused(self) -> None:
        """Tell that the server refused the header: the next one is read anew."""
        self._read_at = -TOKEN_LIFETIME_SECONDS
