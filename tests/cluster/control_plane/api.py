"""Requests to an API server, asked as tests need it: the answer's code is a value, not an error."""

from __future__ import annotations

import contextlib
import io
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, NamedTuple

import aiohttp

from sid_operator.kube.kinds import Kind
from tests.cluster.control_plane.plane import ControlPlane
from tests.cluster.local import pki

Object = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Answer(NamedTuple):
    """HTTP status code and body."""

    code: int
    body: Object

    @property
    def message(self) -> str:
        """What a refusal says."""
        return str(self.body.get("message", ""))


class Api:
    """One user of an API server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        **params: str,
    ) -> Answer:
        """Ask; gives whatever the server answers."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        async with self._session.request(
            *(method, path),
            params=params,
            headers=headers,
            data=None if body is None else io.BytesIO(data),
        ) as response:
            text = await response.text()
            parsed = json.loads(text) if text.startswith("{") else {"message": text}
            return Answer(response.status, parsed)

    async def demand(self, method: str, path: str, body: object = None, **params: str) -> Object:
        """Ask, and raise where the answer is a refusal."""
        answer = await self.ask(method, path, body, **params)
        if answer.code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.code} {answer.message}")
        return answer.body

    async def apply(self, path: str, body: Object) -> Object:
        """Apply server-side."""
        answer = await self.ask(
            *("PATCH", path, body),
            content_type="application/apply-patch+yaml",
            fieldManager="test",
            force="true",
        )
        if answer.code >= 400:
            raise RuntimeError(f"apply {path}: {answer.code} {answer.message}")
        return answer.body

    async def install_crd(self, crd: Object) -> None:
        """Have a custom resource served."""
        name = crd["metadata"]["name"]
        await self.apply(f"{CRDS}/{name}", crd)
        await self.until(
            CRDS,
            lambda seen: any(
                c["type"] == "Established" and c["status"] == "True"
                for c in (seen.get("status") or {}).get("conditions") or []
            ),
            fieldSelector=f"metadata.name={name}",
        )

    async def seen(self, kind: Kind, namespace: str, name: str) -> Object:
        """Wait until there is an object of a name."""
        selector = f"metadata.name={name}"
        return await self.until(kind.path(namespace), lambda _: True, fieldSelector=selector)

    async def until(self, path: str, wanted: Callable[[Object], bool], **params: str) -> Object:
        """Watch a path until an object is as wanted; its connection ends with the wait."""
        async with contextlib.aclosing(self.watch_path(path, **params)) as events:
            async for _, seen in events:
                if wanted(seen):
                    return seen
        raise RuntimeError(f"the watch of {path} ended")

    async def items(self, kind: Kind, namespace: str = "", **params: str) -> list[Object]:
        """All objects of a kind."""
        found: list[Object] = (await self.demand("GET", kind.path(namespace), **params))["items"]
        return found

    async def watch(self, kind: Kind, **params: str) -> AsyncIterator[tuple[str, Object]]:
        """Changes of all objects of a kind, those that are there first, until it is left."""
        async for event in self.watch_path(kind.path(), **params):
            yield event

    async def watch_path(self, path: str, **params: str) -> AsyncGenerator[tuple[str, Object]]:
        """Changes below a path."""
        limit = aiohttp.ClientTimeout(total=None)
        query = {"watch": "true", **params}
        async with self._session.get(path, params=query, timeout=limit) as response:
            try:
                async for line in response.content:
                    event = json.loads(line)
                    yield event["type"], event["object"]
            finally:
                # Not closed politely: TLS would say good-bye after the test's loop has ended.
                connection = response.connection
                if connection is not None and connection.transport is not None:
                    connection.transport.abort()


@contextlib.asynccontextmanager
async def connected(plane: ControlPlane, user: str = pki.ADMIN.file) -> AsyncIterator[Api]:
    """A control plane's API server, as one of its users."""
    context = ssl.create_default_context(cafile=plane.authority)
    stem = plane.root / "pki" / user
    context.load_cert_chain(stem.with_suffix(".crt"), stem.with_suffix(".key"))
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(
        plane.url, connector=connector, read_bufsize=8 * 2**20
    ) as session:
        yield Api(session)
