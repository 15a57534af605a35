"""Requests to the API server: typed errors, time limits, bounded retries.

Rules this module keeps:

* Every request has a time limit; a watch is given up when it is silent.
* Nothing is changed, Leases apart, in the name of a process that does not lead.
* Only what may be repeated is repeated: reads, applies, merge patches and deletes after any lack
  of an answer; creations only when the server said that it did nothing (429).
* Field names that the API does not know are an error, not dropped in silence
  (``fieldValidation=Strict``), but in a status, of which an older CRD takes what it knows.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

import aiohttp

from sid_operator.api.names import OPERATOR
from sid_operator.kube import errors
from sid_operator.kube.decode import decoded
from sid_operator.kube.encode import encoded
from sid_operator.kube.kinds import LEASES, Kind, Object, resource_in
from sid_operator.kube.login import Credentials

Observer = Callable[[str, str, str, float], None]
"""Told of every request but watches: ``(resource, verb, code, seconds)``."""
ATTEMPTS = 4
NO_VERSION = "1"
"""A resource version that no object has: the store's first write makes 2."""
PAGE = 500
"""Objects a LIST page: bounds the memory that one answer needs."""
MAX_BACKOFF_SECONDS = 10.0
MAX_EVENT_BYTES = 8 * 2**20
"""Longest line of a watch; etcd refuses objects over 1.5 MiB."""


