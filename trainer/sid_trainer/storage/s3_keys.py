"""Which keys open the bucket: those in the environment, or those of a role.

The environment is the one that the SDKs of AWS know, in their order: keys that stand in it come
first. A role is told of by variables that a cluster puts into the pods of a service account: EKS
does so for IRSA and for Pod Identity, and so does any webhook that is made like theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from minio.credentials import Provider, StaticProvider

from sid_trainer.config.endpoint import Endpoint
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.s3_role import PodRole, Role, WebRole, shared_keys
from sid_trainer.storage.s3_server import bundle_of, is_aws, url_of

ACCESS_KEY, SECRET_KEY = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
TOKEN_FILE, POD_URL = "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"
POD_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105
STS_URL = "AWS_ENDPOINT_URL_STS"
_SESSION_LENGTH = 64


def keys_of(endpoint: Endpoint, environ: Mapping[str, str]) -> Provider:
    """What gives the keys for the server; nothing is sent yet.

    Raises:
        TrainerError: ``AccessDenied`` where the environment tells of none, ``InvalidConfiguration``
            for a CA bundle that cannot be used.
    """
    access, secret = environ.get(ACCESS_KEY), environ.get(SECRET_KEY)
    if access and secret:
        return StaticProvider(access, secret, environ.get("AWS_SESSION_TOKEN") or None)
    role = None if access else role_of(endpoint, environ)
    if role is None:
        raise _no_keys(url_of(endpoint), SECRET_KEY if access else ACCESS_KEY)
    return shared_keys(role)


def role_of(endpoint: Endpoint, environ: Mapping[str, str]) -> Role | None:
    """The role that the environment tells of, or None."""
    if token_file := environ.get(TOKEN_FILE):
        sts = sts_url(endpoint, environ)
        return WebRole(
            url=sts,
            token_file=Path(token_file),
            arn=environ.get("AWS_ROLE_ARN") or None,
            session=_session(environ),
            bundle=bundle_of(endpoint, environ),
            public_too=urlsplit(sts).netloc != urlsplit(url_of(endpoint)).netloc,
        )
    if url := environ.get(POD_URL):
        pod_token_file = environ.get(POD_TOKEN_FILE)
        return PodRole(url=url, token_file=Path(pod_token_file) if pod_token_file else None)
    return None


def sts_url(endpoint: Endpoint, environ: Mapping[str, str]) -> str:
    """URL of the server that gives the keys of a role.

    The one that ``AWS_ENDPOINT_URL_STS`` names; else of a store that is not AWS its own, as MinIO
    and Ceph have it; else that of AWS in the region of the pod.
    """
    given, store = environ.get(STS_URL), url_of(endpoint)
    if given or not is_aws(store):
        return (given or store).rstrip("/")
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or endpoint.region
    if not region:
        return "https://sts.amazonaws.com"
    china = ".cn" if region.startswith("cn-") else ""
    return f"https://sts.{region}.amazonaws.com{china}"


def _session(environ: Mapping[str, str]) -> str:
    """By what name the role's deeds are told in the account's log: the pod's, if no other."""
    pod = f"sid-{environ.get('HOSTNAME') or 'trainer'}"
    given = environ.get("AWS_ROLE_SESSION_NAME") or pod
    return re.sub(r"[^\w+=,.@-]", "-", given, flags=re.ASCII)[:_SESSION_LENGTH]


def _no_keys(url: str, missing: str) -> TrainerError:
    return TrainerError(
        FailureReason.ACCESS_DENIED,
        f"no credentials for {url}: the environment variable {missing} is not set, and none of a "
        f"role ({TOKEN_FILE}, {POD_URL}); give the pod a Secret with the keys accessKey and "
        "secretKey (checkpoint.secretRef), or a service account that has a role "
        "(checkpoint.serviceAccountName; on EKS by its annotation eks.amazonaws.com/role-arn or a "
        "Pod Identity association, made before the pod), or set the variable in your shell",
    )
