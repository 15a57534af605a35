"""Keys of a role: asked for with a token of this pod's service account, and renewed in time.

The requests are those of MinIO's SDK: ``AssumeRoleWithWebIdentity`` of an STS (IRSA on EKS, MinIO's
own), and the agent on the node (Pod Identity on EKS).

Rules this module keeps:

* Keys are renewed minutes before they end, so that neither a clock that is a little wrong nor a
  server that does not answer for a while costs a request. Present keys are used as long as they
  last.
* One thread asks, for all of its process: parts go up in parallel, and storages are opened often.
* The token is read anew each time, as the kubelet renews it. It goes in the body of a request,
  never in a URL, which servers write into their logs and errors into messages.
"""

from __future__ import annotations

import functools
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3
from minio.credentials import Credentials, IamAwsProvider, Provider, WebIdentityProvider

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.retry import TransientError
from sid_trainer.storage.s3_role_errors import (
    AGENT,
    STS,
    Asked,
    RefusedError,
    refusal,
    unanswered,
    unreadable,
)
from sid_trainer.storage.s3_server import pool_of
from sid_trainer.storage.whole_heads import WholeHeads

RENEWED_BEFORE = timedelta(minutes=5)
"""Time before their end at which keys are renewed."""
AGAIN_AFTER = timedelta(seconds=30)
"""Time until those that could not be renewed, or last no longer than that, are asked for again."""
LAST_MOMENT = timedelta(seconds=10)
"""Time before their end from which keys are not used: a request is on its way for a while."""
_FORM = "application/x-www-form-urlencoded"
logger = logging.getLogger(__name__)


class _Asking(WholeHeads):
    """Requests for keys: what they ask for goes in the body, and only 200 is an answer."""

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = False, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send it once.

        Raises:
            RefusedError: any other answer.
        """
        bare, _, query = url.partition("?")
        if method == "POST" and query:
            url, options = bare, {**options, "body": query, "headers": {"Content-Type": _FORM}}
        response = super().urlopen(method, url, redirect=redirect, **options)
        if response.status != 200:
            raise RefusedError(response.status, response.data)
        return response


@dataclass(frozen=True, kw_only=True)
class Role(ABC):
    """A role, and by what identity it is taken.

    Attributes:
        url: whom its keys are asked of.
        bundle: file of the authorities that vouch for the server; the public ones when None.
        public_too: the public ones are trusted as well.
    """

    url: str
    bundle: Path | None = None
    public_too: bool = False

    @property
    @abstractmethod
    def asked(self) -> Asked:
        """What is asked, as messages tell it."""

    @abstractmethod
    def request(self, http: urllib3.PoolManager) -> Credentials:
        """Ask for keys."""


@dataclass(frozen=True, kw_only=True)
class WebRole(Role):
    """A role of an STS.

    Attributes:
        token_file: the service account's token.
        arn: name of the role; None where the STS knows it from the token.
        session: name of this session in the account's log.
    """

    token_file: Path
    arn: str | None
    session: str

    @property
    def asked(self) -> Asked:
        """What is asked, as messages tell it."""
        return Asked(f"the role {self.arn}" if self.arn else "a role", STS, self.url)

    def request(self, http: urllib3.PoolManager) -> Credentials:
        """Ask for keys."""
        provider = WebIdentityProvider(
            jwt_provider_func=lambda: {"access_token": token_in(self.token_file)},
            sts_endpoint=self.url,
            role_arn=self.arn,
            role_session_name=self.session,
            http_client=http,
        )
        return provider.retrieve()


@dataclass(frozen=True, kw_only=True)
class PodRole(Role):
    """A role that an agent on the node knows.

    Attributes:
        token_file: the service account's token; None where the agent asks for none.
    """

    token_file: Path | None

    @property
    def asked(self) -> Asked:
        """What is asked, as messages tell it."""
        return Asked("the role of this pod", AGENT, self.url)

    def request(self, http: urllib3.PoolManager) -> Credentials:
        """Ask for keys."""
        headers = {"Authorization": token_in(self.token_file)} if self.token_file else None
        return IamAwsProvider(http_client=http).fetch(self.url, headers)


class RoleKeys(Provider):  # type: ignore[misc]  # the SDK is checked as untyped
    """The keys of a role, renewed in time. Safe to share between threads.

    Args:
        role: whose keys.
        now: the time, in UTC.

    Raises:
        TrainerError: ``InvalidConfiguration`` for a CA bundle that cannot be used.
    """

    def __init__(self, role: Role, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._role, self._now = role, now
        self._http = pool_of(_Asking, role.url, role.bundle, public_too=role.public_too)
        self._lock = threading.Lock()
        self._keys: Credentials | None = None
        self._due = datetime.min.replace(tzinfo=UTC)

    def retrieve(self) -> Credentials:
        """The keys to use now.

        Raises:
            TrainerError: the role may not be taken, or there is no token.
            TransientError: whoever gives the keys does not answer.
        """
        with self._lock:
            if self._keys is None or self._now() >= self._due:
                self._keys = self._renewed(self._keys)
            return self._keys

    def _renewed(self, present: Credentials | None) -> Credentials:
        """New keys, or, if there are none to be had, the present ones while they last."""
        fresh, now = ask(self._role, self._http), self._now()  # to ask may have taken long
        if isinstance(fresh, Credentials):
            early = max(_last_use(fresh) + LAST_MOMENT - RENEWED_BEFORE, now + AGAIN_AFTER)
            self._due = min(early, _last_use(fresh))
            return fresh
        if present is None or now >= _last_use(present):
            raise fresh
        self._due = min(now + AGAIN_AFTER, _last_use(present))
        logger.warning("%s; the present keys last until %s", fresh, _last_use(present))
        return present


@functools.cache
def shared_keys(role: Role) -> RoleKeys:
    """The keys of a role, of which a process has one set."""
    return RoleKeys(role)


def ask(role: Role, http: urllib3.PoolManager) -> Credentials | TrainerError | TransientError:
    """Ask for keys of a role once; what went wrong is returned, without what was sent."""
    try:
        return role.request(http)
    except TrainerError as error:
        return error
    except RefusedError as error:
        return refusal(role.asked, error)
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        return unanswered(role.asked, error)
    except (ValueError, LookupError, TypeError, AttributeError, SyntaxError):  # JSON or XML
        return unreadable(role.asked)


def token_in(file: Path) -> str:
    """The token in a file.

    Raises:
        TrainerError: ``AccessDenied``, if there is none.
    """
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read ({getattr(error, 'strerror', None) or 'it is no text'})"
    else:
        if token.isascii() and token.isprintable() and token:
            return token
        problem = "holds none"
    raise TrainerError(
        FailureReason.ACCESS_DENIED,
        f"the service account's token {file} {problem}: what sets the variable that names it (on "
        "EKS a webhook) mounts it as well; make the pod anew, or correct the variable in your "
        "shell",
    )


def _last_use(keys: Credentials) -> datetime:
    """Until when keys may be used."""
    end: datetime | None = keys.expiration
    return (
        datetime.max.replace(tzinfo=UTC) if end is None else end.replace(tzinfo=UTC) - LAST_MOMENT
    )