class KubeClient:
    """Requests to one API server.

    Args:
        session: Carries the TLS settings; its owner closes it.
        server: ``https://host:port``.
        credentials: Who asks.
        timeout: Seconds an ordinary request may take.
        sleep: How to wait between attempts.
        observe: Told of every request.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: str,
        credentials: Credentials,
        *,
        timeout: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        observe: Observer = lambda *_: None,
    ) -> None:
        self._session = session
        self._server = server.rstrip("/")
        self._credentials = credentials
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(10.0, timeout))
        self._sleep = sleep
        self._observe = observe
        self._leads: Callable[[], bool] = lambda: True

    def fence(self, leads: Callable[[], bool]) -> None:
        """From now on send changes only while ``leads`` says so; those of Leases always.

        A process that was frozen may wake up in the middle of a pass, long after it lost.
        """
        self._leads = leads

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows the kind."""
        try:
            answer = await self._call("GET", kind.group_path)
        except errors.NotFoundError:
            return False
        return any(entry["name"] == kind.plural for entry in answer.get("resources") or [])

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return await self._call("GET", kind.path(namespace, name))
        except errors.NotFoundError:
            return None

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        attempts: int = ATTEMPTS,
    ) -> tuple[list[Object], str]:
        """All objects that fit the selectors, and the resource version to watch from."""
        params = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        items: list[Object] = []
        while True:
            page = await self._call("GET", kind.path(namespace), params=params, attempts=attempts)
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            params["continue"] = metadata["continue"]

    async def apply(self, kind: Kind, manifest: Object, *, creates: bool = False) -> Object:
        """Server-side apply: make the object so, taking over the fields from whoever has them.

        Args:
            kind: Of the object.
            manifest: The fields that are ours.
            creates: Only where there is no object of the name.

        Raises:
            ConflictError: There is one, and it was to be created.
        """
        metadata = manifest["metadata"]
        if creates:
            manifest = {**manifest, "metadata": {**metadata, "resourceVersion": NO_VERSION}}
        return await self._call(
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"]),
            params={"fieldManager": OPERATOR, "force": "true", "fieldValidation": "Strict"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def merge(
        self, kind: Kind, namespace: str, name: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        """JSON merge patch: None removes a key. A ``metadata.resourceVersion`` is a condition.

        Of a status an older CRD takes what it knows; all of it refused would be told to nobody.
        """
        validation = "Ignore" if subresource == "status" else "Strict"
        return await self._call(
            "PATCH",
            kind.path(namespace, name, subresource),
            params={"fieldManager": OPERATOR, "fieldValidation": validation},
            body=patch,
            content_type="application/merge-patch+json",
        )

    async def create(
        self, kind: Kind, namespace: str, manifest: Object, *, dry_run: bool = False
    ) -> Object:
        """Create the object, or with ``dry_run`` only ask whether that would be done.

        Raises:
            ConflictError: It exists. Validation and admission would have taken it.
        """
        asked = {"dryRun": "All"} if dry_run else {}
        return await self._call(
            "POST",
            kind.path(namespace),
            params={"fieldManager": OPERATOR, "fieldValidation": "Strict", **asked},
            body=manifest,
        )

    async def replace(self, kind: Kind, manifest: Object) -> Object:
        """Replace the object of this very ``metadata.resourceVersion``.

        Raises:
            ConflictError: It has another version by now.
        """
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        return await self._call("PUT", path, body=manifest, attempts=1)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object of this uid after its dependents; none there is fine."""
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", kind.path(namespace, name), body=options)
        except errors.NotFoundError:
            return

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str,
        resource_version: str,
        duration: int,
        silence: float,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Changes since a resource version, as (ADDED, MODIFIED, DELETED or BOOKMARK, object).

        Ends when the server closes the stream, at the latest after ``duration`` seconds. Calls
        ``opened`` when the server has taken the request.

        Raises:
            GoneError: The version is too old: list again.
            UnreachableError: Nothing was heard for ``silence`` seconds, or the connection broke.
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": labels,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(duration),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=silence)
        url = self._server + kind.path(namespace)
        try:
            async with self._session.get(
                url,
                params=_given(params),
                headers=self._credentials.headers(),
                timeout=timeout,
                read_bufsize=MAX_EVENT_BYTES,
            ) as response:
                await self._raise_for_status(response)
                opened()
                async for line in response.content:
                    event = decoded(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise errors.from_status(int(status.get("code") or 500), status)
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
            raise errors.UnreachableError(f"watch of {url}: {_told(error)}") from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        attempts: int = ATTEMPTS,
    ) -> Object:
        for attempt in range(1, attempts + 1):
            try:
                return await self._request(method, path, params or {}, body, content_type)
            except (errors.UnreachableError, errors.BusyError, errors.UnauthorizedError) as error:
                if attempt == attempts or not _repeatable(method, error):
                    raise
                await self._sleep(_delay(attempt, error))
        raise AssertionError("attempts is at least 1")

    async def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        body: Object | None,
        content_type: str,
    ) -> Object:
        if method != "GET" and resource_in(path) != LEASES.plural and not self._leads():
            raise errors.FencedError(f"{method} {path}: not sent, for this process does not lead")
        headers = {**self._credentials.headers(), "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        since, code = time.monotonic(), "none"
        try:
            async with self._session.request(
                method,
                self._server + path,
                params=_given(params),
                data=None if body is None else encoded(body),
                headers=headers,
                timeout=self._timeout,
            ) as response:
                code = str(response.status)
                await self._raise_for_status(response)
                answer: Object = decoded(await response.read())
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
            raise errors.UnreachableError(f"{method} {path}: {_told(error)}") from error
        finally:
            self._observe(resource_in(path), method, code, time.monotonic() - since)

    async def _raise_for_status(self, response: aiohttp.ClientResponse) -> None:
        if response.status < 400:
            return
        if response.status == 401:
            self._credentials.refused()
        text = await response.text()
        try:
            body = decoded(text)
        except json.JSONDecodeError:
            body = {"message": text.strip()[:500]}
        wait = response.headers.get("Retry-After", "")
        raise errors.from_status(
            response.status,
            body if isinstance(body, dict) else {"message": text[:500]},
            retry_after=float(wait) if wait.isdigit() else None,
        )


def _given(params: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in params.items() if value}


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _repeatable(method: str, error: errors.KubeError) -> bool:
    if isinstance(error, errors.ApiError) and error.status in (401, 429):
        return True  # refused before anything was done
    return method != "POST"


def _delay(attempt: int, error: errors.KubeError) -> float:
    asked = getattr(error, "retry_after", None)
    backoff = 0.25 * 2.0**attempt
    wait = max(backoff, asked or 0.0) * random.uniform(0.75, 1.25)
    return min(MAX_BACKOFF_SECONDS, wait)
